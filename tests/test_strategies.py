"""Strategies are pure functions of the state, and keep the laws of the design."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from padfix.errors import StrategyError
from padfix.strategies import STRATEGIES, pad_fault, plan
from padfix.types import ABSENT, Candidate, PadState, Plan, Token
from states import states

OPTIONS = st.fixed_dictionaries(
    {
        "strategy": st.sampled_from(sorted(STRATEGIES)),
        "pad_token": st.sampled_from([None, None, None, "<pad>", "[PAD]", "<new>", "</s>", "<unk>"]),
        "init": st.sampled_from([None, None, "mean", "zero"]),
        "multiple_of": st.sampled_from([None, 1, 8, 64]),
    }
)


def planned(state: PadState, options: dict[str, object]) -> Plan | None:
    try:
        return plan(state, **options)  # type: ignore[arg-type]
    except StrategyError:
        return None


@settings(max_examples=150, deadline=None)
@given(states(), OPTIONS)
def test_planning_is_idempotent(state: PadState, options: dict[str, object]) -> None:
    """Law 1: a plan made for the state that a plan leads to is empty."""
    first = planned(state, options)
    if first is None:
        return
    after = first.project(state)
    second = planned(after, options)
    assert second is not None, "the second call must not refuse what the first one did"
    assert second.edits == ()


@settings(max_examples=150, deadline=None)
@given(states(), OPTIONS)
def test_a_plan_ends_in_a_usable_pad(state: PadState, options: dict[str, object]) -> None:
    """The planned pad has an id below the rows that every matrix will have, and the tokenizer has it."""
    made = planned(state, options)
    if made is None:
        return
    after = made.project(state)
    assert made.pad is not None and made.pad.id is not None and after.pad == made.pad
    if after.rows is not None:
        assert 0 <= made.pad.id < after.rows


@settings(max_examples=150, deadline=None)
@given(states(), OPTIONS)
def test_no_matrix_loses_a_row(state: PadState, options: dict[str, object]) -> None:
    """Law 4: row counts never fall, only `add` changes one, and `spare` writes no row."""
    made = planned(state, options)
    if made is None:
        return
    after = made.project(state)
    for key in ("input_rows", "output_rows", "output_bias_rows"):
        before_rows, after_rows = getattr(state, key), getattr(after, key)
        assert (before_rows is None) == (after_rows is None)
        if before_rows is not None:
            assert after_rows >= before_rows
            assert after_rows == before_rows or made.rung == "add"
    if made.rung in ("spare", "eos", "unk"):
        assert not any(edit.target == "weights" for edit in made.edits)


@settings(max_examples=150, deadline=None)
@given(states(), OPTIONS)
def test_a_chosen_token_was_vetted(state: PadState, options: dict[str, object]) -> None:
    """No rung but EOS ever gives a token that ends a text, starts one, or has a meaning in the config."""
    made = planned(state, options)
    if made is None or made.rung in ("keep", "eos"):
        return
    assert made.pad is not None
    assert made.pad.id not in state.eos_ids
    assert state.bos is None or made.pad.id != state.bos.id
    assert made.pad.id not in [i for _, i in state.config_token_ids]


@settings(max_examples=150, deadline=None)
@given(states(), OPTIONS)
def test_a_valid_pad_is_left_alone(state: PadState, options: dict[str, object]) -> None:
    """Every strategy keeps a valid, distinct pad unless `pad_token` names another."""
    if pad_fault(state) is not None or options["pad_token"] not in (None, state.pad and state.pad.text):
        return
    made = planned(state, options)
    if made is None and options["init"] is not None:
        return  # its row is read for something else too
    assert made is not None
    assert made.rung == "keep" and made.pad == state.pad
    assert not any(edit.target == "tokenizer" for edit in made.edits)


def llama3(**facts: object) -> PadState:
    named = Candidate(Token("<|finetune_right_pad_id|>", 128004), "named", ("its name says pad",))
    values: dict[str, object] = {
        "has_model": True, "live": True, "eos": Token("<|eot_id|>", 128009), "bos": Token("<|begin_of_text|>", 128000),
        "n_tokens": 128256, "max_id": 128255, "next_id": 128256, "candidates": (named,), "config_pad_id": None,
        "generation_pad_id": None, "has_generation_config": True, "generation_eos_ids": (128001, 128008, 128009),
        "vocab_size": 128256, "model_type": "llama", "head": "causal", "traits": ("padding-idx-from-config", "pools-on-pad"),
        "input_rows": 128256, "output_rows": 128256, "tied": False,
    }  # fmt: skip
    return PadState(**(values | facts))  # type: ignore[arg-type]


def edits(made: Plan) -> dict[str, object]:
    return {f"{e.target}.{e.key}": e.after for e in made.edits}


def test_auto_takes_the_token_named_as_a_pad() -> None:
    """Llama 3.2: the finetuning pad, and every config in step."""
    made = plan(llama3())
    assert made.rung == "named"
    assert edits(made) == {
        "tokenizer.pad_token": Token("<|finetune_right_pad_id|>", 128004),
        "config.pad_token_id": 128004,
        "generation_config.pad_token_id": 128004,
    }


def test_eos_stays_out_of_the_config_of_a_causal_model() -> None:
    """Written there it would come back as padding_idx = EOS, and the EOS row would never train again."""
    made = plan(llama3(config_pad_id=128009, padding_idx=128009), "eos")
    assert edits(made) == {
        "tokenizer.pad_token": Token("<|eot_id|>", 128009),
        "config.pad_token_id": None,
        "generation_config.pad_token_id": 128009,
        "model.padding_idx": None,
    }
    assert any("padding_idx = EOS" in w for w in made.warnings)


def test_eos_leaves_a_config_id_that_is_no_end_id() -> None:
    """It freezes no EOS row, and some configs cannot hold null."""
    assert "config.pad_token_id" not in edits(plan(llama3(config_pad_id=5), "eos"))
    assert edits(plan(llama3(config_pad_id=-1), "eos"))["config.pad_token_id"] is None


def test_eos_goes_into_the_config_of_a_classifier() -> None:
    """A classifier finds the last real token by the config's pad id; the warning says what it moves."""
    made = plan(llama3(head="classifier", has_generation_config=False, generation_pad_id=ABSENT), "eos")
    assert edits(made)["config.pad_token_id"] == 128009
    assert any("one token early" in w for w in made.warnings)


