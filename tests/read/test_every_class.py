"""Every tokenizer class of the installed transformers: files give what AutoTokenizer gives.

For each class small repositories are made as its makers ship them: with ``tokenizer.json``, with the class's own
vocabulary files over a SentencePiece model that has fairseq's tokens only, over one that has the class's own
tokens, and once more as the loaded tokenizer saves itself.
"""

from __future__ import annotations

import dataclasses
import functools
import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import transformers

from padfix.errors import SourceError
from padfix.read import defaults
from padfix.read.live import inspect
from padfix.read.repo import read_repo
from padfix.read.source import open_source
from padfix.read.tokenizer_build import ROLES

MAJOR = transformers.__version__.split(".")[0]
CLASSES: Mapping[str, Any] = defaults.tokenizers(MAJOR)["classes"]
# what a tokenizer decides: all of a `PadState` but what is only live, only in files, or about a model
FIELDS = (
    "tokenizer_class", "pad", "eos", "unk", "bos", "specials", "n_tokens", "max_id", "holes", "next_id", "padding_side",
    "chat_template", "unk_emitted", "appends_eos", "backend_padding", "pad_uses", "candidates",
)  # fmt: skip
LAYOUTS = ("tokenizer.json", "vocabulary", "own vocabulary")
# whose makers ship a SentencePiece model with fairseq's tokens only, which the class brings into fairseq's order
ALIGNED = (
    "Barthez", "Bartpho", "Camembert", "LayoutXLM", "M2M100", "MBart", "MBart50", "MLuke", "Marian", "Nllb", "PLBart",
    "SeamlessM4T", "SpeechT5", "Speech2Text", "XGLM", "XLMRoberta",
)  # fmt: skip
PLAIN = [*(f"w{i}" for i in range(20)), "\u2581", ".", "a", "b", "ab"]
# (class, major, layout, field): why the reader says otherwise
KNOWN: dict[tuple[str, str, str, str], str] = {}
# (class, major): why the reader refuses what AutoTokenizer loads
REFUSED = {
    (
        "JukeboxTokenizer",
        "4",
    ): "its vocabulary is three tables of artists, genres and letters, and its ids are no text's",
}
# arguments that a class insists on
NEEDED: dict[str, dict[str, Any]] = {
    "MarkupLMTokenizer": {"tags_dict": {"a": 0}},
    "FSMTTokenizer": {"langs": ["en", "ru"]},
}


@functools.cache
def pieces(own: tuple[str, ...]) -> bytes:
    """A SentencePiece model of a few words; with ``own`` tokens in front, as T5, ALBERT or Gemma have theirs."""
    sentencepiece = pytest.importorskip("sentencepiece")
    written = io.BytesIO()
    ids = (
        {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": 3 if "<s>" in own else -1} if "<pad>" in own else {}
    )
    meta = ("<s>", "</s>", "<unk>", "<pad>")
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([" ".join(PLAIN), "some words of a little text", "others"] * 20),
        model_writer=written,
        vocab_size=40 + len(own),
        hard_vocab_limit=False,
        control_symbols=[text for text in own if text not in meta],
        minloglevel=2,
        **ids,
    )
    return written.getvalue()


def own_tokens(record: Mapping[str, Any]) -> list[str]:
    """The tokens that a class has when nobody says anything."""
    return [text for text in record.get("roles", {}).values() if isinstance(text, str)]


def vocabulary(record: Mapping[str, Any]) -> dict[str, int]:
    """A table of the class's tokens, fairseq's, and some words."""
    words = [*own_tokens(record), *record.get("extras", ()), "<s>", "<pad>", "</s>", "<unk>", *PLAIN]
    words += [f"x{i}" for i in range(120 - len(words))]  # BigBird's unk is the hundredth piece
    return {text: i for i, text in enumerate(dict.fromkeys(words))}


def tokenizer_json(name: str) -> str:
    """A ``tokenizer.json`` as the class's makers would ship it, as far as the class insists on anything."""
    record = CLASSES[name]
    table = vocabulary(record)
    words = {*PLAIN, *(text for text in table if text.startswith("x"))}
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    added = [{"id": i, "content": text, **flags} for text, i in table.items() if text not in words]
    shape = record.get("model") or record.get("shape") or "BPE"
    model: dict[str, Any] = {"type": shape, "vocab": table}
    if shape == "Unigram":
        scores = [[text, -1.0 * i if text in words else 0.0] for text, i in table.items()]
        model |= {"unk_id": table["<unk>"], "byte_fallback": False, "vocab": scores}
    elif shape in ("WordPiece", "WordLevel"):
        model["unk_token"] = "[UNK]" if "[UNK]" in table else "<unk>"
        if shape == "WordPiece":
            model |= {"continuing_subword_prefix": "##", "max_input_chars_per_word": 100}
    else:
        model["merges"] = ["a b"]
    slow = record.get("slow") or ""
    bert = MAJOR == "4" and "Bert" in slow
    first: dict[str, Any] = {"type": "Whitespace"}
    parts = {
        "normalizer": {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None, "lowercase": True} if bert else None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [first]} if "CLIP" in name else first,
        "post_processor": None,
        "decoder": None,
    }  # fmt: skip
    head = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added}
    return json.dumps({**head, **parts, "model": model})


