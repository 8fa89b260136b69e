"""Repositories as fine-tunes and older versions leave them: files give what AutoTokenizer gives.

One test for each cause that ``scripts/compare_saved.py`` found, each over a repository made for it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import transformers

from padfix.errors import SourceError
from padfix.read.live import inspect
from padfix.read.repo import read_repo
from padfix.read.source import open_source

pytestmark = pytest.mark.filterwarnings("ignore")
MAJOR = transformers.__version__.split(".")[0]
FIELDS = (
    "tokenizer_class", "pad", "eos", "unk", "bos", "specials", "n_tokens", "max_id", "holes", "next_id", "padding_side",
    "chat_template", "unk_emitted", "appends_eos", "backend_padding", "pad_uses", "candidates",
)  # fmt: skip
FLAGS = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
WORDS = ("a", "b", "ab", "c")
Files = dict[str, Any]


def write(folder: Path, files: Files) -> Path:
    """Each file: JSON of an object, a text, or bytes."""
    for name, content in files.items():
        data = content if isinstance(content, (str, bytes)) else json.dumps(content, ensure_ascii=False)
        (folder / name).write_bytes(data if isinstance(data, bytes) else data.encode())
    return folder


def agree(folder: Path, files: Files) -> Any:
    """The live tokenizer, after every field of it was compared with what the files say."""
    write(folder, files)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    live, read = inspect(None, tokenizer), read_repo(open_source(folder), major=MAJOR)
    names = [f for f in FIELDS if f != "pad_uses" or tokenizer.is_fast]
    assert {f: getattr(read, f) for f in names} == {f: getattr(live, f) for f in names}
    return tokenizer


def both_refuse(folder: Path, files: Files) -> None:
    """Neither transformers nor the reader makes a tokenizer of these files."""
    write(folder, files)
    with pytest.raises(Exception):  # noqa: B017 - transformers raises what it happens to raise
        transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    with pytest.raises(SourceError):
        read_repo(open_source(folder), major=MAJOR)


def word_piece(*special: str) -> Files:
    """A ``vocab.txt`` of BERT's family."""
    return {"vocab.txt": "".join(f"{w}\n" for w in (*special, *WORDS))}


def fast(*special: str, model: str = "BPE", added: tuple[str, ...] | None = None, **parts: Any) -> Files:
    """A ``tokenizer.json`` whose vocabulary begins with these tokens; ``added`` of them are declared."""
    table = {w: i for i, w in enumerate((*special, *WORDS))}
    following = len(table)
    entries = []
    for text in special if added is None else added:
        entries.append({"id": table.get(text, following), "content": text, **FLAGS})
        following += text not in table
    shape: dict[str, Any] = {"type": model, "vocab": table}
    if model == "BPE":
        shape["merges"] = ["a b"]
    elif model == "Unigram":
        shape |= {"vocab": [[w, -float(i)] for w, i in table.items()], "unk_id": table.get("<unk>", 0)}
    else:
        shape |= {"unk_token": special[0], "continuing_subword_prefix": "##", "max_input_chars_per_word": 100}
    empty = dict.fromkeys(("normalizer", "pre_tokenizer", "post_processor", "decoder", "truncation", "padding"))
    return {"tokenizer.json": {"version": "1.0", **empty, "added_tokens": entries, "model": shape, **parts}}


BERT = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
BERT_NORMALIZER = {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None, "lowercase": True}  # fmt: skip


@pytest.mark.parametrize("name", ["ElectraTokenizer", "ElectraTokenizerFast", "LayoutLMTokenizer", "MobileBertTokenizer"])  # fmt: skip
def test_a_class_name_that_only_a_converter_knows(name: str, tmp_path: Path) -> None:
    """transformers 5 has no class for ELECTRA or LayoutLM and takes the one with the same converter: BERT's, with a pad."""
    files = {**fast(*BERT, model="WordPiece", normalizer=BERT_NORMALIZER), **word_piece(*BERT)}
    tokenizer = agree(tmp_path, {**files, "tokenizer_config.json": {"tokenizer_class": name}})
    assert tokenizer.pad_token == "[PAD]"
