"""Make the tables of class defaults that the file reader needs, from the installed transformers.

Run it once under each supported major; it writes its own major's half and keeps the other::

    python scripts/generate_defaults.py            # write src/padfix/data/*_defaults.json
    python scripts/generate_defaults.py --check    # exit 1 when the tables would change

Defaults are observed, not parsed: every tokenizer class is built over a synthetic vocabulary and asked
which tokens it has, what it appended, and what its backend looks like; every configuration class is built
without arguments and asked for its token ids.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import importlib.machinery
import importlib.util
import inspect
import io
import json
import logging
import os
import sys
import tempfile
import textwrap
import types
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
warnings.simplefilter("ignore")
logging.disable(logging.CRITICAL)

# RoFormer and CPM ask for this word segmenter; building them over our files never calls it
if importlib.util.find_spec("rjieba") is None:
    sys.modules["rjieba"] = types.ModuleType("rjieba")
    sys.modules["rjieba"].__spec__ = importlib.machinery.ModuleSpec("rjieba", None)

import tokenizers  # noqa: E402
import transformers  # noqa: E402
from tokenizers import models, processors  # noqa: E402
from transformers.models.auto import tokenization_auto  # noqa: E402
from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES  # noqa: E402

DATA = Path(__file__).resolve().parents[1] / "src" / "padfix" / "data"
MAJOR = transformers.__version__.split(".")[0]
ROLES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
LITERALS = (
    ".",
    "\u2581",
    "__fra__",
    "__eng__",
    "fra",
    "eng",
    "en_XX",
    "eng_Latn",
    "<|startoftranscript|>",
    "<|notimestamps|>",
)
ID_KEYS = ("_token_id", "_token_index", "_token_ids", "_token_idx")
KEYS = (
    "vocab_size",
    "pad_token_id",
    "eos_token_id",
    "bos_token_id",
    "tie_word_embeddings",
    "is_encoder_decoder",
)
WORDS = [f"w{i}" for i in range(20)]
FIXED = [w for w in WORDS[:10] if w not in ("w7", "w8")]  # whose ids only a class that hard-codes them uses


def main() -> int:
    """Write or check this major's half of both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--check", action="store_true", help="write nothing, exit 1 when a table would change"
    )
    args = parser.parse_args()
    stale = []
    for name, make in (("tokenizer_defaults.json", tokenizer_table), ("config_defaults.json", config_table)):
        path = DATA / name
        old = json.loads(path.read_text("utf-8")) if path.exists() else {"transformers": {}, "majors": {}}
        new = json.loads(json.dumps(old))
        new["transformers"][MAJOR] = transformers.__version__
        new["majors"][MAJOR] = make()
        text = dump(new)
        if not path.exists() or path.read_text("utf-8") != text:
            stale.append(name)
            if not args.check:
                path.write_text(text, "utf-8")
    print(
        f"transformers {transformers.__version__}: {'stale: ' + ', '.join(stale) if stale else 'up to date'}"
    )
    return int(bool(stale and args.check))


def dump(table: dict[str, Any]) -> str:
    """Sorted, one line per class or model type, so that a drift reads well in a diff."""

    def lines(value: Any, depth: int) -> str:
        if isinstance(value, dict) and depth:
            pad = " " * (5 - depth)
            body = ",\n".join(
                f"{pad}{json.dumps(k)}: {lines(v, depth - 1)}" for k, v in sorted(value.items())
            )
            return "{\n" + body + "\n" + pad[:-1] + "}"
        return json.dumps(value, ensure_ascii=True, sort_keys=True)

    return lines(table, 4) + "\n"


# ---- tokenizers -----------------------------------------------------------------------------------------


