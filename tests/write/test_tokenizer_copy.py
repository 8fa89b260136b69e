"""The copy of a Rust backend that a pad is set on: what a reload gives, and apart from the original."""

from __future__ import annotations

import time
from typing import Any

import pytest

from padfix.errors import StrategyError
from padfix.read.live_tokenizer import count_tokens, tokens_of
from padfix.testing import tiny_tokenizer
from padfix.write.tokenizer import _copied
from real_tokenizers import CORPUS

TEXT = "Hello  <s> w\u00f6rld \u6771\u4eac </s> 123\n\n<unk>Foo foo b"
# Unigram with a compiled normaliser, WordPiece, byte-level BPE, BPE with byte fallback, one with added text tokens
REAL = (
    "t5/t5-small",
    "bert/all-MiniLM-L6-v2",
    "phi/phi-2-finetune",
    "phi/phi-3-mini",
    "gpt-neox/pythia-410m",
)


def own() -> Any:
    """A backend with all that a file can hold: added tokens of each kind, a normaliser, a template."""
    from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, processors

    backend = Tokenizer(models.WordLevel({"a": 0, "b": 1, "u": 2}, unk_token="u"))
    backend.normalizer = normalizers.Lowercase()
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.add_tokens([AddedToken("Foo", normalized=True, special=False, lstrip=True), "bar"])
    backend.add_special_tokens(["<s>", AddedToken("b", rstrip=True, single_word=True)])
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 5)])
    return backend


def assert_as_reloaded(backend: Any) -> None:
    from tokenizers import AddedToken, Tokenizer

    written = backend.to_str()
    copy, reloaded = _copied(backend), Tokenizer.from_str(written)
    assert copy.to_str() == reloaded.to_str()
    new = AddedToken("[PAD-new]", special=True, normalized=False)
    for one in (copy, reloaded):
        one.add_special_tokens([new])
    assert copy.to_str() == reloaded.to_str()
    assert copy.encode(f"{TEXT}[PAD-new]").ids == reloaded.encode(f"{TEXT}[PAD-new]").ids
    assert backend.to_str() == written


@pytest.mark.parametrize("name", REAL)
def test_a_copy_of_a_real_tokenizer_is_its_reload(name: str) -> None:
    """To the byte of its file, before and after a token is added; the original keeps every byte."""
    from tokenizers import Tokenizer

    file = CORPUS / name / "tokenizer.json"
    if not file.is_file():
        pytest.skip(f"no corpus of real tokenizers at {CORPUS}")
    assert_as_reloaded(Tokenizer.from_file(str(file)))


@pytest.mark.parametrize("padding", [None, {"length": 7, "pad_to_multiple_of": 4, "pad_id": 1, "pad_token": "b",
                                            "direction": "left", "pad_type_id": 3}])  # fmt: skip
@pytest.mark.parametrize("truncation", [None, {"max_length": 9, "stride": 2, "strategy": "only_first",
                                               "direction": "left"}])  # fmt: skip
def test_padding_truncation_and_added_tokens_are_copied(padding: Any, truncation: Any) -> None:
    """What is set around the model is in the copy, with every flag."""
    backend = own()
    if padding:
        backend.enable_padding(**padding)
    if truncation:
        backend.enable_truncation(**truncation)
    assert_as_reloaded(backend)


def test_a_copy_shares_nothing_that_can_be_changed() -> None:
    """The parts around the model are the copy's own: what is set on one is not seen on the other."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.encode_special_tokens = True
    written = backend.to_str()
    copy = _copied(backend)
    assert copy.encode_special_tokens is True  # no file holds it
    copy.pre_tokenizer.add_prefix_space = True
    copy.enable_padding(pad_id=0, pad_token="x")
    assert backend.to_str() == written != copy.to_str()


def test_ids_are_given_anew_where_a_reload_does() -> None:
    """A token added behind a hole has another id after a reload, so it has it in the copy."""
    from tokenizers import Tokenizer, models

    holes = Tokenizer(models.WordLevel({"a": 0, "b": 1, "far": 9}, unk_token="a"))
    holes.add_special_tokens(["<x>"])
    again = Tokenizer.from_str(holes.to_str())
    assert _copied(holes).get_vocab() == again.get_vocab()


def test_a_part_that_no_file_can_hold_is_refused() -> None:
    """A pre-tokenizer written in Python would be lost on a reload."""
    from tokenizers import pre_tokenizers

    class Mine:
        def pre_tokenize(self, _: Any) -> None: ...

    backend = own()
    backend.pre_tokenizer = pre_tokenizers.PreTokenizer.custom(Mine())
    with pytest.raises(StrategyError, match="cannot be written as JSON"):
        _copied(backend)


def test_a_large_vocabulary_is_not_written_out() -> None:
    """128256 tokens through JSON take at least ten times as long as sharing their model."""
    from tokenizers import Tokenizer, models

    backend = Tokenizer(models.WordLevel({f"w{i}": i for i in range(128256)}, unk_token="w0"))
    shared, through_json = [], []
    for _ in range(3):
        start = time.process_time()
        _copied(backend)
        shared.append(time.process_time() - start)
        start = time.process_time()
        Tokenizer.from_str(backend.to_str())
        through_json.append(time.process_time() - start)
    assert min(shared) * 10 < min(through_json)


def test_a_vocabulary_read_before_is_completed_by_what_was_added() -> None:
    """The same as reading it anew; and it is read anew when more happened than tokens being added."""
    tok = tiny_tokenizer(pad=None, reserved=2)
    before = tokens_of(tok)
    assert before == tok.get_vocab() and count_tokens(tok) == len(tok)
    tok.add_special_tokens({"pad_token": "[PAD]"})
    tok.add_tokens(["plain", next(iter(before))])
    assert tokens_of(tok, earlier=before) == tok.get_vocab() != before
    assert count_tokens(tok) == len(tok)
    other = {text: i for text, i in before.items() if i > 3}
    assert tokens_of(tok, earlier=other) == tok.get_vocab()
