"""What a repository's tokenizer is, as ``AutoTokenizer`` would load it: the tokenizer half of a `PadState`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from padfix.candidates import MAX_RESERVED, TokenTable, assess, emits_unk, purposes
from padfix.errors import SourceError
from padfix.read import auto_class, defaults
from padfix.read.backend import Added
from padfix.read.fast_build import build_4, build_5
from padfix.read.files import TokenizerFiles
from padfix.read.python_build import build_python
from padfix.read.tables import BYTE_CHARACTERS, BYTE_TOKENS, folds, last_template_id, template_ids, uses_bytes
from padfix.read.tokenizer_build import Built, arguments, block_of, fill
from padfix.read.tokenizer_json import TokenizerJson
from padfix.read.uses import declared, pad_uses
from padfix.types import BackendPadding, Token

_MAIN: Final = ("pad_token", "eos_token", "unk_token", "bos_token")
_KINDS: Final = ("BPE", "WordPiece", "Unigram", "WordLevel")


def pad_role(files: TokenizerFiles, config: Mapping[str, Any], major: str) -> Added | None:
    """The pad alone under a major, without building a vocabulary where ``tokenizer.json`` has it."""
    name = _class_name(files, config, major)
    record = defaults.tokenizers(major)["classes"][name]
    if files.json is None or record["kind"] != "tokenizers":
        return _build(files, name, major).roles.get("pad_token")
    args = arguments(files, major)
    if major == "4" and (args.raw.get("add_prefix_space") is not None or args.raw.get("from_slow")):
        return _build(files, name, major).roles.get("pad_token")
    pad = fill(args, record, block_of(files.json)).get("pad_token")
    return pad if major == "5" or pad is None or pad.text else None


def build(files: TokenizerFiles, config: Mapping[str, Any], major: str) -> Built:
    """The tokenizer that this major's AutoTokenizer would give; `SourceError` where it would refuse."""
    return _build(files, _class_name(files, config, major), major)


def _build(files: TokenizerFiles, name: str, major: str) -> Built:
    if defaults.tokenizers(major)["classes"][name]["kind"] != "tokenizers":
        return build_python(files, name, major)
    return build_5(files, name) if major == "5" else build_4(files, name)


def _class_name(files: TokenizerFiles, config: Mapping[str, Any], major: str) -> str:
    table = defaults.tokenizers(major)
    data = files.config.data
    if (
        major == "5"
        and files.json is not None
        and auto_class.byte_level_llama(table, "", data, config)
        and _byte_level(files.json)
    ):
        return "TokenizersBackend"
    return auto_class.pick(major, files.source, data, config)


def _byte_level(file: TokenizerJson) -> bool:
    """Does the file say ByteLevel?"""
    return '"ByteLevel"' in file.text


def facts(
    files: TokenizerFiles, built: Built, major: str, declared_id: int | None, wanted: str | None = None
) -> dict[str, Any]:
    """The fields of a `PadState` that a tokenizer decides, candidates included."""
    tokens = {role: _token(built, value) for role, value in built.roles.items()}
    pad, eos, unk, bos = (tokens.get(role) for role in _MAIN)
    named = None
    if declared_id is not None and declared_id >= 0 and (pad is None or pad.id != declared_id):
        text = built.backend.text_of(declared_id)
        named = None if text is None else Token(text, declared_id)
    hoped = None if wanted is None else Token(wanted, built.backend.get(wanted))
    table, end = token_table(built, [token.text for token in (unk, eos, named, hoped) if token is not None])
    return {
        "tokenizer_class": built.cls,
        "pad": pad,
        "eos": eos,
        "unk": unk,
        "bos": bos,
        "specials": tuple(_others(built, tokens, major)),
        "n_tokens": built.backend.length(count_repeats=built.repeats and major == "5"),
        "max_id": built.backend.max_id if built.backend.max_id >= 0 else None,
        "holes": built.backend.holes,
        "next_id": built.backend.next_id(),
        "padding_side": built.side,
        "chat_template": built.chat_template,
        "unk_emitted": None if unk is None else emits_unk(table),
        "appends_eos": None if eos is None else end == eos.id,
        "pad_is_added": None if pad is None else pad.text in declared(files),
        "pad_uses": None if pad is None or pad.id is None else pad_uses(files, built, table, pad),
        "candidates": assess(
            table,
            unk=unk,
            eos=eos,
            declared=named,
            wanted=hoped,
        ),
    }


def _token(built: Built, value: Added) -> Token:
    return Token(value.text, built.backend.get(value.text))