def tokenizer_table() -> dict[str, Any]:
    """Which class AutoTokenizer picks, and what each class has when nothing is said."""
    names = tokenization_auto.TOKENIZER_MAPPING_NAMES
    aliases = {}
    for declared in sorted(declared_names()):
        try:
            cls = tokenization_auto.tokenizer_class_from_name(declared)
        except Exception:  # noqa: BLE001 - a class whose optional dependency is missing has no defaults to tell
            continue
        if is_tokenizer(cls):
            aliases[declared] = cls.__name__
    classes = {}
    for name in sorted(
        {*aliases.values(), "TokenizersBackend" if MAJOR == "5" else "PreTrainedTokenizerFast"}
    ):
        cls = tokenization_auto.tokenizer_class_from_name(name) or getattr(transformers, name)
        record = describe(cls)
        if record is not None:
            classes[name] = record
    return {
        "by_model_type": {k: list(v) if isinstance(v, tuple) else v for k, v in names.items()},
        "by_config": by_config(),
        "incorrect_hub_class": sorted(
            getattr(tokenization_auto, "MODELS_WITH_INCORRECT_HUB_TOKENIZER_CLASS", ())
        ),
        "backend_name_patterns": list(getattr(tokenization_auto, "MODEL_IDS_TO_TOKENIZERS_BACKEND", ())),
        "aliases": aliases,
        "classes": classes,
    }


def declared_names() -> set[str]:
    """Every name a ``tokenizer_class`` key could hold and transformers would resolve."""
    found = {n for n in dir(transformers) if "Tokenizer" in n and not n.startswith("Auto")}
    for value in tokenization_auto.TOKENIZER_MAPPING_NAMES.values():
        found |= {v for v in (value if isinstance(value, tuple) else (value,)) if v}
    found |= {
        "TokenizersBackend",
        "PythonBackend",
        "SentencePieceBackend",
        "BloomTokenizer",
        "BloomTokenizerFast",
    }
    found |= {"PreTrainedTokenizer", "PreTrainedTokenizerFast"}
    # names without a class of their own any more, which 5 gives the class with the same converter (ELECTRA: BERT's)
    found |= set(transformers.convert_slow_tokenizer.SLOW_TO_FAST_CONVERTERS)
    if MAJOR == "5":
        found |= {f"{n}Fast" for n in found if not n.endswith("Fast")}
    return found


def is_tokenizer(cls: Any) -> bool:
    """A real tokenizer class, not a dummy that names a missing dependency."""
    base = transformers.PreTrainedTokenizerBase
    return isinstance(cls, type) and type.__subclasscheck__(base, cls) and "MistralCommon" not in cls.__name__


def by_config() -> dict[str, Any]:
    """Model type -> the class (5) or the pair (4) that its configuration class maps to."""
    found: dict[str, Any] = {}
    for model_type in CONFIG_MAPPING_NAMES:
        with contextlib.suppress(Exception):  # an optional dependency of that one model
            config = transformers.models.auto.configuration_auto.CONFIG_MAPPING[model_type]
            picked = tokenization_auto.TOKENIZER_MAPPING.get(config, None)
            if isinstance(picked, tuple):
                found[model_type] = [c.__name__ if is_tokenizer(c) else None for c in picked]
            elif is_tokenizer(picked):
                found[model_type] = picked.__name__
    return found


def describe(cls: type[Any]) -> dict[str, Any] | None:
    """One class: its files, side, default tokens, and the backend it builds."""
    kind = (
        "tokenizers"
        if issubclass(cls, transformers.PreTrainedTokenizerFast)
        else "sentencepiece"
        if any(b.__name__ == "SentencePieceBackend" for b in cls.__mro__)
        else "python"
    )
    record: dict[str, Any] = {
        "kind": kind,
        "files": {k: v for k, v in cls.vocab_files_names.items() if isinstance(v, str)},
        "side": cls.padding_side,
    }
    if wrapped := wraps(cls):
        record["normalized"] = wrapped
    if MAJOR == "4" and kind != "tokenizers" and (kept := wraps(cls, keeps=True)):
        record["kept_normalized"] = kept
    if needed := requires(cls):
        record["requires"] = needed
    if kind == "tokenizers":
        record |= fast(cls)
    else:
        record |= slow(cls)
        if dropped := drops(cls):
            record["drops"] = dropped
    return record


def requires(cls: type[Any]) -> list[str]:
    """The arguments without a default that no file fills."""
    if "__init__" not in vars(cls):
        return []
    plain = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [
        name
        for name, parameter in list(inspect.signature(cls.__init__).parameters.items())[1:]
        if parameter.kind in plain
        and parameter.default is inspect.Parameter.empty
        and name not in cls.vocab_files_names
    ]


