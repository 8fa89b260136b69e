"""Mistral's ``tekken.json``: special tokens by rank, then byte strings in the order of their ids.

transformers 5 converts it where a repository has no ``tokenizer.json``, without the mistral-common library if the
file lists its special tokens (those before 2025 do not). That conversion is what is read here: it has the ids of
mistral-common, but no special token has a role unless ``tokenizer_config.json`` gives it one, whereas the backend
that transformers takes where mistral-common is installed pads with ``<pad>`` by itself.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from padfix.errors import SourceError
from padfix.read.json_file import decode, parse
from padfix.read.tiktoken_file import byte_signs

MAX_TEKKEN: Final = 128 * 2**20  # bytes; the known ones have 15 to 20 MB
_MAX_SPECIALS: Final = 100_000


@dataclass(frozen=True, slots=True)
class Tekken:
    """The vocabulary as a Rust backend would have it, and the special tokens."""

    table: Mapping[str, int]
    specials: tuple[str, ...]


def parse_tekken(data: bytes, source: str, name: str) -> Tekken:
    """The file as transformers 5 converts it; `SourceError` where it cannot."""
    raw = parse(decode(data, source, name), source, name)
    vocab = raw.get("vocab") if isinstance(raw, dict) else None
    config = raw.get("config") if isinstance(raw, dict) else None
    if (
        not isinstance(vocab, list)
        or not isinstance(config, dict)
        or not isinstance(config.get("pattern"), str)
    ):
        raise SourceError(f"{source}: {name} has no vocab, or no config with a pattern")
    if raw.get("special_tokens") is None:
        raise SourceError(
            f"{source}: {name} does not list its special tokens, as those before 2025; transformers needs "
            "mistral-common for it: load it with that once, save_pretrained it, and audit the tokenizer.json"
        )
    specials = _specials(raw["special_tokens"], source, name)
    offset = _number(config, "default_num_special_tokens", len(specials), source, name)
    if offset > _MAX_SPECIALS:
        raise SourceError(f"{source}: {name} wants {offset:,} special tokens, more than {_MAX_SPECIALS:,}")
    size = _number(config, "default_vocab_size", len(vocab) + offset, source, name)
    specials += [f"<SPECIAL_{i}>" for i in range(len(specials), offset)]
    ordinary = _ordinary(vocab[: size - offset], source, name)
    table = {text: i + offset for text, i in ordinary.items()}
    return Tekken(table | {text: i for i, text in enumerate(specials)}, tuple(specials))


def _number(config: Mapping[str, Any], key: str, default: int, source: str, name: str) -> int:
    value = config.get(key)
    if value is None:
        return default
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise SourceError(f"{source}: {key} in {name} is {str(value)[:40]!r}")
    return value


def _specials(entries: Any, source: str, name: str) -> list[str]:
    """The special tokens in the order of their ranks, which must count from 0."""
    if not isinstance(entries, list) or len(entries) > _MAX_SPECIALS:
        raise SourceError(f"{source}: special_tokens in {name} is not a list, or far too long a one")
    found: list[tuple[int, str]] = []
    for entry in entries:
        rank = entry.get("rank") if isinstance(entry, Mapping) else None
        text = entry.get("token_str") if isinstance(entry, Mapping) else None
        if not isinstance(rank, int) or isinstance(rank, bool) or not isinstance(text, str):
            raise SourceError(
                f"{source}: a special token in {name} has no rank and string: {str(entry)[:60]!r}"
            )
        found.append((rank, text))
    if sorted(rank for rank, _ in found) != list(range(len(found))):
        raise SourceError(f"{source}: the ranks of the special tokens in {name} do not count from 0")
    return [text for _, text in sorted(found)]


def _ordinary(vocab: list[Any], source: str, name: str) -> dict[str, int]:
    signs = byte_signs()
    found: dict[str, int] = {}
    raw: dict[bytes, int] = {}
    for i, entry in enumerate(vocab):
        try:
            raw[base64.b64decode(entry["token_bytes"])] = i
        except (TypeError, KeyError, ValueError, binascii.Error) as error:
            raise SourceError(
                f"{source}: entry {i} of the vocab in {name} has no token_bytes in base64"
            ) from error
    for token, i in raw.items():
        found["".join(map(signs.__getitem__, token))] = i
    return found
