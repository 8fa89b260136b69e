"""Tokenizers with a Rust backend, built from files: transformers 5's and 4's ways."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from padfix.errors import SourceError
from padfix.read import defaults, pieces
from padfix.read.backend import Added, Backend
from padfix.read.files import TokenizerFiles
from padfix.read.json_file import decode, parse
from padfix.read.source import kept_open
from padfix.read.tables import parts
from padfix.read.tokenizer_build import (
    ROLES,
    Arguments,
    Around,
    Built,
    add_declared,
    arguments,
    block_of,
    combine,
    fill,
    json_added,
    own_backend,
    side_of,
    template_of,
)
from padfix.read.tokenizer_json import MAX_TOKENIZER_JSON, TokenizerJson, object_vocab, read_vocab
from padfix.read.vocab import DictVocab, Vocab

_BEHIND: Final = 64  # bytes: a line's end, and some blanks, that may follow a vocab.json
_OTHER: Final = {
    "4": re.compile(r"tekken\.json|tokenizer\.model\.*"),
    "5": re.compile(r"tekken\.json|tokenizer\.model\.*|tiktoken\.model"),
}


# classes that set a post-processor before the base class, which then replaces it where it is told to add tokens
_SETS_FIRST: Final = ("AlbertTokenizer", "FNetTokenizer", "CodeGenTokenizer", "CodeLlamaTokenizer")


def build_5(files: TokenizerFiles, name: str) -> Built:
    """A tokenizer as transformers 5 builds it."""
    record = defaults.tokenizer_class("5", name) or {}
    args = arguments(files, "5")
    file = files.json
    block = block_of(file)
    extra_from_model: list[Added] = []
    _refuse_incomplete(args, record, name, files.source)
    if "vocabulary" in record:  # the class has its own, whatever the file says
        backend = Backend(DictVocab({text: i for i, text in enumerate(record["vocabulary"])}))
        post = file.part("post_processor") if file is not None else {}
        components = _class_components(record, args, post_processor=post)
    elif file is not None and not record["rebuilds"]:
        backend = Backend(file.vocab)
        backend.add(token for _, token in json_added(file, files.source))
        components = _components(file)
    elif file is not None:
        backend = Backend(_as(record, file, files.source))
        components = _class_components(record, args, post_processor=file.part("post_processor"))
        own_characters = any(n.get("type") == "Precompiled" for n in parts(file.part("normalizer")))
        if own_characters and name not in pieces.NO_CHARSMAP:
            components["normalizer"] = pieces.precompiled(components["normalizer"])
    else:
        backend, components, extra_from_model = _without_json(files, name, record, args, "5")
    roles = fill(args, record, block)
    if extra_from_model and args.extras is None:
        args.extras, args.extras_key = extra_from_model, "additional_special_tokens"
    rule = "extras_rule_map" if args.extras_key == "additional_special_tokens" else "extras_rule"
    extras = combine(record, args.extras, str(record.get(rule, "given")))
    around = template_of(record, args, roles, file, files.source)
    _refuse_unbuildable(backend, record, around, roles, name, files.source)
    add_declared(backend, args, roles, extras, "5")
    if name == "WhisperTokenizer":
        around = _whisper(args, roles)
    told = file is None and ("add_bos_token" in args.raw or "add_eos_token" in args.raw)
    if told and (around is None or around == ([], []) or name in _SETS_FIRST):
        around = _bos_eos(args, roles)
    elif around is None and not components.get("post_processor"):
        around = [], []
    asked = [w for side in around or () for w in side if isinstance(w, str)]
    if told or not components.get("post_processor"):  # then the base class looks at BOS and EOS
        asked += [roles[role].text for role in ("bos_token", "eos_token") if role in roles]
    _refuse_endless(backend, roles, asked, files.source)
    return Built(
        cls=name,
        kind="tokenizers",
        roles=roles,
        extras=extras,
        backend=backend,
        side=side_of(args, record, block, files.source),
        templates=args.chat_templates,
        chat_template=args.has_chat_template,
        components=components,
        prefix=None if around is None else around[0],
        suffix=None if around is None else around[1],
        repeats=True,
        padding=record.get("padding"),
    )


def build_4(files: TokenizerFiles, name: str) -> Built:
    """A tokenizer as transformers 4 builds it: from its own file, or from a slow one."""
    record = defaults.tokenizer_class("4", name) or {}
    args = arguments(files, "4")
    _refuse_incomplete(args, record, name, files.source)
    again = _from_slow(args, record, name, files)
    file = None if again else files.json
    if name == "PegasusTokenizerFast":
        args.added = {}  # it throws away what the config declares
    block: Mapping[str, Any] = {}
    converted: Around | None = None
    if file is not None:
        if record.get("slow") in pieces.BERT_LIKE and not file.part("normalizer"):
            raise SourceError(
                f"{files.source}: {file.name} has no normalizer, without which transformers 4's {name} fails"
            )
        if name == "CLIPTokenizerFast" and file.part("pre_tokenizer").get("type") != "Sequence":
            raise SourceError(
                f"{files.source}: {file.name} is from before transformers 4.17, without the pre-tokenizer that "
                f"{name} insists on"
            )
        block = block_of(file)
        backend = Backend(file.vocab)
        backend.add(token for _, token in json_added(file, files.source))
        components = _components(file)
        if record.get("slow") in pieces.BERT_LIKE and "lowercase" in components["normalizer"]:
            # the class's argument wins, also where nobody gives one
            lower = bool(args.raw.get("do_lower_case", True))
            components["normalizer"] = {**components["normalizer"], "lowercase": lower}
    else:
        slow = record.get("slow")
        # BlenderbotSmall hands its slow class a tokenizer where a file belongs
        if slow is None and "tekken.json" in files.names:
            pieces.build_tekken(files, "tekken.json", "4")
        if slow is None or name == "BlenderbotSmallTokenizerFast":
            missing = (
                "is told to leave tokenizer.json alone"
                if again and files.json is not None
                else "needs a tokenizer.json, and there is none"
            )
            raise SourceError(f"{files.source}: transformers 4's {name} {missing}")
        refuse_elsewhere(args, (defaults.tokenizer_class("4", slow) or {}).get("files", {}), files.source)
        backend, components, converted, record = _converted(files, slow, record, args)
    if str(record.get("extras_rule", "")).startswith("refused") and args.extras is not None:
        raise SourceError(f"{files.source}: transformers 4's {name} cannot take additional_special_tokens")
    if "extras_null" in record and args.raw.get("additional_special_tokens", ()) is None:
        args.extras = args.extras or []
    filled = fill(args, record, block)
    roles = {role: token for role, token in filled.items() if token.text}  # 4 forgets empty ones
    extras = combine(record, args.extras, str(record.get("extras_rule", "given")))
    if name == "PegasusTokenizerFast" and args.extras is not None:
        extras = _pegasus_extras(args, files.source)
    add_declared(backend, args, roles, extras, "4")
    # what asks the config itself may do without a token
    shown = {**record, "unset": {}} if name in _ASKS else record
    around = template_of(shown, args, roles, file, files.source)
    if around is not None and name in _ASKS:
        around = _bos_eos(args, roles, bos=name != "GPTNeoXTokenizerFast")
        _refuse_missing(args, roles, name, files.source)
    elif name == "WhisperTokenizerFast" and file is None:
        around = _whisper(args, roles)
    elif around is None and converted is not None:
        before, after = (_named(side, roles, files.source) for side in converted)
        around = before, after
    return Built(
        cls=name,
        kind="tokenizers",
        roles=roles,
        extras=extras,
        backend=backend,
        side=side_of(args, record, block, files.source),
        templates=args.chat_templates,
        chat_template=args.has_chat_template,
        components=components,
        prefix=None if around is None else around[0],
        suffix=None if around is None else around[1],
        from_json=not again,
    )


def _from_slow(args: Arguments, record: Mapping[str, Any], name: str, files: TokenizerFiles) -> bool:
    """The slow files and not ``tokenizer.json``: by a flag, a null where that file's path belongs, or another pad."""
    if (
        name in ("LlamaTokenizerFast", "T5TokenizerFast", "MT5TokenizerFast")
        and args.raw.get("add_prefix_space") is not None
    ) or (
        name == "PegasusTokenizerFast" and _other_than(args, record, ("pad_token", "eos_token", "unk_token"))
    ):
        return True
    source = files.source
    if files.json is None:
        return False
    if name == "CodeGenTokenizerFast" and args.raw.get("add_bos_token"):
        raise SourceError(f"{source}: transformers 4's {name} cannot take add_bos_token")
    path = args.raw.get("tokenizer_file", "")
    if path is not None and path != "":
        raise SourceError(
            f"{source}: tokenizer_file in tokenizer_config.json names {str(path)[:80]!r}, which transformers 4 would "
            "open instead of this repository's tokenizer.json"
        )
    return path is None or bool(args.raw.get("from_slow"))