def wraps(cls: type[Any], *, keeps: bool = False) -> dict[str, bool]:
    """Role -> ``normalized`` of the tokens that ``__init__`` makes of bare strings, from its source.

    Only where it is said: what is not said goes when a token becomes special, except in the Python tokenizers
    of transformers 4 (``keeps``).
    """
    if "__init__" not in vars(cls):
        return {}
    tree = ast.parse(textwrap.dedent(inspect.getsource(cls.__init__)))
    found = {}
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)):
            continue
        name = node.targets[0].id
        for call in ast.walk(node.value):
            if (
                isinstance(call, ast.Call)
                and getattr(call.func, "id", None) == "AddedToken"
                and name in ROLES
            ):
                said = {k.arg: k.value.value for k in call.keywords if isinstance(k.value, ast.Constant)}
                if keeps or "normalized" in said:
                    found[name] = bool(said.get("normalized", not said.get("special", False)))
    return found


def passed_on(cls: type[Any]) -> list[str] | None:
    """The keywords that ``__init__`` hands to its base class, in order; None where it has none of its own."""
    own = next((base for base in cls.__mro__ if "__init__" in vars(base)), None)
    if own is None:
        return None
    tree = ast.parse(textwrap.dedent(inspect.getsource(own.__init__)))
    calls = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "__init__"
        and isinstance(node.func.value, ast.Call)
        and getattr(node.func.value.func, "id", None) == "super"
    ]
    return [k.arg for call in calls for k in call.keywords if k.arg is not None] or None


def drops(cls: type[Any]) -> list[str]:
    """The named tokens that ``__init__`` takes out again: Wav2Vec2Phoneme's delimiters are no tokens of it."""
    if "__init__" not in vars(cls):
        return []
    tree = ast.parse(textwrap.dedent(inspect.getsource(cls.__init__)))
    return sorted(
        node.args[0].value
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "pop"
        and getattr(node.func.value, "id", None) == "model_specific"
        and isinstance(node.args[0], ast.Constant)
    )


def slow(cls: type[Any]) -> dict[str, Any]:
    """A tokenizer written in Python: its signature says what it starts with."""
    parameters = {}
    for base in reversed(cls.__mro__):
        if "__init__" in vars(base) and base.__name__ not in ("object",):
            parameters = dict(inspect.signature(base.__init__).parameters)
    roles = {}
    kept = passed_on(cls)
    for name, parameter in parameters.items():
        is_role = name.endswith("_token") and isinstance(parameter.default, (str, tokenizers.AddedToken))
        if is_role and (kept is None or name in kept):
            roles[name] = str(parameter.default)
    extras = parameters.get("additional_special_tokens")
    default = extras.default if extras is not None and isinstance(extras.default, (list, tuple)) else ()
    others = {
        name: parameter.default
        for name, parameter in parameters.items()
        if name
        in (
            "extra_ids",
            "offset",
            "do_lower_case",
            "do_lower_case_and_remove_accents",
            "fairseq_offset",
            "add_bos_token",
            "add_eos_token",
            "language_codes",
        )
        and isinstance(parameter.default, (int, bool, str))
    }
    record: dict[str, Any] = {"roles": roles}
    order = [name for name in kept or () if name in roles and name not in ROLES]
    if order != sorted(order):
        record["order"] = order
    with contextlib.suppress(OSError, TypeError):
        record |= {"hides": True} if "convert_ids_to_tokens(" in inspect.getsource(cls.get_vocab) else {}
    if default:
        record["extras"] = [str(t) for t in default]
    if others:
        record["arguments"] = others
    return record


