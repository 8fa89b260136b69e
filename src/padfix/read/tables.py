"""A live tokenizer's `TokenTable`: from a Rust backend, or from a tokenizer written in Python."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from padfix.candidates import AddedToken, ModelKind, TokenTable

_FOLDING: Final = ("Lowercase", "NFKC", "NFKD", "StripAccents", "Precompiled", "Nmt")
_KINDS: Final[dict[str, ModelKind]] = {
    "BPE": "BPE",
    "WordPiece": "WordPiece",
    "Unigram": "Unigram",
    "WordLevel": "WordLevel",
}
# GPT-2's printable stand-ins for the 256 bytes: printable Latin-1 as itself, the rest from U+0100 on.
_PRINTABLE: Final = (*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100))
BYTE_CHARACTERS: Final = frozenset(
    [chr(b) for b in _PRINTABLE] + [chr(0x100 + n) for n in range(256 - len(_PRINTABLE))]
)
BYTE_TOKENS: Final = frozenset(f"<0x{b:02X}>" for b in range(256))


def backend_table(tokenizer: Any, vocab: Mapping[str, int]) -> TokenTable:
    """The table of a tokenizer with a Rust backend."""
    backend = tokenizer.backend_tokenizer
    model = backend.model
    normalizer, pre, decoder = (
        part_json(p) for p in (backend.normalizer, backend.pre_tokenizer, backend.decoder)
    )
    added = tuple(
        AddedToken(str(t.content), int(i), bool(t.special), bool(t.normalized))
        for i, t in sorted(backend.get_added_tokens_decoder().items())
    )
    unk = getattr(model, "unk_token", None)
    fallback = bool(getattr(model, "byte_fallback", False))
    return TokenTable(
        vocab=vocab,
        added=added,
        model_kind=_KINDS.get(type(model).__name__, "other"),
        byte_fallback=fallback and vocab.keys() >= BYTE_TOKENS,
        byte_level=uses_bytes((normalizer, pre, decoder)) and vocab.keys() >= BYTE_CHARACTERS,
        model_unk=str(unk) if unk is not None else None,
        folding=folds(normalizer),
        template_ids=template_ids(part_json(backend.post_processor)),
        chat_templates=chat_templates(tokenizer),
    )


def python_table(tokenizer: Any, vocab: Mapping[str, int]) -> TokenTable:
    """The table of a tokenizer written in Python; whether it can emit unk is not known."""
    added = tuple(
        AddedToken(str(t.content), int(i), bool(t.special), bool(t.normalized))
        for i, t in sorted(getattr(tokenizer, "added_tokens_decoder", {}).items())
    )
    return TokenTable(
        vocab=vocab,
        added=added,
        folding=bool(getattr(tokenizer, "do_lower_case", False)),
        template_ids=frozenset(_python_template(tokenizer)),
        chat_templates=chat_templates(tokenizer),
    )


def _python_template(tokenizer: Any) -> list[int]:
    build = getattr(tokenizer, "build_inputs_with_special_tokens", None)
    if build is None:
        return []
    try:
        return [int(i) for i in build([]) if i is not None]
    except (TypeError, ValueError, AttributeError):  # classes that need a text or a language first
        return []


def template_ends_with(tokenizer: Any) -> int | None:
    """The id that the post-processor puts after a text, -1 for none, None where it cannot be known."""
    if getattr(tokenizer, "is_fast", False) and hasattr(tokenizer, "backend_tokenizer"):
        return last_template_id(part_json(tokenizer.backend_tokenizer.post_processor))
    ids = _python_template(tokenizer)
    return ids[-1] if ids else -1


def part_json(part: Any) -> dict[str, Any]:
    """A normaliser, pre-tokenizer, post-processor or decoder of a Rust backend as its JSON form."""
    if part is None:
        return {}
    try:
        loaded = json.loads(part.__getstate__())
    except Exception as error:
        if "Custom" in str(error) or "serialized" in str(error):
            return {"type": "Custom"}
        raise
    return loaded if isinstance(loaded, dict) else {}


def parts(component: Mapping[str, Any], depth: int = 0) -> list[Mapping[str, Any]]:
    """A component and everything inside its sequences."""
    found = [component] if component else []
    if depth < 8:
        for key in ("normalizers", "pretokenizers", "processors", "decoders"):
            inner = component.get(key)
            if isinstance(inner, list):
                for item in inner:
                    if isinstance(item, dict):
                        found += parts(item, depth + 1)
    return found


def folds(normalizer: Mapping[str, Any]) -> bool:
    """True when a normaliser maps different spellings to one (case, width, accents)."""
    for part in parts(normalizer):
        kind = part.get("type")
        if kind in _FOLDING or (kind == "BertNormalizer" and part.get("lowercase")):
            return True
    return False


def uses_bytes(components: tuple[Mapping[str, Any], ...]) -> bool:
    """True when text becomes bytes first, written as `BYTE_CHARACTERS`."""
    return any(part.get("type") == "ByteLevel" for c in components for part in parts(c))


def template_ids(post_processor: Mapping[str, Any]) -> frozenset[int]:
    """The ids that a post-processor puts around a text or a pair."""
    found: set[int] = set()
    for part in parts(post_processor):
        special = part.get("special_tokens")
        if isinstance(special, dict):
            for entry in special.values():
                ids = entry.get("ids") if isinstance(entry, dict) else None
                found.update(i for i in ids or [] if isinstance(i, int))
        for key in ("sep", "cls"):
            pair = part.get(key)
            if isinstance(pair, list) and len(pair) == 2 and isinstance(pair[1], int):
                found.add(pair[1])
    return frozenset(found)


def _named_id(special_tokens: Any, place: Any) -> int:
    """The last id of the token that a place in a template names, -1 where there is none."""
    name = place.get("id") if isinstance(place, dict) else None
    token = special_tokens.get(name) if isinstance(special_tokens, dict) and isinstance(name, str) else None
    ids = token.get("ids") if isinstance(token, dict) else None
    return ids[-1] if isinstance(ids, list) and ids and isinstance(ids[-1], int) else -1


def last_template_id(post_processor: Mapping[str, Any]) -> int:
    """The id that ends a single text, -1 when nothing is put after it."""
    last = -1
    for part in parts(post_processor):
        single = part.get("single")
        if (
            isinstance(single, list)
            and single
            and isinstance(single[-1], dict)
            and "SpecialToken" in single[-1]
        ):
            last = _named_id(part.get("special_tokens"), single[-1]["SpecialToken"])
        elif part.get("type") in ("RobertaProcessing", "BertProcessing"):
            pair = part.get("sep")
            last = pair[1] if isinstance(pair, list) and len(pair) == 2 and isinstance(pair[1], int) else last
    return last


def chat_templates(tokenizer: Any) -> tuple[str, ...]:
    """Every chat template, as text."""
    template = getattr(tokenizer, "chat_template", None)
    if isinstance(template, Mapping):
        return tuple(str(t) for t in template.values() if t is not None)
    return (str(template),) if template else ()
