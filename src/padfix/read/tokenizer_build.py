"""A tokenizer as ``from_pretrained`` would build it, from a repository's files and the class tables.

The order in which transformers lets one file overrule another is followed step by step, per major:
``tokenizer_config.json``, then (only where that has no ``added_tokens_decoder``) ``special_tokens_map.json``,
``added_tokens.json`` and the added tokens of ``tokenizer.json``, then the defaults of the class.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from padfix.errors import SourceError
from padfix.read import defaults
from padfix.read.backend import Added, Backend
from padfix.read.files import TokenizerFiles
from padfix.read.tokenizer_json import TokenizerJson

_LANGUAGES: Final = ("en_XX", "eng_Latn", "__fra__")  # what MBart, NLLB and Seamless translate by default
Around = tuple[Sequence[str | int], Sequence[str | int]]  # tokens (or fixed ids) before and after a text
ROLES: Final = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")


@dataclass(slots=True)
class Built:
    """A tokenizer's facts. ``roles`` holds strings; ids are the backend's.

    ``components`` has ``normalizer``, ``pre_tokenizer``, ``post_processor`` and ``model`` in the form of
    ``tokenizer.json``; ``prefix`` and ``suffix`` are the tokens around a text where the class sets them itself
    (None: the post-processor of the file says), an id where the class has it fixed. ``padding`` is a padding
    block that the class sets itself.
    """

    cls: str
    kind: str  # tokenizers, python, sentencepiece
    roles: dict[str, Added]
    extras: list[Added]
    backend: Backend
    side: str
    templates: tuple[str, ...]
    chat_template: bool
    components: dict[str, Any] = field(default_factory=dict)
    prefix: Sequence[str | int] | None = None
    suffix: Sequence[str | int] | None = None
    folding: bool | None = None
    repeats: bool = False  # len() counts a repeated Unigram piece twice
    padding: Mapping[str, Any] | None = None
    from_json: bool = True  # a tokenizer.json, where there is one, is what it was built from


@dataclass(slots=True)
class Arguments:
    """What a class is called with, after all files had their say."""

    raw: dict[str, Any]
    roles: dict[str, Added | None]  # None: explicitly no such token
    extras: list[Added] | None  # None: the class's own
    extras_key: str  # how the list arrived: "extra_special_tokens" or "additional_special_tokens"
    added: dict[int, Added]
    chat_templates: tuple[str, ...]
    has_chat_template: bool


def arguments(files: TokenizerFiles, major: str, *, legacy_json: bool = True) -> Arguments:
    """Everything the repository says about a tokenizer, merged in transformers' order.

    ``legacy_json``: the added tokens of ``tokenizer.json`` count where no ``added_tokens_decoder`` is given.
    """
    raw = {k: v for k, v in files.config.data.items() if k not in ("tokenizer_class", "init_inputs")}
    source = files.source
    templates, has_template = files.chat_templates(raw.get("chat_template"))
    specific = _specific(raw, major, source)
    extras, key = _extras(raw, major, source)
    added: dict[int, Added] = {}
    by_text: dict[str, Added] = {}
    decoder = raw.get("added_tokens_decoder")
    if "added_tokens_decoder" in raw:
        if "added_tokens_decoder" not in files.memo:
            files.memo["added_tokens_decoder"] = _decoder(decoder, source)
        added, by_text = (dict(known) for known in files.memo["added_tokens_decoder"])
    else:
        if files.special_map:
            extras, key = _merge_map(raw, files.special_map.data, extras, key, major, source)
            specific |= _specific(raw, major, source)
        listed = files.special_map.data.get("additional_special_tokens")
        last = _text(listed[-1]) if isinstance(listed, list) and listed else "None"
        named = {_text(raw[r]) for r in ROLES if raw.get(r) is not None} | {t.text for t in extras or ()}
        for text, token_id in files.added_map.data.items():
            if not isinstance(token_id, int) or isinstance(token_id, bool):
                raise SourceError(
                    f"{source}: added_tokens.json gives {text[:40]!r} the id {str(token_id)[:40]!r}"
                )
            added[token_id] = Added(text, text in named, text not in named)
            # transformers 4 files each under a name left over from the loop before
            by_text[last if major == "4" else text] = added[token_id]
        if legacy_json and files.json is not None:
            for token_id, token in json_added(files.json, source):
                added[token_id] = by_text[token.text] = token
    roles: dict[str, Added | None] = {}
    for role in ROLES:
        if role in raw:
            roles[role] = _role(raw[role], role, by_text, source)
    roles.update(specific)
    return Arguments(raw, roles, extras, key, added, templates, has_template)


def _text(value: Any) -> str:
    if isinstance(value, Added):
        return value.text
    return str(value.get("content")) if isinstance(value, dict) else str(value)


def _role(value: Any, role: str, by_text: Mapping[str, Added], source: str) -> Added | None:
    if value is None:
        return None
    if isinstance(value, Added):
        token: Added | None = value
    elif isinstance(value, dict) and value.get("__type") == "AddedToken":
        token = Added.from_json(value)
    else:
        token = Added.named(value) if isinstance(value, str) else None
    if token is None:
        raise SourceError(f"{source}: {role} is neither a string nor a token but {str(value)[:60]!r}")
    return by_text.get(token.text, token)


def token_of(value: Any, source: str, where: str) -> Added:
    """A token that is written as a string or as an object."""
    if isinstance(value, str):
        return Added.named(value)
    token = Added.from_json(value) if isinstance(value, dict) else None
    if token is None:
        raise SourceError(f"{source}: {where} holds {str(value)[:60]!r} where a token belongs")
    return token


def _specific(raw: dict[str, Any], major: str, source: str) -> dict[str, Added | None]:
    """Named tokens beyond the seven: ``*_token`` keys in 5, an ``extra_special_tokens`` object in both."""
    found: dict[str, Added | None] = {}
    if major == "5":
        for key in [k for k in raw if k.endswith("_token") and k not in ROLES]:
            value = raw[key]
            if isinstance(value, Added):
                found[key] = value
            elif isinstance(value, str):
                found[key] = Added.named(value)
            elif isinstance(value, dict) and value.get("__type") == "AddedToken":
                found[key] = token_of(value, source, key)
    extra = raw.get("extra_special_tokens")
    if isinstance(extra, dict):
        raw.pop("extra_special_tokens")
        for key, value in extra.items():
            found[str(key)] = token_of(value, source, f"extra_special_tokens.{key}"[:60])
    return found


def _extras(raw: dict[str, Any], major: str, source: str) -> tuple[list[Added] | None, str]:
    """The unnamed special tokens of the config."""
    if major == "4":
        if "extra_special_tokens" in raw:  # an object was taken out before
            kind = type(raw["extra_special_tokens"]).__name__
            raise SourceError(f"{source}: extra_special_tokens is a {kind}, which transformers 4 cannot load")
        value = raw.get("additional_special_tokens")
        return (None if value is None else _list(value, source)), "additional_special_tokens"
    if "additional_special_tokens" in raw and not raw.get("extra_special_tokens"):
        raw["extra_special_tokens"] = raw.pop("additional_special_tokens")
    if "extra_special_tokens" not in raw:
        return None, "extra_special_tokens"
    value = raw["extra_special_tokens"]
    return ([] if value is None else _list(value, source)), "extra_special_tokens"


def _list(value: Any, source: str) -> list[Added]:
    if not isinstance(value, list):
        raise SourceError(f"{source}: the list of extra special tokens is {str(value)[:60]!r}")
    return [token_of(v, source, "the list of extra special tokens") for v in value]


def _decoder(decoder: Any, source: str) -> tuple[dict[int, Added], dict[str, Added]]:
    if not isinstance(decoder, dict):
        raise SourceError(f"{source}: added_tokens_decoder in tokenizer_config.json is {str(decoder)[:60]!r}")
    added: dict[int, Added] = {}
    for key, token in zip(decoder, Added.all_from_json(decoder.values()), strict=True):
        if token is None or len(key) > 12 or not (key.isdecimal() or key.strip().lstrip("-").isdecimal()):
            raise SourceError(
                f"{source}: added_tokens_decoder holds {key[:20]!r}: {str(decoder[key])[:60]!r}, which is not a token"
            )
        added[int(key)] = token
    return added, {t.text: t for t in added.values()}


def _merge_map(
    raw: dict[str, Any],
    mapped: Mapping[str, Any],
    extras: list[Added] | None,
    key: str,
    major: str,
    source: str,
) -> tuple[list[Added] | None, str]:
    """``special_tokens_map.json`` overrules the config, key by key; its lists are joined or replace."""
    for name, value in mapped.items():
        if name in ("additional_special_tokens", "extra_special_tokens") and isinstance(value, list):
            tokens = [
                Added.from_json(v, special=True) if isinstance(v, dict) else token_of(v, source, name)
                for v in value
            ]
            if any(t is None for t in tokens):
                raise SourceError(
                    f"{source}: {name} in special_tokens_map.json holds something that is not a token"
                )
            given = [t for t in tokens if t is not None]
            if major == "5" and name == "additional_special_tokens":
                if extras is None or key == "additional_special_tokens":
                    if any(isinstance(v, dict) and v.get("__type") != "AddedToken" for v in value):
                        raise SourceError(
                            f"{source}: {name} in special_tokens_map.json holds objects, which transformers 5 takes for "
                            "no tokens"
                        )
                    extras, key = given, name  # a list from the config keeps its own key and wins
            else:
                # strings are known by strings, and what the config wrote as an object by nothing
                known = {t.text for t in extras or () if t.plain}
                extras = [*(extras or ()), *(t for t in given if not (t.plain and t.text in known))]
        elif isinstance(value, dict):
            token = Added.from_json(value, special=True)
            if token is None:
                raise SourceError(
                    f"{source}: {name} in special_tokens_map.json is not a token: {str(value)[:60]!r}"
                )
            raw[name] = token
        else:
            raw[name] = value
    return extras, key


def json_added(file: TokenizerJson, source: str) -> list[tuple[int, Added]]:
    """The added tokens of a ``tokenizer.json``, with the ids that are written there."""
    if file.added is None:
        file.added = _json_added(file, source)
    known: list[tuple[int, Added]] = file.added
    return known


def _json_added(file: TokenizerJson, source: str) -> list[tuple[int, Added]]:
    found: list[tuple[int, Added]] = []
    entries = file.parts.get("added_tokens", [])
    if not isinstance(entries, list):
        raise SourceError(f"{source}: added_tokens in {file.name} is not a list")
    for entry, token in zip(entries, Added.all_from_json(entries), strict=True):
        token_id = None if token is None else entry.get("id")
        if token is None or type(token_id) is not int:
            raise SourceError(
                f"{source}: {file.name} has an added token without id and content: {str(entry)[:60]!r}"
            )
        found.append((token_id, token))
    return found


def combine(record: Mapping[str, Any], given: list[Added] | None, rule: str) -> list[Added]:
    """A class's own unnamed special tokens and the repository's, joined as the class does it."""
    own = [Added.named(t) for t in record.get("extras", ())]
    if given is None:
        return own
    texts = {t.text for t in given}
    if rule == "before":
        again = record.get("repeats", ())
        return [*given, *(t for t in own if t.text not in texts or t.text in again)]
    if rule in ("after", "union", "other"):
        known = {t.text for t in own}
        return [*own, *(t for t in given if t.text not in known)]
    return own if rule == "ignored" else given


def side_of(args: Arguments, record: Mapping[str, Any], block: Mapping[str, Any], source: str) -> str:
    """Where padding goes: the config, the file's own padding block, the class."""
    side = args.raw.get("padding_side", str(block.get("direction", record["side"])).lower())
    if side not in ("left", "right"):
        raise SourceError(f"{source}: padding_side is {str(side)[:40]!r}, not 'left' or 'right'")
    return str(side)