def fast(cls: type[Any]) -> dict[str, Any]:
    """A tokenizer over the Rust backend: build it and look."""
    own = MAJOR == "5" and any(
        "__init__" in vars(b) for b in cls.__mro__[: cls.__mro__.index(backend_class())]
    )
    direct = (
        MAJOR == "4" or "__init__" not in vars(cls) or cls is backend_class()
    )  # the file's backend is taken as it is
    record: dict[str, Any] = {"rebuilds": not direct}
    if MAJOR == "4" and cls.slow_tokenizer_class is not None:
        record["slow"] = cls.slow_tokenizer_class.__name__
    model = getattr(cls, "model", None)
    if MAJOR == "5" and model is not None:
        record["model"] = model.__name__
    for shape in (model.__name__,) if model is not None else ("BPE", "Unigram"):
        try:
            plain = build(cls, shape)
        except Exception as error:  # noqa: BLE001 - the next shape may fit; the reason is kept
            record["unbuildable"] = f"{type(error).__name__}: {error}"[:120]
            continue
        record.pop("unbuildable", None)
        record["shape"] = shape
        break
    else:
        return record | {"roles": slow(cls)["roles"]}
    record["roles"] = role_map(plain)
    order = [role for role in record["roles"] if role not in ROLES]
    if order != sorted(order):
        record["order"] = order  # in which they get their ids
    if own_vocabulary := vocabulary_of(plain):
        record["vocabulary"] = own_vocabulary
    if block := parts_of(plain)["padding"]:
        record["padding"] = block
    if followed := follows(cls, shape, record["roles"], own_vocabulary):
        record["follows"] = followed
    record["extras"] = extras_of(plain)
    try:
        rule = extras_rule(record["extras"], extras_of(build(cls, shape, additional_special_tokens=["w3"])))
    except TypeError as error:  # a class that passes its own list on and so cannot take the caller's
        rule = f"refused: {error}"[:120]
    if rule in ("before", "after", "union", "other") and MAJOR == "5":
        listed = build(cls, shape, additional_special_tokens=["w3"])
        if not set(record["extras"]) & set(listed.added_tokens_encoder):
            rule = "given"  # MBart50 lists its languages then and adds none of them
    if rule != "given":
        record["extras_rule"] = rule
    if (
        MAJOR == "5"
    ):  # a list in special_tokens_map.json takes another way into the class than one in the config
        rule = extras_rule(record["extras"], extras_of(build(cls, shape, mapped=["w3"])))
        if rule != "given":
            record["extras_rule_map"] = rule
    if repeated := own_again(cls, shape, record["extras"]):
        record["repeats"] = repeated
    record["pad_from_block"] = build(cls, shape, padding=True).pad_token == "w5"
    record["template"] = template(cls, shape)
    without = template(cls, shape, post_processor=False)  # of a file that has none
    if without != ({"prefix": [], "suffix": []} if record["template"] == "file" else record["template"]):
        record["template_none"] = without
    if missing := unset(cls, shape, record["template"]):
        record["unset"] = missing
    if MAJOR == "5" and not direct:
        if needed := looks_up(cls, shape, record["roles"]):
            record["looks_up"] = needed
        if "add_prefix_space" in inspect.signature(cls.__init__).parameters and not works(
            cls, shape, add_prefix_space=None
        ):
            record["never_null"] = ["add_prefix_space"]
    if (
        MAJOR == "4"
        and record["extras"]
        and works(cls, shape, additional_special_tokens=None)
        and not extras_of(build(cls, shape, additional_special_tokens=None))
    ):
        record["extras_null"] = []
    if MAJOR == "5" and direct and cls is not backend_class() and own:
        record["backend"] = backend(
            build(cls, shape, bare=True)
        )  # of the parent's, for vocabulary files alone
        record["template_bare"] = template(cls, shape, bare=True)
    if own and not direct:
        record["backend"] = backend(plain)
        bare = template(cls, shape, bare=True)
        if bare != record["template"]:
            record["template_bare"] = bare
        arguments = inspect.signature(cls.__init__).parameters
        for argument in ("do_lower_case", "keep_accents"):
            if argument in arguments:
                flipped = not arguments[argument].default
                other = backend(build(cls, shape, **{argument: flipped}))
                if other != record["backend"]:
                    record[argument] = {"default": arguments[argument].default, "flipped": other}
    if not record["extras"]:
        del record["extras"]
    return record


def vocabulary_of(tokenizer: Any) -> list[str]:
    """The vocabulary that a class has whatever its file says, by id; empty where it is the file's."""
    table = tokenizer._tokenizer.get_vocab(with_added_tokens=False)
    return [] if set(WORDS) <= set(table) else sorted(table, key=table.get)


def follows(cls: type[Any], shape: str, roles: Mapping[str, str], own: list[str]) -> dict[str, str]:
    """Role -> the other role that it takes its token from where nothing is said (ESMC's BOS from its CLS)."""
    found = {}
    word = next((text for text in own if text not in roles.values()), "w3")
    for given in ROLES:
        try:
            other = role_map(build(cls, shape, **{given: word}))
        except Exception:  # noqa: BLE001 - a class that insists on its own token
            continue
        found |= {role: given for role in roles if role != given and other.get(role) == word}
    return found