def refuse_elsewhere(args: Arguments, names: Mapping[str, str], source: str) -> None:
    """A config that names its vocabulary file: transformers 4 opens that path, or fails where it is null."""
    for key in names:
        if key in args.raw and key != "tokenizer_file":
            raise SourceError(
                f"{source}: {key} in tokenizer_config.json is {str(args.raw[key])[:80]!r}, which transformers 4 would "
                f"open instead of this repository's {names[key]}"
            )


def _converted(
    files: TokenizerFiles, slow: str, record: Mapping[str, Any], args: Arguments
) -> tuple[Backend, dict[str, Any], Around | None, Mapping[str, Any]]:
    """What transformers 4 makes of a slow class: the backend, the tokens around a text, and the class's record."""
    backend, components, _ = _without_json(files, slow, record, args, "4")
    around = pieces.converted_template(slow)
    if slow in ("GPT2Tokenizer", "CodeGenTokenizer") and args.raw.get("add_bos_token") is True:
        around = ["bos_token"], []
    converting = defaults.tokenizer_class("4", slow) or {}  # whose own tokens then win (RemBERT's [PAD])
    given = {role: text for role, text in converting.get("roles", {}).items() if role in ROLES}
    own = {**record["roles"], **given}
    extra = record.get("extras") or converting.get("extras", ())  # Herbert's
    flags = converting.get("kept_normalized", {})
    return backend, components, around, {**record, "normalized": flags, "roles": own, "extras": extra}