def test_auto_never_takes_eos_for_a_pooling_classifier() -> None:
    """It says so, and recommends `add`."""
    with pytest.raises(StrategyError, match="strategy='add'"):
        plan(llama3(head="classifier", candidates=()))


def test_add_keeps_a_nice_vocabulary_nice() -> None:
    """128256 rows divide by 64, so 64 rows are added; multiple_of=1 adds exactly one."""
    assert edits(plan(llama3(), "add"))["weights.input_rows"] == 128320
    exact = edits(plan(llama3(), "add", multiple_of=1))
    assert exact["weights.input_rows"] == exact["weights.output_rows"] == exact["config.vocab_size"] == 128257


def test_add_never_shrinks_a_matrix_with_spare_rows() -> None:
    """Mllama: the input matrix has 8 rows more than the head, so only the head grows."""
    state = llama3(input_rows=128264, output_rows=128256)
    assert {k: v for k, v in edits(plan(state, "add", multiple_of=1)).items() if k.startswith("weights")} == {
        "weights.output_rows": 128257
    }


def test_add_uses_the_token_that_is_there() -> None:
    """bert-base-uncased without its config has [PAD] in the vocabulary and no pad set."""
    made = plan(llama3(candidates=(Candidate(Token("[PAD]", 0), "named"),)), "add")
    assert made.pad == Token("[PAD]", 0) and not any(e.target == "weights" for e in made.edits)


def test_add_refuses_an_id_that_means_something() -> None:
    """Mllama's config gives the id after the last token to the image."""
    with pytest.raises(StrategyError, match="image_token_index"):
        plan(llama3(config_token_ids=(("image_token_index", 128256),)), "add")