def works(cls: type[Any], shape: str, **arguments: Any) -> bool:
    """The class can be built with these arguments."""
    try:
        build(cls, shape, **arguments)
    except Exception:  # noqa: BLE001 - transformers raises many types
        return False
    return True


def unset(cls: type[Any], shape: str, sides: Any) -> dict[str, Any]:
    """Role -> what the class puts around a text where the role is null: a fixed id, or ``"refused"``.

    A role that is not in here is then left out.
    """
    found: dict[str, Any] = {}
    for side, index in (("prefix", 0), ("suffix", 1)):
        words = sides[side] if isinstance(sides, dict) else []
        for at, role in enumerate(words):
            if role not in ROLES:
                continue
            try:
                got = around(build(cls, shape, **{role: None}))[index]
            except Exception:  # noqa: BLE001 - transformers raises many types
                found[role] = "refused"
                continue
            if len(got) == len(words) and isinstance(got[at], int):
                found[role] = got[at]
    return found


def looks_up(cls: type[Any], shape: str, roles: Mapping[str, str]) -> list[str]:
    """The roles whose tokens the class insists on having in the vocabulary before it adds any."""
    return [role for role in roles if role in ROLES and not works(cls, shape, **{role: "<absent>"})]


def own_again(cls: type[Any], shape: str, own: list[str]) -> list[str]:
    """The class's own unnamed tokens that are there twice when the repository lists them as well."""
    if MAJOR == "5" or not own:
        return []
    try:
        given = extras_of(build(cls, shape, additional_special_tokens=list(own)))
    except TypeError:
        return []
    return [text for text in dict.fromkeys(given) if given.count(text) > 1]


def backend_class() -> type[Any]:
    """The class all fast tokenizers derive from."""
    return transformers.PreTrainedTokenizerFast


def specials_for(cls: type[Any]) -> list[str]:
    """Tokens that must be in the synthetic vocabulary for this class to find itself at home."""
    found = list(slow(cls)["roles"].values())
    module = sys.modules[cls.__module__]
    found += list(getattr(module, "FAIRSEQ_LANGUAGE_CODES", ()) or ())
    return list(dict.fromkeys([*found, *LITERALS]))


def build(
    cls: type[Any],
    shape: str,
    *,
    bare: bool = False,
    padding: bool = False,
    post_processor: bool = True,
    mapped: list[str] | None = None,
    **arguments: Any,
) -> Any:
    """The class over a synthetic ``tokenizer.json``."""
    words = [*WORDS, *specials_for(cls)]
    table = {w: i for i, w in enumerate(words)}
    if "tags_dict" in inspect.signature(cls.__init__).parameters:
        arguments["tags_dict"] = {"a": 0}
    if bare:
        vocab = [(w, 0.0) for w in words] if shape == "Unigram" else table
        if "vocab" not in inspect.signature(cls.__init__).parameters:
            return cls(**arguments)
        return cls(vocab=vocab, **arguments)
    if shape == "Unigram":
        model: Any = models.Unigram([(w, 0.0) for w in words], unk_id=0, byte_fallback=False)
    elif shape == "WordPiece":
        model = models.WordPiece(table, unk_token="w0")
    elif shape == "WordLevel":
        model = models.WordLevel(table, unk_token="w0")
    else:
        model = models.BPE(table, [], unk_token=None)
    raw = tokenizers.Tokenizer(model)
    raw.normalizer = tokenizers.normalizers.NFC()
    raw.pre_tokenizer = tokenizers.pre_tokenizers.Sequence([tokenizers.pre_tokenizers.ByteLevel()])
    if post_processor:
        raw.post_processor = processors.TemplateProcessing(
            single="w7 $A w8", special_tokens=[("w7", 7), ("w8", 8)]
        )
    if padding:
        raw.enable_padding(pad_id=5, pad_token="w5")
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
        raw.save(f"{folder}/tokenizer.json")
        if mapped:
            Path(folder, "special_tokens_map.json").write_text(
                json.dumps({"additional_special_tokens": mapped})
            )
        return cls.from_pretrained(folder, **arguments)