def _others(built: Built, tokens: Mapping[str, Token], major: str) -> list[tuple[str, Token]]:
    """The other special tokens, by role: 5 counts only named ones, 4 the unnamed as well."""
    named: dict[str, Any] = {role: token for role, token in tokens.items() if role not in _MAIN}
    if major == "4" and built.extras:
        named["additional_special_tokens"] = [_token(built, t) for t in built.extras]
    found: list[tuple[str, Token]] = []
    for role, value in sorted(named.items()):
        if isinstance(value, list):
            found += [("additional", token) for token in value]
        else:
            found.append((role.removesuffix("_token"), value))
    return found


def _candidates(table: Mapping[str, int]) -> dict[str, int]:
    """The entries that can become candidates: pads, and as many reserved tokens as are looked at."""
    kept: dict[str, int] = {}
    reserved: dict[str, int] = {}
    for text, token_id in table.items():
        kind = purposes[text]
        if kind == "reserved" and text[0] != ">":
            reserved[text] = token_id
        elif kind == "pad" or kind == "reserved":  # Falcon's are ranked apart from the others
            kept[text] = token_id
    if len(reserved) > MAX_RESERVED:
        lowest = sorted(reserved.values())[-MAX_RESERVED]
        reserved = {text: token_id for text, token_id in reserved.items() if token_id >= lowest}
    return kept | reserved


def token_table(built: Built, more: Iterable[str]) -> tuple[TokenTable, int]:
    """What candidates, and ``more`` tokens, are judged by, and the id that ends every text (-1: none)."""
    vocab = _candidates(built.backend.table())
    added = built.backend.entries_of({*vocab, *more})
    around, end = _around(built)
    if built.kind != "tokenizers":
        table = TokenTable(
            vocab=vocab,
            added=added,
            folding=bool(built.folding),
            template_ids=around,
            chat_templates=built.templates,
        )
        return table, end
    parts = built.components
    normalizer, pre, decoder = (parts.get(k) or {} for k in ("normalizer", "pre_tokenizer", "decoder"))
    model = parts.get("model") or {}
    kind = model.get("type")
    return TokenTable(
        vocab=vocab,
        added=added,
        model_kind=kind if kind in _KINDS else "other",
        byte_fallback=bool(model.get("byte_fallback")) and built.backend.holds(BYTE_TOKENS),
        byte_level=uses_bytes((normalizer, pre, decoder)) and built.backend.holds(BYTE_CHARACTERS),
        model_unk=model.get("unk_token"),
        folding=folds(normalizer),
        template_ids=around,
        chat_templates=built.templates,
    ), end


def _around(built: Built) -> tuple[frozenset[int], int]:
    """The ids around a text, and the last of them."""
    if built.prefix is None and built.suffix is None:
        post = built.components.get("post_processor") or {}
        return template_ids(post), last_template_id(post)
    ids = [_placed(built, entry) for entry in built.prefix or []]
    ends = [_placed(built, entry) for entry in built.suffix or []]
    known = frozenset(i for i in (*ids, *ends) if i is not None)
    if built.kind != "tokenizers":
        both = [i for i in (*ids, *ends) if i is not None]
        return known, both[-1] if both else -1
    return known, ends[-1] if ends and ends[-1] is not None else -1


def _placed(built: Built, entry: str | int) -> int | None:
    """The id of a token that a class puts around a text: unk's where a Rust backend's vocabulary lacks it."""
    if isinstance(entry, int):
        return entry
    found = built.backend.get(entry)
    unk = built.roles.get("unk_token") if built.kind == "tokenizers" else None
    return built.backend.get(unk.text) if found is None and unk is not None else found


def backend_padding(files: TokenizerFiles, built: Built) -> BackendPadding | None:
    """The ``padding`` block of ``tokenizer.json``, or the one that its class sets (Nougat)."""
    pad = built.roles.get("pad_token")
    if built.padding is not None and pad is not None:
        fixed = (built.padding.get("strategy") or {}).get("Fixed")
        pad_id = built.backend.get(pad.text)
        return BackendPadding(
            -1 if pad_id is None else pad_id, pad.text, str(built.padding["direction"]).lower(), fixed
        )
    used = files.json is not None and built.kind == "tokenizers" and built.from_json
    block = files.json.part("padding") if files.json is not None and used else {}
    if not block:
        return None
    pad_id, text, direction = block.get("pad_id"), block.get("pad_token"), block.get("direction")
    if not isinstance(pad_id, int) or isinstance(pad_id, bool) or not isinstance(text, str):
        raise SourceError(
            f"{files.source}: the padding block of {files.json.name if files.json else ''} has no pad id and token"
        )
    strategy = block.get("strategy")
    fixed = strategy.get("Fixed") if isinstance(strategy, dict) else None
    return BackendPadding(pad_id, text, str(direction).lower(), fixed if isinstance(fixed, int) else None)
