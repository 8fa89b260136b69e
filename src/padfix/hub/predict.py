"""Small files whose content follows from files already read, as `save_pretrained` would have written them.

Nothing here is believed: a prediction counts only where its hash is the one in the hub's file list
(`HubSource`). It saves one or two of a repository's requests, most often ``special_tokens_map.json``,
which repeats tokenizer_config.json, and ``generation_config.json``, which repeats config.json.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

_ROLES: Final = ("bos_token", "cls_token", "eos_token", "mask_token", "pad_token", "sep_token", "unk_token")
_ADDED: Final = re.compile(rb'"added_tokens"\s*:\s*\[')
_PADS: Final = ("[PAD]", "<pad>", "<|pad|>", "<PAD>")
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
_PAIR: Final = re.compile(r"opus-mt-(?P<source>[\w.]+)-(?P<target>[\w.]+)\Z")
# Whisper's languages in the order of their ids; the third version has one more
_WHISPER: Final = tuple(
    "en zh de es ru ko fr ja pt tr pl ca nl ar sv it id hi fi vi iw uk el ms cs ro da hu ta no th ur hr bg lt la mi ml "  # noqa: SIM905
    "cy sk te fa lv bn sr az sl kn et mk br eu is hy ne mn bs kk sq sw gl mr pa si km sn yo so af oc ka be tg sd gu am "
    "yi lo uz fo ht ps tk nn mt sa lb my bo tl mg as tt haw ln ha ba jw su yue".split()
)


def predictions(
    known: Mapping[str, bytes], hint: Mapping[str, Any], name: str = ""
) -> Iterator[tuple[str, Iterable[bytes]]]:
    """``(file name, possible contents)``, from files that were read, the hub's summary and the repository's name."""
    if pair := _PAIR.search(name):
        yield "tokenizer_config.json", _marian(pair["source"], pair["target"])
    template = hint.get("chat_template_jinja")
    if isinstance(template, str):
        yield "chat_template.jinja", (template.encode("utf-8", "replace"),)
    tokenizer = as_object(known.get("tokenizer_config.json"))
    added = _added(known.get("tokenizer.json"), tokenizer)
    if tokenizer or added:
        whisper = tokenizer.get("tokenizer_class") == "WhisperTokenizer"
        maps = _special_tokens_map(tokenizer, added)
        yield (
            "special_tokens_map.json",
            itertools.chain(_whisper_map(tokenizer) if whisper else (), itertools.islice(maps, _MOST)),
        )
        yield (
            "added_tokens.json",
            itertools.chain(_added_tokens(added), _whisper_added() if whisper else ()),
        )
    config = as_object(known.get("config.json"))
    if config:
        yield "generation_config.json", itertools.islice(_generation_config(config), _MOST)


def as_object(data: bytes | None) -> dict[str, Any]:
    """A JSON object, empty where the data is none."""
    try:
        value = json.loads(data) if data else None
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _dump(value: object) -> bytes:
    """As transformers writes it: sorted, indented by two, a final newline."""
    return (json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode("utf-8", "replace")


def _added(backend: bytes | None, tokenizer: Mapping[str, Any]) -> dict[int, dict[str, Any]]:
    """The added tokens by id, from ``added_tokens_decoder`` or the head of tokenizer.json."""
    decoder = tokenizer.get("added_tokens_decoder")
    if isinstance(decoder, dict):
        pairs = [(key, entry) for key, entry in decoder.items() if key.isdigit() and len(key) < 12]
        return {
            int(key): entry
            for key, entry in sorted(pairs)
            if _text(entry) is not None and isinstance(entry, dict)
        }
    start = None if backend is None else _ADDED.search(backend[:65536])
    if backend is None or start is None:
        return {}
    try:
        entries, _ = json.JSONDecoder().raw_decode(backend[start.end() - 1 : 2**19].decode("utf-8", "ignore"))
        return {int(e["id"]): e for e in entries if _text(e) is not None}
    except (ValueError, RecursionError, TypeError, KeyError):
        return {}


def _special_tokens_map(
    tokenizer: Mapping[str, Any], added: Mapping[int, Mapping[str, Any]]
) -> Iterator[bytes]:
    """The special tokens, each as a string or as an object with the attributes it has elsewhere."""
    table = {entry["content"]: entry for entry in added.values()}
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
    yield from _with_more(dict(choices), table)
    for combination in itertools.product(*(values for _, values in choices)):
        yield _dump({role: value for (role, _), value in zip(choices, combination, strict=True)})


def _with_more(choices: Mapping[str, list[Any]], table: Mapping[str, Mapping[str, Any]]) -> Iterator[bytes]:
    """What a map holds beside tokenizer_config.json's tokens: a pad set later, the other special tokens."""
    for n in range(2):
        plain = {role: values[min(n, len(values) - 1)] for role, values in choices.items()}
        used = {_text(v) for v in plain.values() if not isinstance(v, list)}
        others = [text for text, entry in table.items() if entry.get("special") and text not in used]
        every = [text for text, entry in table.items() if entry.get("special")]
        for more in ({}, {"additional_special_tokens": others}, {"additional_special_tokens": every}):
            base = {**more, **plain} if more.get("additional_special_tokens") != [] else plain
            yield _dump(base)
            for pad in () if "pad_token" in plain else dict.fromkeys((*_PADS, *filter(None, used))):
                for value in (pad, *_objects(pad, table.get(pad))):
                    yield _dump({**base, "pad_token": value})


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