def role_map(tokenizer: Any) -> dict[str, str]:
    """Attribute -> string of every named special token."""
    if MAJOR == "5":
        return {k: str(v) for k, v in tokenizer._special_tokens_map.items() if v is not None}
    return {
        k: str(v)
        for k, v in tokenizer._special_tokens_map.items()
        if v is not None and k != "additional_special_tokens"
    }


def extras_of(tokenizer: Any) -> list[str]:
    """The unnamed special tokens, in order."""
    kept = (
        tokenizer._extra_special_tokens
        if MAJOR == "5"
        else tokenizer._special_tokens_map["additional_special_tokens"]
    )
    return [str(t) for t in kept or ()]


def extras_rule(default: list[str], given: list[str]) -> str:
    """How a class combines the caller's extra tokens (here ``w3``) with its own."""
    if given == ["w3"]:
        return "given"
    if given == [*default, "w3"]:
        return "after"
    if given == ["w3", *default]:
        return "before"
    if given == default:
        return "ignored"
    return "union" if set(given) == {*default, "w3"} else "other"


def parts_of(tokenizer: Any) -> dict[str, Any]:
    """The backend as its JSON form, with ``Custom`` for a pre-tokenizer written in Python (RoFormer)."""
    raw = tokenizer._tokenizer
    try:
        found: dict[str, Any] = json.loads(raw.to_str())
    except Exception:  # noqa: BLE001 - the Rust library raises this very type
        raw.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
        found = json.loads(raw.to_str()) | {"pre_tokenizer": {"type": "Custom"}}
    return found


def backend(tokenizer: Any) -> dict[str, Any]:
    """The parts of the backend that decide what text can produce; no vocabulary."""
    parts = parts_of(tokenizer)
    model = {k: v for k, v in parts["model"].items() if k in ("type", "unk_token", "byte_fallback", "unk_id")}
    if model.get("unk_token") is not None:
        model["unk_token"] = next(
            (k for k, v in role_map(tokenizer).items() if v == model["unk_token"]), model["unk_token"]
        )
    return {
        "normalizer": parts["normalizer"],
        "pre_tokenizer": parts["pre_tokenizer"],
        "decoder": parts["decoder"],
        "model": model,
    }


def template(cls: type[Any], shape: str, *, bare: bool = False, post_processor: bool = True) -> Any:
    """What the class puts around a text: ``"file"``, or role names, literal tokens and fixed ids before and after.

    ``bare``: built from a vocabulary alone, as from a sentencepiece model, where no file has a post-processor.
    """

    def look(**arguments: Any) -> tuple[list[Any], list[Any]]:
        return around(build(cls, shape, bare=bare, post_processor=post_processor, **arguments))

    try:
        plain = build(cls, shape, bare=bare, post_processor=post_processor)
        kept = around(plain)
    except Exception as error:  # noqa: BLE001 - recorded, the reader then says it does not know
        return f"unknown: {type(error).__name__}"
    if kept == (["w7"], ["w8"]):
        return "file"
    own = vocabulary_of(plain)
    words = [t for t in own if t not in role_map(plain).values()] or WORDS[10:]
    names = [k for k in ROLES if k in {**slow(cls)["roles"], **role_map(plain)}]
    roles = dict(zip(names, words, strict=False))
    try:
        named = look(**roles)
    except Exception:  # noqa: BLE001 - a class that insists on its own tokens: keep the literal ones
        named = kept
    back = {v: k for k, v in roles.items()}
    return {"prefix": [back.get(t, t) for t in named[0]], "suffix": [back.get(t, t) for t in named[1]]}


def around(tokenizer: Any) -> tuple[list[Any], list[Any]]:
    """The tokens that the post-processor puts before and after a text; an id where the class has it fixed."""
    parts = parts_of(tokenizer)["post_processor"]
    before: list[Any] = []
    after: list[Any] = []

    def entry(token_id: int) -> Any:
        text = tokenizer._tokenizer.id_to_token(token_id)
        return token_id if text in FIXED else text  # of the id: a class may write another string beside it

    for part in parts["processors"] if parts and parts["type"] == "Sequence" else [parts]:
        if part and part["type"] in ("RobertaProcessing", "BertProcessing"):
            before.append(entry(part["cls"][1]))
            after.append(entry(part["sep"][1]))
        elif part and part["type"] == "TemplateProcessing":
            side = before
            for piece in part["single"]:
                if "Sequence" in piece:
                    side = after
                else:
                    text = piece["SpecialToken"]["id"]
                    side += [entry(i) for i in part["special_tokens"][text]["ids"]]
    return before, after