def fill(args: Arguments, record: Mapping[str, Any], block: Mapping[str, Any]) -> dict[str, Added]:
    """Every named special token: the repository's, else the class's, else the padding block's pad."""
    roles: dict[str, Added] = {}
    names = [
        *ROLES,
        *record.get("order", ()),
        *(r for r in record["roles"] if r not in ROLES),
        *(r for r in args.roles if r not in ROLES),
    ]
    for role in dict.fromkeys(names):
        followed = record.get("follows", {}).get(role)
        if role in args.roles:
            value = args.roles[role]
        elif followed is not None and args.roles.get(followed) is not None:
            value = args.roles[followed]
        else:
            own = record["roles"].get(role)
            value = None if own is None else Added.named(own)
            if (
                role == "pad_token"
                and block
                and record.get("pad_from_block")
                and isinstance(block.get("pad_token"), str)
            ):
                value = Added.named(block["pad_token"])
        wrapped = record.get("normalized", {}).get(role)
        if value is not None and value.plain and wrapped is not None:
            value = Added(value.text, True, wrapped)
        if value is not None:
            roles[role] = value
    return roles


def add_declared(
    backend: Backend, args: Arguments, roles: Mapping[str, Added], extras: list[Added], major: str
) -> None:
    """The tokens that ``__init__`` adds: declared ones by id, then the named ones, then the unnamed.

    Strings are compared with token objects there, which are never equal. So transformers 4 adds a token that is
    more than a string again, with its own flags, though the backend has it, and 5 adds one both as a string
    and as an object. In 5 only named tokens become special by it.
    """
    present = backend.tokens
    tokens = []
    for token_id in sorted(args.added):
        token = args.added[token_id]
        there = present.get(token.text)
        if there is not token and (
            there is None or token.special != there.special or token.normalized != there.normalized
        ):
            tokens.append(token)
    declared = {t.text for t in tokens}
    special = {t.text for t in ((*roles.values(), *extras) if major == "4" else roles.values())}
    seen: set[tuple[str, bool]] = set()
    for token in in_order(roles, extras, major):
        kind = (token.text, token.plain and major == "5")
        again = token.text in present and (token.plain or major == "5")
        if kind not in seen and token.text not in declared and not again:
            tokens.append(token)
        seen.add(kind)
    backend.add(t.as_special() if t.text in special else t for t in tokens)


