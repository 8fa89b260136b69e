"""A representative part of the sweep: every strategy on architectures of every kind, held to the laws."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

SCRIPT = Path(__file__).parent.parent / "scripts" / "sweep.py"


@pytest.fixture(scope="module")
def sweep() -> ModuleType:
    spec = importlib.util.spec_from_file_location("sweep", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["sweep"] = module
    spec.loader.exec_module(module)
    return module


# (head, model type, tied, side) -> how auto, eos, add/mean and add/zero must end, and words of the reason
EXPECTED: list[tuple[tuple[Any, ...], str, str]] = [
    (("causal", "llama", False, "right"), "proven proven proven proven", ""),
    (("causal", "llama", True, "left"), "proven proven proven proven", ""),
    (("causal", "gpt2", True, "left"), "proven proven proven proven", ""),
    (("causal", "gpt_neo", True, "right"), "proven proven proven proven", ""),
    (("causal", "xglm", True, "right"), "proven refused refused refused", "positions"),
    (("causal", "rwkv", False, "right"), "proven proven proven proven", ""),
    (("causal", "rwkv", False, "left"), "failed failed failed failed", "recurrent state"),
    (("causal", "cpmant", None, "right"), "failed failed * *", "own mask|loaded again"),  # may grow on 4.57
    (("causal", "mamba", True, "left"), "proven proven proven proven", ""),
    (("causal", "mllama", False, "right"), "proven proven refused refused", "loaded again"),
    (("causal", "gemma2", True, "right"), "proven proven proven proven", ""),
    (("masked", "bert", True, "right"), "proven proven proven proven", ""),
    (("masked", "fnet", True, "right"), "failed failed failed failed", "ignores padding"),
    (("masked", "funnel", True, "right"), "failed failed failed failed", "pooling"),
    (("masked", "mobilebert", True, "right"), "proven failed failed proven", "trigram"),
    (("masked", "roberta", True, "right"), "proven refused refused refused", "positions"),
    (("seq2seq", "bart", True, "right"), "proven proven proven proven", ""),
    (("seq2seq", "t5", True, "right"), "proven refused refused refused", "meaning"),
    (("classifier", "llama", None, "right"), "refused failed proven proven", "one token early"),
    (("classifier", "bart", None, "right"), "proven refused proven proven", "EOS"),
    (("token-classifier", "bert", None, "right"), "proven proven proven proven", ""),
    (("token-classifier", "gpt2", None, "right"), "proven proven proven proven", ""),
]


@pytest.mark.filterwarnings("ignore")  # those of transformers, on sizes that nobody trains
@pytest.mark.parametrize(
    ("form", "kinds", "reason"), EXPECTED, ids=[f"{f[0]}-{f[1]}-{f[2]}-{f[3]}" for f, _, _ in EXPECTED]
)
def test_every_strategy_ends_as_it_must(
    sweep: ModuleType, form: tuple[Any, ...], kinds: str, reason: str
) -> None:
    """Each strategy is proven, refused or failed as the architecture demands, for a true reason, and keeps the laws."""
    case = sweep.Case(*form)
    outcomes = sweep.run_case(case, ("auto", "eos", "add mean", "add zero"))
    found = [o.kind for o in outcomes.values()]
    wanted = [f if kind == "*" else kind for f, kind in zip(found, kinds.split(), strict=True)]
    assert found == wanted, {name: (o.kind, o.detail, o.causes) for name, o in outcomes.items()}
    assert not [o for o in outcomes.values() if o.unexplained]
    said = [" ".join([o.detail, *o.causes]) for o in outcomes.values() if o.kind != "proven"]
    assert all(re.search(reason, text) for text in said)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("head", ["causal", "masked", "seq2seq", "classifier"])
def test_a_pad_that_is_there_is_left_alone(sweep: ModuleType, head: str) -> None:
    """A tokenizer with a valid pad is proven and not changed by a bit."""
    for name in {"causal": ("llama", "opt"), "masked": ("bert", "roberta"), "seq2seq": ("t5", "bart")}.get(
        head, ("bert",)
    ):
        outcome = sweep.run_case(
            sweep.Case(head, name, True if head != "classifier" else None), ("as shipped",)
        )["as shipped"]
        assert (outcome.kind, outcome.rung) == ("proven", "keep"), outcome


def test_the_laws_would_notice(sweep: ModuleType) -> None:
    """The snapshot that judges every case sees one bit of one row, a shrink, a tie broken and a config key."""
    from padfix.testing import matching_tokenizer, tiny_model

    def broken(change: Any, *, same: bool) -> str:
        model = tiny_model("gpt2")
        before = sweep.Snapshot(model, matching_tokenizer(model))
        with torch.no_grad():
            change(model)
        with pytest.raises(sweep.BrokenLawError) as caught:
            before.compare("this", same=same)
        return str(caught.value)

    def one_bit(model: Any) -> None:
        row = model.transformer.wte.weight[5].view(torch.int32)
        row[3] ^= 1

    def shrink(model: Any) -> None:
        model.transformer.wte.weight.data = model.transformer.wte.weight.data[:-1]

    def untie(model: Any) -> None:
        model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.clone())

    def config(model: Any) -> None:
        model.config.pad_token_id = 3

    assert "changed old values" in broken(one_bit, same=False)
    assert "shrank" in broken(shrink, same=False)
    assert "ties" in broken(untie, same=True)
    assert "pad_token_id" in broken(config, same=True)