# ---- configurations -------------------------------------------------------------------------------------


def config_table() -> dict[str, Any]:
    """Model type -> what its configuration class says when nothing is said."""
    found = {}
    for model_type in sorted(CONFIG_MAPPING_NAMES):
        try:
            cls = transformers.models.auto.configuration_auto.CONFIG_MAPPING[model_type]
        except Exception:  # noqa: BLE001 - a module whose optional dependency is missing
            continue
        try:
            found[model_type] = config_record(cls())
        except Exception:  # noqa: BLE001 - composite classes that need parts have no defaults of their own
            found[model_type] = {}
        if silent := cannot_generate(cls):
            found[model_type]["cannot_generate"] = silent
    return found


def cannot_generate(config: type[Any]) -> list[str]:
    """The classes with a language model's head that have no ``generate``, and so no generation config."""
    found = set()
    for mapping in (
        transformers.MODEL_FOR_CAUSAL_LM_MAPPING,
        transformers.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING,
    ):
        try:
            named = mapping[config]
        except Exception:  # noqa: BLE001 - not there, or a module whose optional dependency is missing
            continue
        for cls in named if isinstance(named, tuple) else (named,):
            if not cls.can_generate():
                found.add(cls.__name__)
    return sorted(found)


def config_record(config: Any) -> dict[str, Any]:
    """The token ids, vocabulary sizes and nested configurations of one class."""
    record: dict[str, Any] = {}
    for key, value in sorted(vars(config).items()):
        name = key.removeprefix("_")
        if name.endswith(ID_KEYS) and (value is None or is_id(value)):
            record[name] = list(value) if isinstance(value, (list, tuple)) else value
        elif (name == "vocab_size" and is_id(value)) or (
            name in ("tie_word_embeddings", "is_encoder_decoder") and isinstance(value, bool)
        ):
            record[name] = value
        elif key == "tokenizer_class" and isinstance(value, str):
            record[key] = value
    for name in (
        "vocab_size",
        "is_encoder_decoder",
        "tie_word_embeddings",
        "pad_token_id",
        "eos_token_id",
        "bos_token_id",
    ):
        if name not in record:  # attribute maps and class attributes
            with contextlib.suppress(AttributeError, ValueError, KeyError):
                value = getattr(config, name)
                if value is None or isinstance(value, bool) or is_id(value):
                    record[name] = list(value) if isinstance(value, (list, tuple)) else value
    renamed = {k: v for k, v in getattr(type(config), "attribute_map", {}).items() if k in KEYS}
    if renamed:
        record["attribute_map"] = renamed
    parts = {
        key: config_record(value) | {"model_type": value.model_type}
        for key, value in vars(config).items()
        if isinstance(value, transformers.PretrainedConfig) and not key.startswith("_")
    }
    if parts:
        record["parts"] = parts
        record["parts_order"] = list(parts)
        with contextlib.suppress(
            ValueError, AttributeError, KeyError
        ):  # "Multiple valid text configs were found"
            record["text_path"] = path_of(config, config.get_text_config())
    return record


def path_of(config: Any, wanted: Any, prefix: str = "", depth: int = 0) -> str:
    """The dotted path of a nested configuration, empty for the configuration itself."""
    for key, value in vars(config).items():
        if isinstance(value, transformers.PretrainedConfig) and not key.startswith("_") and depth < 4:
            if value is wanted:
                return f"{prefix}{key}"
            if inner := path_of(value, wanted, f"{prefix}{key}.", depth + 1):
                return inner
    return ""


def is_id(value: Any) -> bool:
    """An id, or a list of ids."""
    if isinstance(value, (list, tuple)):
        return all(is_id(v) for v in value)
    return isinstance(value, int) and not isinstance(value, bool)


if __name__ == "__main__":
    sys.exit(main())
