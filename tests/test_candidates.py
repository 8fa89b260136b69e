"""Which tokens may serve as pad: names of real families, and what refuses a token."""

from __future__ import annotations

import pytest

from padfix.candidates import (
    AddedToken,
    TokenTable,
    assess,
    emits_unk,
    names_a_pad,
    names_a_reserve,
    with_added,
)
from padfix.types import Candidate, Token

PADS = ("<pad>", "[PAD]", "<PAD>", "<|pad|>", "<|padding|>", "<｜▁pad▁｜>", "<｜PAD▁TOKEN｜>", "<|PAD_TOKEN|>", "<fim_pad>",
        "<|fim_pad|>", "<|finetune_right_pad_id|>", "<|finetune_right_pad|>", "__pad__")  # fmt: skip
NOT_PADS = ("pad", "padding", "Ġpad", "<|image_pad|>", "<|video_pad|>", "<|vision_pad|>", "<|audio_pad|>", "<paddle>", "<s>", "[MASK]",
            "<|endoftext|>", "<" + "pad " * 40 + ">")  # fmt: skip
RESERVES = ("<|reserved_special_token_250|>", "[control_768]", "<SPECIAL_17>", "<unused99>", "[unused5]", "<|dummy_85|>",
            "<|placeholder6|>", "<|extra_204|>", "<|extratoken_143|>", "<|unused300|>", "<custom_token_7>", "madeupword0002",
            ">>SUFFIX<<", "<|reg_extra|>", "<reserved_12>")  # fmt: skip
NOT_RESERVES = ("<extra_id_0>", "<|im_start|>", "reserved", "<|special|>", "<mask>", "<|eot_id|>", "<control>", "unused", "<image_reserved_3>")  # fmt: skip


@pytest.mark.parametrize("text", PADS)
def test_names_that_say_pad(text: str) -> None:
    """The pads of the known families, and what other tools add."""
    assert names_a_pad(text)


@pytest.mark.parametrize("text", NOT_PADS)
def test_names_that_do_not(text: str) -> None:
    """Ordinary words, placeholders of other modalities, and texts too long to be a name."""
    assert not names_a_pad(text)


@pytest.mark.parametrize("text", RESERVES)
def test_names_that_say_free(text: str) -> None:
    """Tokens that their makers kept free."""
    assert names_a_reserve(text)


@pytest.mark.parametrize("text", NOT_RESERVES)
def test_names_with_a_use(text: str) -> None:
    """T5's sentinels, chat markers and bare words are not free."""
    assert not names_a_reserve(text)


def table(*texts: str, **facts: object) -> TokenTable:
    vocab = {text: i for i, text in enumerate(texts)}
    return TokenTable(vocab, tuple(AddedToken(t, i, True) for t, i in vocab.items()), "BPE", **facts)  # type: ignore[arg-type]


def test_the_plainest_name_wins_then_the_highest_id() -> None:
    """<pad> before a finetuning pad before a fill-in-the-middle pad; of reserved tokens the last."""
    found = assess(
        table("<|fim_pad|>", "<|finetune_right_pad_id|>", "<pad>", "<|reserved_1|>", "<|reserved_2|>")
    )
    assert [c.token.text for c in found] == [
        "<pad>", "<|finetune_right_pad_id|>", "<|fim_pad|>", "<|reserved_2|>", "<|reserved_1|>",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        ({"chat_templates": ("{{ '<pad>' }}",)}, "chat template"),
        ({"template_ids": frozenset({0})}, "post-processor"),
    ],
)
def test_a_token_in_use_is_refused(facts: dict[str, object], why: str) -> None:
    """What a template or the post-processor uses is not free, whatever its name says."""
    (found,) = assess(table("<pad>", **facts))
    assert not found.safe and why in found.refused[0]


def test_folded_spellings_refuse_a_normalised_token() -> None:
    """With a lower-casing normaliser, <PAD> in a text gives a normalised <pad> too; a special one is safe."""
    vocab = {"<pad>": 0}
    folded = TokenTable(vocab, (AddedToken("<pad>", 0, normalized=True),), "BPE", folding=True)
    assert not assess(folded)[0].safe
    assert assess(TokenTable(vocab, (AddedToken("<pad>", 0, special=True),), "BPE", folding=True))[0].safe


def test_an_ordinary_entry_is_refused_even_when_declared() -> None:
    """config.pad_token_id = 0 is '!' in GPT-2's vocabulary: real exclamation marks would be masked."""
    words = TokenTable({"!": 0, "a": 1}, (), "BPE", byte_level=True)
    (found,) = assess(words, declared=Token("!", 0))
    assert found.kind == "config" and not found.safe
    assert not assess(words, wanted=Token("a", 1))[0].safe


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"model_kind": "BPE", "byte_fallback": True, "model_unk": "<unk>"}, False),
        ({"model_kind": "BPE", "byte_level": True, "model_unk": "<unk>"}, False),
        ({"model_kind": "BPE", "model_unk": "<unk>"}, True),
        ({"model_kind": "BPE"}, False),
        ({"model_kind": "WordPiece", "model_unk": "[UNK]"}, True),
        ({"model_kind": "Unigram", "model_unk": "<unk>"}, True),
        ({"model_kind": "other"}, None),
    ],
)
def test_whether_text_can_produce_unk(facts: dict[str, object], expected: bool | None) -> None:
    """Bytes cover everything; word pieces do not; what is not known is not guessed."""
    assert emits_unk(TokenTable({}, **facts)) is expected  # type: ignore[arg-type]


def test_unk_is_offered_only_where_no_text_gives_it() -> None:
    """The evidence, and the refusal."""
    unk = Token("<unk>", 0)
    assert assess(table("<unk>", byte_fallback=True), unk=unk)[0].safe
    assert not assess(TokenTable({"<unk>": 0}, (), "WordPiece", model_unk="<unk>"), unk=unk)[0].safe


def test_a_new_token_takes_its_place() -> None:
    """After `add`, the candidates are what a fresh look would give."""
    before = assess(table("<|fim_pad|>", "<|reserved_1|>"))
    assert [c.token.text for c in with_added(before, Token("[PAD]", 9))] == [
        "[PAD]",
        "<|fim_pad|>",
        "<|reserved_1|>",
    ]
    assert with_added(before, Token("<blank>", 9)) == before
    assert all(isinstance(c, Candidate) for c in before)
