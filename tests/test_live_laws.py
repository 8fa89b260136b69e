"""Laws 2 and 5 as properties, over real tokenizers and real tiny models in drawn states."""

from __future__ import annotations

import tempfile
from typing import Any

import pytest
import transformers
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

import padfix
from padfix.errors import StrategyError
from padfix.read.live import inspect
from padfix.testing import tiny_model, tiny_tokenizer

OPTIONS = st.sampled_from(
    [{"strategy": s} for s in ("auto", "eos", "unk", "reserved", "spare", "add")]
    + [{"strategy": "add", "init": "zero"}, {"strategy": "add", "multiple_of": 64}]
    + [{"strategy": "add", "pad_token": "<filler>"}]
)


@st.composite
def objects(draw: Any) -> tuple[Any, Any]:
    """A model and a tokenizer: tied or not, with spare rows or none, with and without a pad and config ids."""
    tok = tiny_tokenizer(pad=draw(st.sampled_from([None, "<pad>", "</s>"])), eos="</s>", unk="<unk>")
    rows = len(tok) + draw(st.sampled_from([0, 1, 7]))
    name, tied = draw(st.sampled_from(["gpt2", "llama", "gpt_neox"])), draw(st.booleans())
    model = tiny_model(name, "causal", vocab_size=rows, tied=tied)
    ids = draw(st.sampled_from([None, 0, tok.eos_token_id]))
    model.config.pad_token_id = model.generation_config.pad_token_id = ids
    model.config.eos_token_id = model.generation_config.eos_token_id = tok.eos_token_id
    tok.padding_side = draw(st.sampled_from(["left", "right"]))
    return model, tok


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(objects(), OPTIONS)
def test_a_fix_ends_as_planned_and_survives_a_reload(pair: tuple[Any, Any], options: dict[str, Any]) -> None:
    """Law 2: after a write, what is read is what was projected. Law 5: a reload has the same portable state."""
    model, tok = pair
    before = inspect(model, tok)
    try:
        report = padfix.ensure_pad(model, tok, verify=False, **options)
    except StrategyError:
        event("refused")
        assert inspect(model, tok) == before
        return
    event("changed" if report.changed else "kept")
    after = inspect(model, tok)
    assert after.portable() == report.plan.project(before).portable()
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        tok.save_pretrained(folder)
        again = inspect(
            transformers.AutoModelForCausalLM.from_pretrained(folder),
            transformers.AutoTokenizer.from_pretrained(folder),
        )
    assert again.pad == after.pad
    assert again.portable() == after.portable()