def test_spare_uses_a_row_that_exists() -> None:
    """Qwen: 151936 rows, 151665 tokens; no weight changes, and resize is warned against."""
    state = llama3(
        n_tokens=151665, max_id=151664, next_id=151665, input_rows=151936, output_rows=151936, candidates=()
    )
    made = plan(state)
    assert made.rung == "spare" and made.pad == Token("[PAD]", 151665)
    assert not any(e.target == "weights" for e in made.edits)
    assert any("resize_token_embeddings" in w for w in made.warnings)


def test_auto_explains_a_pad_that_is_eos_and_keeps_it() -> None:
    """The repair is offered by name, since nobody asked for a change."""
    made = plan(llama3(pad=Token("<|eot_id|>", 128009)))
    assert not made and made.rung == "keep"
    assert "<|finetune_right_pad_id|>" in " ".join(made.reasons)
    assert made.warnings


@pytest.mark.parametrize("pad", [Token("[PAD]", None), Token("<pad>", 128256), Token("<pad>", 999999)])
def test_a_pad_that_cannot_work_is_repaired(pad: Token) -> None:
    """A string without an id, or an id outside the matrix, fails on the first padded batch."""
    made = plan(llama3(pad=pad))
    assert made.pad == Token("<|finetune_right_pad_id|>", 128004)


def test_a_pad_that_carries_meaning_is_never_replaced() -> None:
    """RoBERTa computes positions from the pad id."""
    state = llama3(
        pad=Token("<pad>", 1),
        config_pad_id=1,
        traits=("positions-from-pad",),
        model_type="roberta",
        has_generation_config=False,
    )
    with pytest.raises(StrategyError, match="positions from the pad id"):
        plan(state, pad_token="<|finetune_right_pad_id|>")
    assert not plan(state, "add")


def test_a_missing_pad_of_such_a_model_is_the_one_of_its_config() -> None:
    """No other token keeps its outputs."""
    state = llama3(config_pad_id=1, traits=("positions-from-pad",), model_type="roberta")
    with pytest.raises(StrategyError, match="must be the id 1"):
        plan(state, "eos")


def test_init_on_an_existing_pad_overwrites_its_own_row() -> None:
    """The question this project grew from: zero the row of a pad that is there already."""
    made = plan(
        llama3(
            pad=Token("<|finetune_right_pad_id|>", 128004), config_pad_id=128004, generation_pad_id=128004
        ),
        init="zero",
    )
    assert edits(made) == {"weights.pad_row": "zero"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strategy": "eso"}, "unknown strategy 'eso'"),
        ({"init": "random"}, "unknown init"),
        ({"multiple_of": 0}, "positive integer"),
        ({"multiple_of": True}, "positive integer"),
        ({"pad_token": ""}, "non-empty"),
        ({"strategy": "eos", "init": "zero"}, "would overwrite the row of EOS"),
        ({"strategy": "spare", "init": "mean"}, "writes no row"),
        ({"strategy": "spare"}, "no spare row: the next id is 128256"),
        ({"pad_token": "<new>"}, "not in the vocabulary"),
    ],
)
def test_bad_arguments_get_a_clear_error(options: dict[str, object], message: str) -> None:
    """What was found and what to do, before anything is touched."""
    with pytest.raises(StrategyError, match=message):
        plan(llama3(), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(("config_pad_id", "said"), [(2, "is EOS too"), (None, "stays None")])
def test_what_is_said_of_a_config_that_names_eos(config_pad_id: int | None, said: str) -> None:
    """`auto` leaves such a config as it is and says so; `eos` takes the id out of it."""
    eos = Token("</s>", 2)
    state = PadState(
        has_model=True, pad=eos, eos=eos, n_tokens=3, max_id=2, next_id=3, config_pad_id=config_pad_id,
        model_type="llama", head="causal", traits=("padding-idx-from-config",), input_rows=3,
    )  # fmt: skip
    kept = plan(state)
    assert not kept
    assert any(said in note for note in kept.warnings)
    assert plan(state, "eos").project(state).config_pad_id is None
    assert any("stays None" in note for note in plan(state, "eos").warnings)
