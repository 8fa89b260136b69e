"""The probe's rows: what is real, what is padding, and that they fit any tokenizer and model."""

from __future__ import annotations

import functools
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
def test_all_rows_of_a_pass_have_one_width_and_every_pad_length_occurs(model_type: str, head: Any) -> None:
    """1, 3, 31, 32 and 33 pads, right and left, over all passes, and each padded text is there without padding."""
    model = tiny_model(model_type, head)
    tok = matching_tokenizer(model, pad="<pad>")
    probe = make_probe(subject_of(model, tok), None)
    batches = [probe.mixed()]
    if probe.layout == "alone":
        batches += [probe.narrower(less) for less in probe.lengths]
    assert all(len({row.width for row in rows}) == 1 for rows in batches)
    assert batches[0][0].width == probe.width
    every = [row for rows in batches for row in rows]
    whole = [row.tokens for row in every if row.kind == "full"]
    for side in ("right", "left"):
        padded = [row for row in every if row.kind == side]
        assert set(PAD_LENGTHS) <= {row.pads for row in padded}
        for row in padded:
            assert any(row.tokens == text[: len(row.tokens)] for text in whole)
            assert probe.layout == "prefix" or row.tokens in whole
    if probe.decoder:
        for side in ("right", "left"):
            rows = [row for row in every if row.kind == f"decoder-{side}"]
            assert tuple(row.decoder_left + row.decoder_right for row in rows) == PAD_LENGTHS
            assert all(row.decoder == probe.decoder[: len(row.decoder)] for row in rows)
    assert tok.pad_token_id not in {i for row in every for i in row.tokens}


def test_no_four_lengths_of_text_have_all_pad_lengths_as_differences() -> None:
    """So the fifth pass of texts is needed; and the five of the table have them, on the left with position ids too."""
    from itertools import combinations

    from padfix.proof.evidence import _POSITIONED
    from padfix.proof.probes import RULER

    wanted = set(PAD_LENGTHS)
    assert not any(
        wanted <= {b - a for a, b in combinations((0, *rest), 2)} for rest in combinations(range(1, 70), 3)
    )
    given = {
        longer - less for less in (0, *RULER) if less <= _POSITIONED for longer in RULER if longer > less
    }
    assert wanted <= given


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


def lengths(check: Any) -> set[int]:
    """The pad lengths that a check says it compared."""
    return {int(n) for n in check.detail.split("; ")[-1].removesuffix(" pads").split(", ")}


@pytest.mark.parametrize(
    ("model_type", "head", "bare"),
    [
        ("llama", "causal", {3}),
        ("bert", "masked", {2, 29, 31}),
        ("bert", "token-classifier", {2, 29, 31}),
        ("llama", "classifier", {2, 29, 31}),
        ("t5", "seq2seq", {*PAD_LENGTHS}),  # it takes no position_ids, so every left-padded row is bare
        ("bart", "classifier", {*PAD_LENGTHS}),
    ],
)
@pytest.mark.parametrize("fixed", [False, True])
def test_every_pad_length_is_compared_with_the_text_alone(
    model_type: str, head: Any, bare: set[int], fixed: bool
) -> None:
    """1, 3, 31, 32 and 33 pads on both sides for every kind of model, after a fix as in a proof without one."""
    model = tiny_model(model_type, head)
    tok = matching_tokenizer(model, pad="<pad>")
    verdict = prove(model, tok, baseline=capture(model, tok) if fixed else None)
    for side in ("right", "left"):
        assert set(PAD_LENGTHS) <= lengths(verdict[f"padding-{side}"]), side
    assert bare <= lengths(verdict["padding-left-bare"])


def test_a_state_space_classifier_has_one_padded_row_run_by_itself() -> None:
    """Such a layer may skip the mask for a single row: 31 pads by itself, without position ids, the others in batches."""
    model = tiny_model("jamba", "classifier")
    tok = matching_tokenizer(model, pad="<pad>")
    verdict = prove(model, tok, baseline=capture(model, tok))
    assert {1, 3, 32, 33} <= lengths(verdict["padding-right"])
    assert {1, 3, 32, 33} <= lengths(verdict["padding-left"])
    assert 31 in lengths(verdict["padding-left-bare"])


@pytest.mark.parametrize(
    ("model_type", "head"), [("bert", "masked"), ("t5", "seq2seq"), ("llama", "classifier")]
)
@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("bad", PAD_LENGTHS)
def test_a_difference_at_one_pad_length_only_is_seen(model_type: str, head: Any, side: str, bad: int) -> None:
    """Whatever the length and the side: outputs that move at 1, 3, 31, 32 or 33 pads alone fail that side's check."""
    model = tiny_model(model_type, head)
    tok = matching_tokenizer(model, pad="<pad>")
    last = -1 if side == "right" else 0
    part = model.get_encoder() if head == "seq2seq" else model.base_model
    own = part.forward

    @functools.wraps(own)
    def forward(*args: Any, **kwargs: Any) -> Any:
        output, mask = own(*args, **kwargs), kwargs["attention_mask"]
        hit = ((mask == 0).sum(1) == bad) & (mask[:, last] == 0)
        name = next(iter(output))
        output[name] = output[name] * (1 + 0.2 * hit[:, None, None])
        return output

    part.forward = forward
    for baseline in (None, capture(model, tok)):
        verdict = prove(model, tok, baseline=baseline)
        assert [
            check.name for check in verdict.checks if check.name.startswith("padding") and not check.passed
        ][:1] == [f"padding-{side}"]
        assert verdict["pad-invisible"].passed


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("bad", PAD_LENGTHS)
def test_the_decoder_side_is_padded_by_every_length_too(side: str, bad: int) -> None:
    """Outputs of a T5 that move where its decoder holds 1, 3, 31, 32 or 33 pads on a side fail that side's check."""
    model = tiny_model("t5", "seq2seq")
    tok = matching_tokenizer(model, pad="<pad>")
    last = -1 if side == "right" else 0
    own = model.forward

    @functools.wraps(own)
    def forward(*args: Any, **kwargs: Any) -> Any:
        output, mask = own(*args, **kwargs), kwargs["decoder_attention_mask"]
        hit = ((mask == 0).sum(1) == bad) & (mask[:, last] == 0)
        output.logits = output.logits * (1 + 0.2 * hit[:, None, None])
        return output

    model.forward = forward
    assert not prove(model, tok)[f"padding-{side}"].passed


def test_a_leak_that_the_fix_brings_is_seen_although_the_pass_before_it_stands_for_one_after() -> None:
    """Other ids at masked places before the write and the pad after it: what moves is run again, and judged."""
    model = tiny_model("bert", "masked")
    tok = matching_tokenizer(model, pad="[PAD]")
    baseline = capture(model, tok)
    own = model.forward
    pad = tok.pad_token_id

    @functools.wraps(own)
    def forward(*args: Any, **kwargs: Any) -> Any:
        output, mask = own(*args, **kwargs), kwargs["attention_mask"]
        hit = ((kwargs["input_ids"] == pad) & (mask == 0)).any(1)
        output.logits = output.logits * (1 + 0.2 * hit[:, None, None])
        return output

    model.forward = forward
    verdict = prove(model, tok, baseline=baseline)
    assert not verdict["pad-invisible"].passed
    assert "content of masked positions reaches real tokens" in verdict["pad-invisible"].cause
    assert verdict["outputs-kept"].passed
