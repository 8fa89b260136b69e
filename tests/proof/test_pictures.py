"""Attention on padding: plain numbers, and a picture of them as SVG or PNG."""

from __future__ import annotations

import functools
import json
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from padfix.errors import MissingDependencyError, PadfixError  # noqa: E402
from padfix.proof import prove  # noqa: E402
from padfix.proof.attention import AttentionMap, _shown  # noqa: E402
from padfix.proof.picture import svg  # noqa: E402
from padfix.testing import matching_tokenizer, tiny_model  # noqa: E402
from padfix.types import Verdict, to_plain  # noqa: E402


@pytest.fixture(scope="module")
def verdict() -> Verdict:
    model = tiny_model("llama")
    return prove(model, matching_tokenizer(model, pad="<pad>", padding_side="left"), attention=True)


def test_the_numbers_are_plain_and_complete(verdict: Verdict) -> None:
    """Tokens, mask, weights per query that sum to one, shares per layer: zero with the mask, not without."""
    data = verdict.attention
    assert isinstance(data, AttentionMap)
    assert json.loads(json.dumps(to_plain(data)))["side"] == "left"
    assert data.tokens[:4] == ("<pad>",) * 4
    assert data.mask == (0,) * 4 + (1,) * 9
    for query in range(4, 13):
        assert sum(data.heat[query]) == pytest.approx(1.0, abs=1e-5)
        assert data.heat[query][:4] == (0.0,) * 4
        assert sum(data.open_heat[query][:4]) > 0.1
    assert data.layers == (0.0, 0.0)
    assert min(data.open_layers) > 0.1


def test_the_svg_is_well_formed_and_says_what_it_shows(verdict: Verdict, tmp_path: Path) -> None:
    """plot() returns the SVG and writes it; both panels have a cell per pair of tokens."""
    target = tmp_path / "map.svg"
    picture = verdict.plot(str(target))
    assert target.read_text("utf-8") == picture
    root = ElementTree.fromstring(picture)
    texts = ["".join(element.itertext()) for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert any(text.startswith("Attention on padding: exactly 0 with the mask") for text in texts)
    titled = [r for r in root.iter("{http://www.w3.org/2000/svg}rect") if len(r)]
    assert len(titled) == 2 * 13 * 13


def test_the_png_is_a_picture(verdict: Verdict, tmp_path: Path) -> None:
    """plot("x.png") draws with matplotlib, without a display."""
    pytest.importorskip("matplotlib")
    target = tmp_path / "map.png"
    verdict.plot(str(target))
    assert target.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert target.stat().st_size > 10_000


def test_without_matplotlib_the_command_that_installs_it_is_named(
    verdict: Verdict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The SVG needs nothing; a PNG says what is missing."""
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingDependencyError, match=r'pip install "padfix\[plot\]"'):
        verdict.plot(str(tmp_path / "map.png"))
    assert verdict.plot().startswith("<svg")


def test_a_verdict_without_attention_says_how_to_ask() -> None:
    """And one that was asked for in vain says why there is none."""
    with pytest.raises(PadfixError, match="attention=True"):
        Verdict().plot()
    model = tiny_model("rwkv")
    asked = prove(model, matching_tokenizer(model, pad="<pad>"), attention=True)
    with pytest.raises(PadfixError, match="rwkv returns no attention weights"):
        asked.plot()


def test_an_unknown_kind_of_file_is_refused(verdict: Verdict, tmp_path: Path) -> None:
    """Only .svg and .png are written."""
    with pytest.raises(PadfixError, match=r"must end in \.svg or \.png"):
        verdict.plot(str(tmp_path / "map.gif"))


def test_hostile_tokens_stay_text() -> None:
    """Markup and control characters of a token never become part of the picture."""
    assert _shown("a\x1b[31m\x00\n") == "a·[31m··"
    assert len(_shown("x" * 500)) == 12
    data = AttentionMap(
        "right",
        ("</text><script>", "&b"),
        (1, 0),
        ((1.0, 0.0), (0.5, 0.5)),
        ((0.5, 0.5), (0.5, 0.5)),
        (0.0,),
        (0.5,),
    )
    root = ElementTree.fromstring(svg(data))
    assert not list(root.iter("{http://www.w3.org/2000/svg}script"))


@pytest.mark.parametrize(
    ("model_type", "head"), [("bert", "masked"), ("t5", "seq2seq"), ("bart", "seq2seq"), ("bert", "base")]
)
def test_other_architectures_have_their_attention_read_too(model_type: str, head: object) -> None:
    """Encoders, and the encoder's and cross attention of encoder-decoders."""
    model = tiny_model(model_type, head)  # type: ignore[arg-type]
    verdict = prove(model, matching_tokenizer(model, pad="<pad>"), attention=True)
    assert verdict["attention-zero"].passed
    assert isinstance(verdict.attention, AttentionMap)


@pytest.mark.parametrize("group", ["encoder_attentions", "decoder_attentions", "cross_attentions"])
@pytest.mark.parametrize("model_type", ["t5", "bart"])
def test_every_attention_of_an_encoder_decoder_counts(model_type: str, group: str) -> None:
    """A weight of one thousandth on masked keys of the encoder, the decoder or between the two is seen."""
    model = tiny_model(model_type, "seq2seq")
    own = model.forward

    @functools.wraps(own)
    def forward(*args: Any, **kwargs: Any) -> Any:
        output = own(*args, **kwargs)
        if output.get(group) is not None:
            output[group] = tuple(layer + 1e-3 for layer in output[group])
        return output

    model.forward = forward
    check = prove(model, matching_tokenizer(model, pad="<pad>"), attention=True)["attention-zero"]
    assert not check.passed
    assert check.observed == pytest.approx(1e-3)


def test_attention_is_measured_with_eager_attention_and_put_back() -> None:
    """SDPA returns no weights; the implementation is switched for the measurement only."""
    model = tiny_model("llama")
    model.set_attn_implementation("sdpa")
    verdict = prove(model, matching_tokenizer(model, pad="<pad>"), attention=True)
    assert verdict["attention-zero"].passed
    assert model.config._attn_implementation == "sdpa"


@pytest.mark.parametrize(
    ("model_type", "head"),
    [
        ("gpt2", "causal"),
        ("llama", "causal"),
        ("jamba", "causal"),
        ("t5", "seq2seq"),
        ("bart", "seq2seq"),
    ],
)
def test_a_batch_generates_what_each_prompt_generates_alone(model_type: str, head: object) -> None:
    """generate() derives position ids itself, so even GPT-2 padded on the left agrees."""
    model = tiny_model(model_type, head)  # type: ignore[arg-type]
    verdict = prove(model, matching_tokenizer(model, pad="<pad>"), generate=True)
    assert verdict["generation-kept"].passed


def test_generation_with_leaking_padding_names_the_leak() -> None:
    """RWKV generates something else from a left-padded prompt, because its state read the padding."""
    model = tiny_model("rwkv")
    check = prove(model, matching_tokenizer(model, pad="<pad>"), generate=True)["generation-kept"]
    assert not check.passed
    assert "a recurrent state runs over the padding" in check.cause


def test_what_cannot_generate_is_untested() -> None:
    """An encoder has no generate()."""
    model = tiny_model("bert", "masked")
    verdict = prove(model, matching_tokenizer(model, pad="<pad>"), generate=True)
    assert "generation-kept: BertForMaskedLM does not generate" in verdict.untested
