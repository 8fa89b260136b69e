"""The probe's rows: what is real, what is padding, and that they fit any tokenizer and model."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

from padfix.proof import capture, prove  # noqa: E402
from padfix.proof.probes import PAD_LENGTHS, Row, make_probe  # noqa: E402
from padfix.proof.run import tensors  # noqa: E402
from padfix.proof.subject import subject_of  # noqa: E402
from padfix.testing import matching_tokenizer, tiny_model, tiny_tokenizer  # noqa: E402


def test_a_row_knows_its_mask_positions_and_padding() -> None:
    """Padding is masked, holds the fill ids in turn, and does not count in positions."""
    row = Row("left", 0, (7, 8, 9), left=2)
    assert row.mask == [0, 0, 1, 1, 1]
    assert row.ids((1, 2, 3), 0) == [1, 2, 7, 8, 9]
    assert row.positions(0) == [0, 0, 0, 1, 2]
    assert Row("left", 0, (7, 8, 9), left=2).positions(2) == [1, 1, 2, 3, 4]  # RoBERTa counts from pad + 1
    assert Row("counted", 0, (7, 8, 9), left=2).positions(0) == [0, 1, 2, 3, 4]
    assert Row("open-right", 0, (7,), right=2).mask == [1, 1, 1]


@pytest.mark.parametrize(("model_type", "head"), [("llama", "causal"), ("bert", "masked"), ("t5", "seq2seq")])
def test_all_rows_have_one_width_and_every_pad_length_on_both_sides(model_type: str, head: object) -> None:
    """1, 3, 31, 32 and 33 pads, right and left, in one batch of equal rows."""
    model = tiny_model(model_type, head)  # type: ignore[arg-type]
    tok = matching_tokenizer(model, pad="<pad>")
    probe = make_probe(subject_of(model, tok), None)
    rows = probe.mixed()
    assert {row.width for row in rows} == {probe.width}
    for side in ("right", "left"):
        assert tuple(row.pads for row in rows if row.kind == side) == PAD_LENGTHS
    assert tok.pad_token_id not in {i for row in rows for i in row.tokens}


def test_a_probe_is_the_same_every_time() -> None:
    """Nothing random: two probes of the same pair are equal."""
    model = tiny_model("gpt2")
    assert make_probe(subject_of(model, tiny_tokenizer()), None) == make_probe(
        subject_of(model, tiny_tokenizer()), None
    )


@pytest.mark.parametrize("positions", [12, 20, 34])
def test_rows_fit_a_model_with_few_positions(positions: int) -> None:
    """No row is longer than the model's positions, and there is still padding to test."""
    model = tiny_model("gpt2", n_positions=positions)
    tok = matching_tokenizer(model, pad="<pad>")
    probe = make_probe(subject_of(model, tok), None)
    assert probe.width <= positions
    assert probe.lengths
    assert prove(model, tok)["padding-right"].passed


def test_the_tokenizers_template_is_kept_around_cut_texts() -> None:
    """An encoder's rows start with CLS and end with SEP whatever their length; a causal model's only start with BOS."""
    bert = tiny_model("bert", "masked")
    tok = tiny_tokenizer("wordpiece", pad="[PAD]")
    probe = make_probe(subject_of(bert, tok), None)
    for row in probe.mixed():
        assert (row.tokens[0], row.tokens[-1]) == (tok.cls_token_id, tok.sep_token_id)
    llama = tiny_model("llama", vocab_size=400)
    tok = tiny_tokenizer("byte-fallback", pad="<pad>", template="<s> $A </s>")
    probe = make_probe(subject_of(llama, tok), None)
    assert all(
        row.tokens[0] == tok.bos_token_id and tok.eos_token_id not in row.tokens for row in probe.mixed()
    )


def test_a_vocabulary_without_the_words_is_probed_with_its_own_ids() -> None:
    """33 amino acids: every text is unk, so ids are drawn from the vocabulary, and the verdict says so."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    names = [
        "[PAD]",
        "[CLS]",
        "[SEP]",
        "[UNK]",
        "[MASK]",
        *"ARNDCEQGHILKMFPSTWYV",
        *(f"[T{i}]" for i in range(8)),
    ]
    backend = Tokenizer(models.WordLevel({name: i for i, name in enumerate(names)}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tok = PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]"
    )
    model = tiny_model("gpt2", vocab_size=33, eos_token_id=50256, bos_token_id=50256)
    probe = make_probe(subject_of(model, tok), None)
    assert len({i for row in probe.mixed() for i in row.tokens}) > 8
    assert 3 not in {i for row in probe.mixed() for i in row.tokens}
    verdict = prove(model, tok)
    assert verdict["pad-invisible"].passed
    assert any("drawn from the vocabulary" in text for text in verdict.untested)


def test_a_tokenizer_larger_than_the_model_is_said_so() -> None:
    """Ids beyond the model's rows are never fed to it; the verdict names both numbers."""
    model = tiny_model("llama", vocab_size=60)
    verdict = prove(model, tiny_tokenizer(pad="<pad>"))
    assert any("the model has 60 rows" in text for text in verdict.untested)
    assert verdict["pad-invisible"].passed