def _added_tokens(added: Mapping[int, Mapping[str, Any]]) -> Iterator[bytes]:
    """The added tokens above the base vocabulary: a run of ids at the end, or all of them."""
    ordered = sorted(added)
    for cut in dict.fromkeys((0, *(i for i in range(1, len(ordered)) if ordered[i] != ordered[i - 1] + 1))):
        yield _dump({added[i]["content"]: i for i in ordered[cut:]})


def _generation_config(config: Mapping[str, Any]) -> Iterator[bytes]:
    """What `GenerationConfig.from_model_config` keeps: the ids, and the version that wrote it."""
    keys = ("bos_token_id", "decoder_start_token_id", "eos_token_id", "pad_token_id")
    nested = config.get("text_config")
    inner = nested if isinstance(nested, dict) else {}
    defaults = {"bos_token_id": 1, "eos_token_id": 2} if inner.get("model_type") == "llama" else {}
    ids = {k: v for k in keys if (v := config.get(k, inner.get(k, defaults.get(k)))) is not None}
    version = config.get("transformers_version")
    tail: dict[str, Any] = {"transformers_version": version} if isinstance(version, str) else {}
    for n in range(len(ids), -1, -1):
        for chosen in itertools.combinations(ids, n):
            some = {k: ids[k] for k in chosen}
            yield _dump({"_from_model_config": True, **some, **tail})
            yield _dump({**some, **tail})


def _marian(source: str, target: str) -> Iterator[bytes]:
    """What the conversion of the 1,400 OPUS models wrote: the languages of the name."""
    for pair in (
        {"source_lang": source, "target_lang": target},
        {"target_lang": target, "source_lang": source},
    ):
        yield json.dumps(pair).encode()


def _whisper_names() -> Iterator[list[str]]:
    """Whisper's special tokens in the order of their ids, of its first two versions and of the third."""
    for code in ("jw", "jv"):
        for languages in (_WHISPER[:-1], _WHISPER):
            for silence in ("nocaptions", "nospeech"):
                codes = [code if c == "jw" else c for c in languages]
                tasks = ["translate", "transcribe", "startoflm", "startofprev", silence, "notimestamps"]
                yield [f"<|{w}|>" for w in ("endoftext", "startoftranscript", *codes, *tasks)]


def _whisper_added() -> Iterator[bytes]:
    for names in _whisper_names():
        for first in (50257, 50256):  # after GPT-2's vocabulary and one more, or after it alone
            yield _dump({name: first + i for i, name in enumerate(names)})
            yield _dump({name: first + 1 + i for i, name in enumerate(names[1:])})


def _whisper_map(tokenizer: Mapping[str, Any]) -> Iterator[bytes]:
    """The special tokens as in tokenizer_config.json, a pad that is the end of text, and all of Whisper's own."""
    texts = {role: _text(tokenizer.get(role)) for role in _ROLES}
    for names in _whisper_names():
        for n in range(2):
            plain: dict[str, Any] = {
                role: text if n == 0 else next(_objects(tokenizer[role], None))
                for role, text in texts.items()
                if text is not None
            }
            for pad in ({}, {"pad_token": "<|endoftext|>"}):
                yield _dump({"additional_special_tokens": names, **plain, **pad})