def _pegasus_extras(args: Arguments, source: str) -> list[Added]:
    """Pegasus fills the repository's list up with the places that it has not taken."""
    given, sent, offset = (
        list(args.extras or ()),
        args.raw.get("mask_token_sent", "<mask_1>"),
        args.raw.get("offset", 103),
    )
    if isinstance(sent, str) and sent not in {t.text for t in given}:
        given = [Added.named(sent), *given]
    places = min(offset, 10_000) if isinstance(offset, int) and not isinstance(offset, bool) else 103
    filled = [*given, *(Added.named(f"<unk_{i}>") for i in range(len(given), places - 1))]
    if len({t.text for t in filled}) < len(filled):
        raise SourceError(
            f"{source}: its list of additional special tokens has <unk_x> at other places than Pegasus"
        )
    return filled


def _named(side: Sequence[str | int], roles: Mapping[str, Added], source: str) -> list[str | int]:
    """One side of a template with tokens for role names, none of which may be missing."""
    for word in side:
        if word in ROLES and word not in roles:
            raise SourceError(f"{source}: its class puts a {word} around every text, and it is null")
    return [roles[w].text if isinstance(w, str) and w in roles else w for w in side]


def _other_than(args: Arguments, record: Mapping[str, Any], roles: tuple[str, ...]) -> bool:
    """The repository gives one of these roles another token than the class."""
    given = ((args.roles[role], record["roles"].get(role)) for role in roles if role in args.roles)
    return any((None if token is None else token.text) != own for token, own in given)


# transformers 4 classes that write their own post-processor from add_bos_token and add_eos_token
_ASKS: Final = (
    "LlamaTokenizerFast", "CodeLlamaTokenizerFast", "GemmaTokenizerFast", "CohereTokenizerFast", "GPTNeoXTokenizerFast",
)  # fmt: skip


def _refuse_incomplete(args: Arguments, record: Mapping[str, Any], name: str, source: str) -> None:
    """An argument without a default that the repository does not give (MarkupLM's ``tags_dict``)."""
    for argument in record.get("never_null", ()):
        if args.raw.get(argument, False) is None:
            raise SourceError(f"{source}: {argument} is null, which its class {name} cannot take")
    missing = [argument for argument in record.get("requires", ()) if argument not in args.raw]
    if missing:
        raise SourceError(f"{source}: its class {name} needs {', '.join(missing)} in tokenizer_config.json")