def test_a_pad_without_a_row_fails_before_anything_is_run() -> None:
    """A pad id at or above the rows is named as such, not met as an IndexError."""
    model = tiny_model("llama", vocab_size=100)
    tok = tiny_tokenizer(pad="<pad>", ids={"<pad>": 120})
    check = prove(model, tok)["pad-invisible"]
    assert not check.passed
    assert check.cause == "the pad id 120 has no row: the model's input matrix has 100"


def test_the_users_texts_are_used() -> None:
    """Given texts are what the probe holds."""
    model = tiny_model("gpt2")
    tok = tiny_tokenizer(pad="<pad>")
    text = "An entirely different sentence about padding."
    probe = make_probe(subject_of(model, tok), [text])
    assert probe.bodies[0][:10] == tuple(tok(text)["input_ids"][:10])
    assert prove(model, tok, texts=[text])["padding-right"].passed


def test_what_forward_takes_is_what_it_gets() -> None:
    """token_type_ids, position_ids and the decoder's inputs are given where forward() and tokenizer know them."""
    bert = tiny_model("bert", "masked")
    subject = subject_of(
        bert, tiny_tokenizer("wordpiece", pad="[PAD]", model_input_names=["input_ids", "token_type_ids"])
    )
    probe = make_probe(subject, None)
    assert {"token_type_ids", "position_ids", "attention_mask"} <= tensors(
        subject, probe.mixed(), (0,)
    ).keys()
    t5 = tiny_model("t5", "seq2seq")
    subject = subject_of(t5, matching_tokenizer(t5))
    inputs = tensors(subject, make_probe(subject, None).mixed(), (0,))
    assert inputs["decoder_attention_mask"].min() == 0
    assert inputs["decoder_input_ids"].shape == inputs["decoder_attention_mask"].shape
    assert "position_ids" not in inputs


@pytest.mark.parametrize(
    ("model_type", "head", "left"),
    [
        ("llama", "causal", "1, 3, 31, 32, 33"),
        (
            "bert",
            "masked",
            "3, 32, 33",
        ),  # it takes position_ids: the narrower batch pads on the left without them
        ("t5", "seq2seq", "1, 3, 30, 31, 32, 33"),
        ("bert", "token-classifier", "3, 32, 33"),
        ("bart", "classifier", "1, 3, 30, 31, 32, 33"),
    ],
)
def test_every_pad_length_is_compared_with_the_text_alone(model_type: str, head: object, left: str) -> None:
    """1, 3, 31, 32 and 33 pads on the right for every kind of model, and within the passes that a proof may cost."""
    model = tiny_model(model_type, head)  # type: ignore[arg-type]
    verdict = prove(model, matching_tokenizer(model, pad="<pad>"))
    shown = verdict["padding-right"].detail.split("; ")[1].removesuffix(" pads")
    assert {str(n) for n in PAD_LENGTHS} <= set(shown.split(", "))
    assert verdict["padding-left"].detail.endswith(f"; {left} pads")
    baseline = capture(model, matching_tokenizer(model, pad="<pad>"))
    after = prove(model, matching_tokenizer(model, pad="<pad>"), baseline=baseline)
    shown = after["padding-right"].detail.split("; ")[1].removesuffix(" pads")
    assert {"1", "3", "31", "33"} <= set(shown.split(", "))  # a fix has one pass less to spend


def test_a_difference_at_one_pad_length_only_is_seen() -> None:
    """Whatever the length: padding that shows at 1, 3, 31, 32 or 33 pads alone fails the check of an encoder."""
    import functools

    for bad in PAD_LENGTHS:
        model = tiny_model("bert", "masked")
        own = model.forward

        @functools.wraps(own)
        def forward(*args: object, own: Any = own, bad: int = bad, **kwargs: Any) -> Any:
            output = own(*args, **kwargs)
            hit = ((kwargs["attention_mask"] == 0).sum(1) == bad)[:, None, None]
            output.logits = output.logits + hit * output.logits.roll(1, -1) * 0.1
            return output

        model.forward = forward
        verdict = prove(model, tiny_tokenizer("wordpiece", pad="[PAD]"))
        assert not verdict["padding-right"].passed, bad
        assert verdict["pad-invisible"].passed
