"""Mistral's ``tekken.json``: read as transformers 5 converts it, refused with the reason where it cannot."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
import transformers

from padfix.errors import SourceError
from padfix.read.live import inspect
from padfix.read.repo import read_repo
from padfix.read.source import open_source
from padfix.read.tekken_file import parse_tekken
from padfix.types import Token

MAJOR = transformers.__version__.split(".")[0]
SPECIALS = ("<unk>", "<s>", "</s>", "[INST]", "<pad>")
PATTERN = (
    r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s+"  # Mistral's, without its letter cases
)
FIELDS = (
    "tokenizer_class", "pad", "eos", "unk", "bos", "specials", "n_tokens", "max_id", "holes", "next_id", "padding_side",
    "chat_template", "unk_emitted", "appends_eos", "backend_padding", "pad_uses", "candidates",
)  # fmt: skip


def tekken(**config: int) -> dict[str, Any]:
    """A small file of the form that mistral-common ships: all bytes, three longer tokens, some special ones."""
    tokens = [bytes([b]) for b in range(256)] + [b"ab", b"abc", "\u00e9".encode()]
    vocab = [
        {"rank": i, "token_bytes": base64.b64encode(t).decode(), "token_str": None}
        for i, t in enumerate(tokens)
    ]
    specials = [{"rank": i, "token_str": text, "is_control": True} for i, text in enumerate(SPECIALS)]
    return {"config": {"pattern": PATTERN, **config}, "vocab": vocab, "special_tokens": specials}


def write(folder: Path, file: dict[str, Any], **config: Any) -> None:
    (folder / "tekken.json").write_text(json.dumps(file), "utf-8")
    if config:
        (folder / "tokenizer_config.json").write_text(json.dumps(config), "utf-8")


@pytest.mark.skipif(MAJOR != "5", reason="transformers 4 gives special tokens the ids of ordinary ones")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "config",
    [
        {},
        {"default_num_special_tokens": 20},
        {"default_num_special_tokens": 20, "default_vocab_size": 200},
    ],
    ids=["as listed", "filled up", "cut off"],
)
@pytest.mark.parametrize(
    "tokenizer_config",
    [
        {},
        {"pad_token": "<pad>", "eos_token": "</s>", "bos_token": "<s>", "add_eos_token": True},
        {"tokenizer_class": "LlamaTokenizer", "pad_token": "<new>", "extra_special_tokens": ["<more>"]},
        {"tokenizer_class": "GPT2Tokenizer", "unk_token": "<unk>"},
    ],
    ids=["no roles", "roles", "Llama", "GPT-2"],
)
def test_it_is_read_as_auto_tokenizer_converts_it(
    config: dict[str, int], tokenizer_config: dict[str, Any], tmp_path: Path
) -> None:
    """Every fact of the tokenizer, under sizes and classes that Mistral's repositories have."""
    pytest.importorskip("transformers.integrations.mistral.tokenizer")
    write(tmp_path, tekken(**config), **tokenizer_config)
    live = inspect(None, transformers.AutoTokenizer.from_pretrained(tmp_path))
    state = read_repo(open_source(tmp_path), major="5")
    found = {f: (getattr(live, f), getattr(state, f)) for f in FIELDS}
    assert {f: pair for f, pair in found.items() if pair[0] != pair[1]} == {}


def test_special_tokens_come_first_and_have_no_role_of_their_own(tmp_path: Path) -> None:
    """The pad is there with Mistral's id, unset, and found as a candidate."""
    write(tmp_path, tekken(default_num_special_tokens=20))
    state = read_repo(open_source(tmp_path), major="5")
    assert state.pad is None
    assert state.n_tokens == 20 + 259
    assert Token("<pad>", 4) in [candidate.token for candidate in state.candidates]


def test_transformers_4_is_refused_with_what_to_do(tmp_path: Path) -> None:
    """It numbers ordinary tokens from 0 as well, so that a pad would be a letter."""
    write(tmp_path, tekken(), tokenizer_class="PreTrainedTokenizerFast")
    with pytest.raises(
        SourceError, match=r"only tekken\.json.*load it with mistral-common or transformers 5"
    ):
        read_repo(open_source(tmp_path), major="4")


def test_a_file_that_does_not_list_its_special_tokens(tmp_path: Path) -> None:
    """Those before 2025 need mistral-common, in transformers and so here."""
    file = tekken()
    del file["special_tokens"]
    write(tmp_path, file)
    with pytest.raises(SourceError, match=r"tekken\.json does not list its special tokens.*save_pretrained"):
        read_repo(open_source(tmp_path), major="5")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"vocab": None}, "no vocab"),
        ({"config": {}}, "pattern"),
        ({"vocab": [{"token_bytes": "a"}]}, "base64"),
        ({"vocab": ["ab"]}, "base64"),
        ({"special_tokens": {}}, "not a list"),
        ({"special_tokens": [{"rank": 1, "token_str": "<s>"}]}, "count from 0"),
        ({"special_tokens": [{"rank": True, "token_str": "<s>"}]}, "no rank and string"),
        ({"config": {"pattern": "", "default_num_special_tokens": 10**9}}, "1,000,000,000"),
        ({"config": {"pattern": "", "default_vocab_size": "many"}}, "many"),
    ],
)
def test_hostile_files_are_refused(change: dict[str, Any], said: str) -> None:
    """A `SourceError` that names the file and what is wrong."""
    data = json.dumps({**tekken(), **change}).encode()
    with pytest.raises(SourceError, match=rf"here: .*{said}"):
        parse_tekken(data, "here", "tekken.json")