def in_order(roles: Mapping[str, Added], extras: list[Added], major: str) -> list[Added]:
    """The special tokens as they get their ids: in 4 named ones beyond the seven come last."""
    if major == "5":
        return [*roles.values(), *extras]
    seven = [token for role, token in roles.items() if role in ROLES]
    return [*seven, *extras, *(token for role, token in roles.items() if role not in ROLES)]


def block_of(file: TokenizerJson | None) -> Mapping[str, Any]:
    """The ``padding`` block of a ``tokenizer.json``."""
    return file.part("padding") if file is not None else {}


def own_backend(record: Mapping[str, Any], args: Arguments) -> Mapping[str, Any]:
    """The parts that a class writes itself, with its switches thrown as the repository says."""
    found: Mapping[str, Any] = record.get("backend") or {}
    for switch in ("do_lower_case", "keep_accents"):
        choice = record.get(switch)
        if isinstance(choice, dict) and bool(args.raw.get(switch, choice["default"])) != choice["default"]:
            found = choice["flipped"]
    return found


def template_of(
    record: Mapping[str, Any],
    args: Arguments,
    roles: Mapping[str, Added],
    file: TokenizerJson | None,
    source: str,
) -> Around | None:
    """What the class itself puts around a text; None where the file's post-processor stays."""
    variant = "bare" if file is None else "" if file.part("post_processor") else "none"
    template = record.get(f"template_{variant}", record.get("template"))
    if not isinstance(template, dict):
        return None
    missing = [w for side in ("prefix", "suffix") for w in template[side] if w in ROLES and w not in roles]
    instead = [record.get("unset", {}).get(role) for role in missing]
    if "refused" in instead:
        raise SourceError(f"{source}: its class puts a {missing[0]} around every text, and it is null")
    language = next((args.raw[k] for k in ("tgt_lang", "src_lang") if isinstance(args.raw.get(k), str)), None)
    around: list[list[str | int]] = []
    for side in (template["prefix"], template["suffix"]):
        words: list[str | int] = []
        for word in side:
            if word in ROLES:
                # two null tokens have one name, "None", and so one id
                found = roles[word].text if word in roles else instead[-1]
                words += [] if found is None else [found]
            elif word in _LANGUAGES and language is not None:
                words.append(
                    f"__{language}__" if word.startswith("__") and "__" not in language else language
                )
            else:
                words.append(word)
        around.append(words)
    return around[0], around[1]


def default_major(major: str | int | None) -> str:
    """The major to read as: the one asked for, else the installed one."""
    chosen = defaults.installed_major() if major is None else str(major)
    if chosen not in defaults.MAJORS:
        raise ValueError(f"major is {major!r}; transformers {' and '.join(defaults.MAJORS)} are known")
    return chosen