def _refuse_unbuildable(
    backend: Backend,
    record: Mapping[str, Any],
    around: Around | None,
    roles: Mapping[str, Added],
    name: str,
    source: str,
) -> None:
    """Tokens that a class of transformers 5 looks up in the vocabulary before it adds any."""
    first = "vocabulary" in record or (record["rebuilds"] and record.get("template") == "file")
    wanted = [w for side in around or () for w in side if isinstance(w, str)] if first else []
    wanted += [roles[role].text if role in roles else "None" for role in record.get("looks_up", ())]
    for text in wanted:
        if backend.get(text) is None:
            raise SourceError(f"{source}: its class {name} needs {text[:40]!r} in the vocabulary")


def _refuse_endless(backend: Backend, roles: Mapping[str, Added], asked: Sequence[str], source: str) -> None:
    """transformers 5 asks for unk's id where a token has none, also for unk itself: an empty string has none."""
    unk = roles.get("unk_token")
    if unk is None or backend.get(unk.text) is not None:
        return
    for word in asked:
        if backend.get(word) is None:
            raise SourceError(
                f"{source}: neither {word[:40]!r}, which its class may put around a text, nor unk_token "
                f"({unk.text[:40]!r}) has an id, which transformers 5 looks for without end"
            )


def _refuse_missing(args: Arguments, roles: Mapping[str, Added], name: str, source: str) -> None:
    """transformers 4 raises where a token is to be put around a text and there is none."""
    bos = bool(args.raw.get("add_bos_token", name != "GPTNeoXTokenizerFast"))
    for role, wanted in (("bos_token", bos), ("eos_token", bool(args.raw.get("add_eos_token", False)))):
        if wanted and role not in roles:
            raise SourceError(f"{source}: transformers 4's {name} is told to add a {role} and has none")


def _bos_eos(args: Arguments, roles: Mapping[str, Added], *, bos: bool = False) -> Around:
    prefix = [roles["bos_token"].text] if args.raw.get("add_bos_token", bos) and "bos_token" in roles else []
    suffix = (
        [roles["eos_token"].text] if args.raw.get("add_eos_token", False) and "eos_token" in roles else []
    )
    return prefix, suffix


def _whisper(args: Arguments, roles: Mapping[str, Added]) -> Around:
    """Whisper's prompt: the start, a language and a task where they are set, and no timestamps."""
    prefix = ["<|startoftranscript|>"]
    language, task = args.raw.get("language"), args.raw.get("task")
    if isinstance(language, str) and len(language) <= 3:
        prefix.append(f"<|{language}|>")
    if isinstance(task, str):
        prefix.append(f"<|{task}|>")
    if not args.raw.get("predict_timestamps", False):
        prefix.append("<|notimestamps|>")
    return prefix, [roles["eos_token"].text] if "eos_token" in roles else []


def _components(file: TokenizerJson) -> dict[str, Any]:
    """The parts of the file that decide what text can produce."""
    unk = file.model.get("unk_token")
    return {
        "normalizer": file.part("normalizer"),
        "pre_tokenizer": file.part("pre_tokenizer"),
        "decoder": file.part("decoder"),
        "post_processor": file.part("post_processor"),
        "model": {
            "type": file.kind,
            "unk_token": unk if isinstance(unk, str) else None,
            "byte_fallback": bool(file.model.get("byte_fallback", False)),
        },
    }


def _class_components(
    record: Mapping[str, Any], args: Arguments, *, post_processor: Mapping[str, Any]
) -> dict[str, Any]:
    """The parts that a class writes itself, with its own switches thrown as the repository says."""
    found = own_backend(record, args)
    model = dict(found.get("model") or {})
    unk = model.get("unk_token")
    if isinstance(unk, str) and unk in record["roles"]:
        role = args.roles.get(unk)
        model["unk_token"] = role.text if role is not None else record["roles"][unk]
    normalizer = dict(found.get("normalizer") or {})
    if normalizer.get("type") == "BertNormalizer" and args.raw.get("strip_accents"):
        normalizer["strip_accents"] = True
    return {
        "normalizer": normalizer,
        "pre_tokenizer": found.get("pre_tokenizer") or {},
        "decoder": found.get("decoder") or {},
        "post_processor": post_processor,
        "model": model,
    }


