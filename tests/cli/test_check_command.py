"""``padfix check`` on real, tiny models."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import pytest

from padfix.testing import tiny_model, tiny_tokenizer


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that pads well, one without a pad, and one that ignores the mask, as `save_pretrained` writes them."""
    root = tmp_path_factory.mktemp("models")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, model, tok in (
            ("good", tiny_model("llama", pad_token_id=0), tiny_tokenizer(pad="<pad>")),
            ("none", tiny_model("gpt2"), tiny_tokenizer(pad=None)),
            ("fnet", tiny_model("fnet", "masked", pad_token_id=0), tiny_tokenizer(pad="<pad>")),
        ):
            model.save_pretrained(root / name)
            tok.save_pretrained(root / name)
    return root


@pytest.mark.filterwarnings("ignore")
def test_check(models, padfix):
    """Proven is 0; no pad, or a model for which padding moves the outputs, is 1 with the cause."""
    good = padfix("check", models / "good")
    assert (good.returncode, good.stdout.count("FAIL")) == (0, 0), good.stdout
    assert "PASS  pad-invisible" in good.stdout
    assert "proof passed" in good.stderr
    none = padfix("check", models / "none", "--task", "training")
    assert none.returncode == 1
    assert none.stdout.count("PAD001") == 1
    assert f"fix: padfix fix {models / 'none'}" in none.stdout  # a command, as the folder is checked by one
    fnet = padfix("check", models / "fnet")
    assert fnet.returncode == 1
    assert "FAIL" in fnet.stdout


@pytest.mark.filterwarnings("ignore")
def test_attention_and_json(models, padfix, tmp_path):
    """--attention draws the picture, -f json holds report and verdict."""
    shown = padfix("check", models / "good", "--attention", "heat.svg", "-f", "json")
    assert shown.returncode == 0
    document = json.loads(shown.stdout)
    assert document["verdict"]["passed"] is True
    assert "attention-zero" in {check["name"] for check in document["verdict"]["checks"]}
    assert document["report"]["ok"] is True
    assert (tmp_path / "heat.svg").read_text("utf-8").lstrip().startswith(("<svg", "<?xml"))


@pytest.mark.filterwarnings("ignore")
def test_what_cannot_be_checked(models, padfix, tmp_path, checkpoint):
    """A missing folder, a file, a picture of another kind, broken weights, and code of the repository: exit code 2."""
    assert "no such folder" in padfix("check", "nope").stderr
    assert "is a file" in padfix("check", models / "good/config.json").stderr
    assert ".svg or .png" in padfix("check", models / "good", "--attention", "x.gif").stderr
    folder = checkpoint(tmp_path / "broken")
    (folder / "model.safetensors").write_bytes(b"\0" * 100)
    broken = padfix("check", folder)
    assert (broken.returncode, "cannot load" in broken.stderr) == (2, True), broken.stderr
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"}
    config["model_type"] = "evil"
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "evil.py").write_text(
        f"open({str(tmp_path / 'owned')!r}, 'w')\nclass Config: pass\nclass Model: pass\n"
    )
    assert padfix("check", folder).returncode == 2
    assert not (tmp_path / "owned").exists()