def write(folder: Path, name: str, layout: str) -> None:
    """The files of one class."""
    record = CLASSES[name]
    config = {"tokenizer_class": name, **NEEDED.get(name.removesuffix("Fast"), {})}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), "utf-8")
    if layout == "tokenizer.json":
        (folder / layout).write_text(tokenizer_json(name), "utf-8")
        return
    table = vocabulary(record)
    own = tuple(dict.fromkeys(own_tokens(record))) if layout == "own vocabulary" else ()
    slow = CLASSES.get(record.get("slow") or "", {})
    files = {**slow.get("files", {}), **record["files"]}
    if not files.keys() - {"tokenizer_file"} and record["kind"] == "tokenizers":
        files["vocab_file"] = "tokenizer.model"  # the only other file that transformers looks for
    for file in files.values():
        path = folder / file
        if file.endswith((".model", ".spm")):
            path.write_bytes(pieces(own))
        elif file.endswith("merges.txt"):
            path.write_text("#version: 0.2\na b\n", "utf-8")
        elif file == "byte_maps.json":
            path.write_text(json.dumps({"decompose_map": {}, "merge_map": {}}), "utf-8")
        elif file in ("bpe.codes", "dict.txt") or name in ("BertweetTokenizer", "PhobertTokenizer"):
            path.write_text("".join(f"{text} 5\n" for text in PLAIN), "utf-8")
        elif file.endswith(".txt"):
            path.write_text("".join(f"{text}\n" for text in table), "utf-8")
        elif file.endswith(".json") and not file.startswith("tokenizer"):
            path.write_text(json.dumps(table), "utf-8")


def load(folder: Path) -> Any:
    """What a user's AutoTokenizer gives, or the error."""
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # noqa: BLE001 - transformers raises many types; the reader must refuse too
        return error
    # transformers 4 gives a boolean where it cannot import a class's library
    return tokenizer if hasattr(tokenizer, "get_vocab") else ImportError(str(tokenizer))


def compare(folder: Path, name: str, layout: str) -> Any:
    """Live and from files, field by field; the tokenizer, or None where neither gives one."""
    tokenizer = load(folder)
    if isinstance(tokenizer, (ImportError, LookupError)) or "pip install" in str(tokenizer):
        pytest.skip(f"an optional library is missing: {tokenizer}"[:150])
    if isinstance(tokenizer, Exception) or (name, MAJOR) in REFUSED:
        with pytest.raises(SourceError):
            read_repo(open_source(folder), major=MAJOR)
        return None
    live = inspect(None, tokenizer)
    files = read_repo(open_source(folder), major=MAJOR)
    names = [f.name for f in dataclasses.fields(live) if f.name in FIELDS]
    if not tokenizer.is_fast:
        names.remove("pad_uses")  # what else gives the pad is not known of a tokenizer in Python
    found = {n: (getattr(live, n), getattr(files, n)) for n in names if getattr(live, n) != getattr(files, n)}
    assert {n: v for n, v in found.items() if (name, MAJOR, layout, n) not in KNOWN} == {}
    assert {k[3] for k in KNOWN if k[:3] == (name, MAJOR, layout)} <= found.keys(), (
        "an exception is not needed"
    )
    return tokenizer


def cases() -> Iterator[Any]:
    """Every class with the layouts that repositories of it have; CANINE's million tokens take long."""
    for name, record in CLASSES.items():
        converted = CLASSES.get(record.get("slow") or "", {})
        files = {**converted.get("files", {}), **record["files"]}.values()
        bare = record["kind"] == "tokenizers" and not [file for file in files if file != "tokenizer.json"]
        for layout in LAYOUTS:
            pieces = bare or any(file.endswith((".model", ".spm")) for file in files)
            aligned = name.removesuffix("Fast").removesuffix("Tokenizer") in ALIGNED
            if layout != "own vocabulary" or (pieces and not aligned):
                slow = [pytest.mark.slow] if name == "CanineTokenizer" and layout == LAYOUTS[0] else []
                yield pytest.param(name, layout, marks=slow, id=f"{name}, {layout}")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "layout"), list(cases()))
def test_a_class_is_read_as_auto_tokenizer_loads_it(name: str, layout: str, tmp_path: Path) -> None:
    """Every fact of every class, before and after it saves itself; who cannot load it cannot read it either."""
    write(tmp_path, name, layout)
    tokenizer = compare(tmp_path, name, layout)
    if tokenizer is None:
        return
    again = tmp_path / "saved"
    try:
        tokenizer.save_pretrained(again)
    except NotImplementedError:  # BlenderbotSmall without its vocabulary
        return
    compare(again, name, f"{layout}, saved")


@pytest.mark.parametrize(
    "said", [None, "<x>", {"__type": "AddedToken", "content": "<x>"}], ids=["null", "str", "token"]
)
@pytest.mark.parametrize("layout", LAYOUTS[:2])
@pytest.mark.parametrize("name", [name for name in CLASSES if name != "CanineTokenizer"])
def test_roles_that_nobody_expects_are_read_or_refused(
    name: str, layout: str, said: Any, tmp_path: Path
) -> None:
    """Roles taken away, all one token, and roles that a class does not know: a state or a `SourceError`."""
    write(tmp_path, name, layout)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text("utf-8"))
    roles = dict.fromkeys((*ROLES, "image_token", *CLASSES[name].get("roles", {})), said)
    odd = {
        "src_lang": 5,
        "extra_ids": -1,
        "offset": "many",
        "language_codes": [],
        "additional_special_tokens": ["<x>"],
    }
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({**config, **roles, **odd}), "utf-8")
    try:
        state = read_repo(open_source(tmp_path), major=MAJOR)
    except SourceError as error:
        assert str(tmp_path) in str(error)
    else:
        assert state.pad is None or said is None or state.pad.text == "<x>"


def test_every_exception_is_of_a_class_that_there_is() -> None:
    """The lists of exceptions name classes of the major that they are for."""
    for name, major, *_ in (*KNOWN, *REFUSED):
        assert defaults.tokenizer_class(major, name) is not None
