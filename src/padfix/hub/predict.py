"""Small files whose content follows from files already read, as `save_pretrained` would have written them.

Nothing here is believed: a prediction counts only where its hash is the one in the hub's file list
(`HubSource`). It saves one or two of a repository's requests, most often ``special_tokens_map.json``,
which repeats tokenizer_config.json, and ``generation_config.json``, which repeats config.json.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

_ROLES: Final = ("bos_token", "cls_token", "eos_token", "mask_token", "pad_token", "sep_token", "unk_token")
_OLD_ORDER: Final = (
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
)
_ATTRIBUTES: Final = ("content", "lstrip", "normalized", "rstrip", "single_word")
_MOST: Final = 256  # variants of one file; 10 µs each


def predictions(
    known: Mapping[str, bytes], heads: Mapping[str, bytes], hint: Mapping[str, Any]
) -> Iterator[tuple[str, Iterable[bytes]]]:
    """``(file name, possible contents)``, from whole files, beginnings of files and the hub's summary."""
    template = hint.get("chat_template_jinja")
    if isinstance(template, str):
        yield "chat_template.jinja", (template.encode("utf-8", "replace"),)
    tokenizer = _object(known.get("tokenizer_config.json"))
    if tokenizer:
        yield "special_tokens_map.json", itertools.islice(_special_tokens_map(tokenizer), _MOST)
        yield "added_tokens.json", _added_tokens(tokenizer)
    config = _object(known.get("config.json"))
    if config:
        yield "generation_config.json", itertools.islice(_generation_config(config), _MOST)


def _object(data: bytes | None) -> dict[str, Any]:
    try:
        value = json.loads(data) if data else None
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _dump(value: object) -> bytes:
    """As transformers writes it: sorted, indented by two, a final newline."""
    return (json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode("utf-8", "replace")


def _special_tokens_map(tokenizer: Mapping[str, Any]) -> Iterator[bytes]:
    """The special tokens, each as a string or as an object with the attributes it has elsewhere."""
    table: dict[str, dict[str, Any]] = {}
    decoder = tokenizer.get("added_tokens_decoder")
    for entry in decoder.values() if isinstance(decoder, dict) else ():
        if isinstance(entry, dict) and isinstance(entry.get("content"), str):
            table[entry["content"]] = entry
    # (role, its possible values); most files write all tokens alike, so those variants come first
    choices: list[tuple[str, list[Any]]] = [
        (role, [text, *_objects(tokenizer[role], table.get(text))])
        for role in _ROLES
        if (text := _text(tokenizer.get(role))) is not None
    ]
    more = tokenizer.get("additional_special_tokens")
    if isinstance(more, list) and more and all(isinstance(_text(t), str) for t in more):
        texts = [_text(t) for t in more]
        objects = [next(_objects(t, table.get(_text(t) or ""))) for t in more]
        choices.append(("additional_special_tokens", [texts, objects]))
    if not choices:
        return
    yield from _in_one_line(tokenizer)
    for n in range(3):
        yield _dump({role: values[min(n, len(values) - 1)] for role, values in choices})
    for combination in itertools.product(*(values for _, values in choices)):
        yield _dump({role: value for (role, _), value in zip(choices, combination, strict=True)})


def _in_one_line(tokenizer: Mapping[str, Any]) -> Iterator[bytes]:
    """As transformers wrote it before 4.20: no line breaks, the order of tokenizer_config.json."""
    roles = [role for role in tokenizer if role in _ROLES and _text(tokenizer[role]) is not None]
    whole = {
        r: {k: v for k, v in t.items() if k != "__type"} if isinstance(t := tokenizer[r], dict) else t
        for r in roles
    }
    for order in (roles, sorted(roles, key=_OLD_ORDER.index)):
        yield json.dumps({r: whole[r] for r in order}, ensure_ascii=False).encode("utf-8", "replace")
        yield json.dumps({r: _text(whole[r]) for r in order}, ensure_ascii=False).encode("utf-8", "replace")


def _text(token: Any) -> str | None:
    value = token.get("content") if isinstance(token, dict) else token
    return value if isinstance(value, str) else None


def _objects(token: Any, entry: Mapping[str, Any] | None) -> Iterator[dict[str, Any]]:
    """The token as an object: its own attributes, the added-token table's, or the defaults."""
    for given in (token if isinstance(token, dict) else None, entry):
        if given is not None:
            yield {k: given[k] for k in _ATTRIBUTES if k in given}
            return
    yield {
        "content": _text(token),
        "lstrip": False,
        "normalized": False,
        "rstrip": False,
        "single_word": False,
    }


def _added_tokens(tokenizer: Mapping[str, Any]) -> Iterator[bytes]:
    """The added tokens above the base vocabulary: the run of ids at the end, and all of them."""
    decoder = tokenizer.get("added_tokens_decoder")
    if not isinstance(decoder, dict):
        return
    ids = {
        int(k): v["content"]
        for k, v in decoder.items()
        if k.isdigit() and len(k) < 12 and _text(v) is not None
    }
    ordered = sorted(ids)
    for cut in dict.fromkeys((0, *(i for i in range(1, len(ordered)) if ordered[i] != ordered[i - 1] + 1))):
        yield _dump({ids[i]: i for i in ordered[cut:]})


def _generation_config(config: Mapping[str, Any]) -> Iterator[bytes]:
    """What `GenerationConfig.from_model_config` keeps: the ids, and the version that wrote it."""
    keys = ("bos_token_id", "decoder_start_token_id", "eos_token_id", "pad_token_id")
    ids = {k: config[k] for k in keys if config.get(k) is not None}
    version = config.get("transformers_version")
    tail: dict[str, Any] = {"transformers_version": version} if isinstance(version, str) else {}
    for n in range(len(ids), -1, -1):
        for chosen in itertools.combinations(ids, n):
            some = {k: ids[k] for k in chosen}
            yield _dump({"_from_model_config": True, **some, **tail})
            yield _dump({**some, **tail})
