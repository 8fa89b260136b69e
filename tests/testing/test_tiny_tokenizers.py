"""The tiny tokenizers are real: they encode English, pad, grow, save and reload as downloaded ones do."""

from __future__ import annotations

import string
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from padfix.testing import CHAT_TEMPLATE, TEXTS, matching_tokenizer, tiny_model, tiny_tokenizer
from padfix.testing.tokenizers import Kind

KINDS: tuple[Kind, ...] = ("byte-bpe", "byte-fallback", "wordpiece", "unigram", "wordlevel")


@pytest.mark.parametrize("kind", KINDS)
def test_ids_are_exactly_the_vocabulary(kind: Kind) -> None:
    """Ids run from 0 to the vocabulary size without a hole, whatever tokens were asked for."""
    tok = tiny_tokenizer(kind, pad="<pad>", reserved=3, vocab_size=420)
    assert sorted(tok.get_vocab().values()) == list(range(420))
    assert tok.pad_token_id == tok.get_vocab()["<pad>"]


@pytest.mark.parametrize("kind", ["byte-bpe", "byte-fallback", "wordpiece", "unigram"])
def test_printable_ascii_is_encoded_without_unk(kind: Kind) -> None:
    """Every printable ASCII text, and so ordinary English, is encoded and comes back."""
    tok = tiny_tokenizer(kind)
    for text in (*TEXTS, string.ascii_letters, string.digits, string.punctuation):
        ids = tok(text)["input_ids"]
        assert tok.unk_token_id is None or tok.unk_token_id not in ids
        back, wanted = tok.decode(ids, skip_special_tokens=True), text
        if kind == "wordpiece":
            back, wanted = back.replace(" ", ""), text.lower().replace(" ", "")
        assert back.strip() == wanted


def test_wordlevel_produces_unk() -> None:
    """The one kind that is there to produce unk does."""
    tok = tiny_tokenizer("wordlevel")
    assert tok.unk_token_id in tok(TEXTS[0])["input_ids"]


@pytest.mark.parametrize("kind", KINDS)
def test_saved_and_reloaded_it_is_the_same(kind: Kind, tmp_path: Path) -> None:
    """A save and a reload change neither vocabulary, special tokens nor encodings."""
    tok = tiny_tokenizer(kind, pad="<pad>", chat_template=CHAT_TEMPLATE)
    tok.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert again.get_vocab() == tok.get_vocab()
    assert again.pad_token_id == tok.pad_token_id
    assert [again(t)["input_ids"] for t in TEXTS] == [tok(t)["input_ids"] for t in TEXTS]
    assert again.chat_template == CHAT_TEMPLATE


def test_a_new_token_gets_the_next_id() -> None:
    """Added tokens go past the end, as in a full vocabulary."""
    tok = tiny_tokenizer()
    assert tok.add_special_tokens({"pad_token": "[PAD]"}) == 1
    assert tok.pad_token_id == 131


def test_wanted_places_and_templates() -> None:
    """Tokens go where they are wanted, and a template adds what it says."""
    tok = tiny_tokenizer(ids={"<|endoftext|>": 130}, template="$A <|endoftext|>")
    assert tok.eos_token_id == 130
    assert tok("Hi")["input_ids"][-1] == 130
    assert tok("Hi", "yo")["input_ids"].count(130) == 2
    assert tiny_tokenizer("wordpiece")("hi")["input_ids"][0] == tiny_tokenizer("wordpiece").cls_token_id


def test_impossible_wishes_are_refused() -> None:
    """Too few ids, and places that do not exist or are taken twice, are errors and not a broken tokenizer."""
    with pytest.raises(ValueError, match="vocab_size is 50"):
        tiny_tokenizer(vocab_size=50)
    with pytest.raises(ValueError, match="distinct and below 131"):
        tiny_tokenizer(ids={"<|endoftext|>": 131})
    with pytest.raises(ValueError, match="distinct"):
        tiny_tokenizer(pad="<pad>", ids={"<|endoftext|>": 4, "<pad>": 4})


@pytest.mark.parametrize(
    ("model_type", "head"), [("gpt2", "causal"), ("llama", "causal"), ("roberta", "masked")]
)
def test_a_matching_tokenizer_has_the_models_ids(model_type: str, head: str) -> None:
    """Special tokens have the ids that the configuration declares, in a vocabulary of the model's size."""
    model = tiny_model(model_type, head)  # type: ignore[arg-type]
    tok = matching_tokenizer(model)
    assert len(tok) == model.get_input_embeddings().weight.shape[0]
    assert tok.eos_token_id == model.config.eos_token_id
    assert tok.pad_token_id == model.config.pad_token_id