def _as(record: Mapping[str, Any], file: TokenizerJson, source: str) -> Vocab:
    """The file's vocabulary in the shape that a class's own model wants."""
    if (record.get("model") or record.get("shape")) == "Unigram" and not file.list_vocab:
        raise SourceError(
            f"{source}: {file.name} has a {file.kind} vocabulary where its class needs Unigram pieces"
        )
    if record.get("model") is None and record.get("shape") != "Unigram" and file.list_vocab:
        raise SourceError(f"{source}: {file.name} has a {file.kind} vocabulary, which its class cannot load")
    return file.vocab


def _without_json(
    files: TokenizerFiles, name: str, record: Mapping[str, Any], args: Arguments, major: str
) -> tuple[Backend, dict[str, Any], list[Added]]:
    """From a sentencepiece model, a tiktoken file, or a vocabulary and merges."""
    shown = defaults.tokenizer_class(major, name) or {}
    wanted = {**record["files"], **shown.get("files", {})}
    vocab_file = wanted.get("vocab_file")
    if f"{files.json.name if files.json else 'tokenizer.json'}" not in files.names:
        found = next((m for n in sorted(files.names) if (m := _OTHER[major].search(n))), None)
        vocab_file = found.group() if found is not None else vocab_file
    if vocab_file is None or vocab_file not in files.names:
        alone = major == "5" and record.get("rebuilds")
        outcome = "is left with its special tokens" if alone else "cannot be built"
        raise SourceError(
            f"{files.source}: no tokenizer.json and no {vocab_file or 'vocabulary file'}: its class {name} {outcome}"
        )
    if vocab_file.endswith("tekken.json"):
        return pieces.build_tekken(files, vocab_file, major)
    if vocab_file.endswith(".model"):
        return pieces.build(files, vocab_file, name, record, args, major)
    vocab = read_vocabulary(files, vocab_file, python=major == "4")
    merges = wanted.get("merges_file")
    if merges is not None and merges not in files.names:
        raise SourceError(f"{files.source}: {vocab_file} without {merges}: its class {name} cannot be built")
    if major == "4":
        return Backend(vocab), pieces.slow_components(name, args), []
    if not record.get("rebuilds") and not record.get("backend"):
        raise SourceError(f"{files.source}: no tokenizer.json, and {name} cannot be built from {vocab_file}")
    return Backend(vocab), _class_components(record, args, post_processor={}), []


def read_vocabulary(files: TokenizerFiles, name: str, *, python: bool = True) -> Vocab:
    """``vocab.json`` (string -> id) or ``vocab.txt`` (one string a line), read once.

    ``python``: Python reads the lines, not the Rust library, which also cuts blanks off their ends.
    """
    key = f"{name} in Python" if python and name.endswith(".txt") else name
    if key not in files.memo:
        files.memo[key] = _read_vocabulary(files, name, python)
    vocab: Vocab = files.memo[key]
    return vocab


def _read_vocabulary(files: TokenizerFiles, name: str, python: bool) -> Vocab:
    if name.endswith(".json"):
        with kept_open(files.repository, name):
            size = files.repository.size(name)
            found = read_vocab(files.repository, name, size) if size <= MAX_TOKENIZER_JSON else None
            if found is not None:
                vocab, end = found
                behind = files.repository.range(name, end, _BEHIND)
                if size - end <= _BEHIND and not behind.strip(b" \t\r\n"):
                    return vocab
    data = files.repository.read(name, MAX_TOKENIZER_JSON)
    if name.endswith(".json"):
        return object_vocab(parse(decode(data, files.source, name), files.source, name), files.source, name)
    text = decode(data, files.source, name)
    if python:
        return DictVocab({line: i for i, line in enumerate(lines_of(text))})
    lines = text.removesuffix("\n").split("\n")
    return DictVocab({line.rstrip(): i for i, line in enumerate(lines)})


def lines_of(text: str) -> list[str]:
    """The lines of a text as Python's file objects give them: other separators of Unicode end none."""
    return text.replace("\r\n", "\n").replace("\r", "\n").removesuffix("\n").split("\n")
