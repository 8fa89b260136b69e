"""The tiny-model builder: nearly every architecture, the shapes it promises, and no side effects."""

from __future__ import annotations

import pytest
import torch
import transformers

from padfix.testing import CannotBuildError, architectures, is_tied, tiny_config, tiny_model
from padfix.types import Head

# The most that may fail, by head, on each major: optional dependencies, assistants without their target
# model, retired architectures that the library itself can no longer build.
MAJOR = int(transformers.__version__.split(".")[0])
MOST_UNBUILDABLE: dict[int, dict[Head, int]] = {
    4: {"causal": 6, "masked": 1, "seq2seq": 1, "classifier": 3, "token-classifier": 2},
    5: {"causal": 3, "masked": 0, "seq2seq": 1, "classifier": 1, "token-classifier": 1},
}


@pytest.mark.parametrize(
    "head",
    [
        "causal",
        "masked",
        "seq2seq",
        pytest.param("classifier", marks=pytest.mark.slow),
        pytest.param("token-classifier", marks=pytest.mark.slow),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_nearly_every_architecture_is_built(head: Head) -> None:
    """All but a handful of architectures are built, and each of those is refused with its reason."""
    refused = {}
    for model_type in architectures(head):
        try:
            model = tiny_model(model_type, head)
        except CannotBuildError as error:
            refused[model_type] = str(error)
            continue
        assert not model.training
        assert sum(p.numel() for p in model.parameters()) < 60_000_000
    assert len(refused) <= MOST_UNBUILDABLE[MAJOR][head], refused
    assert all(name in reason for name, reason in refused.items())


def test_the_vocabulary_is_as_asked() -> None:
    """The vocabulary has exactly the wanted rows, 131 by default, nested text configurations included."""
    assert tiny_model("llama").get_input_embeddings().weight.shape[0] == 131
    assert tiny_model("gpt2", vocab_size=200).lm_head.weight.shape[0] == 200
    nested = tiny_config("gemma3", vocab_size=150)
    assert nested.get_text_config().vocab_size == 150


def test_special_ids_fit_and_stay_apart() -> None:
    """Ids above the vocabulary become the highest below it: equal stays equal, different different."""
    config = tiny_config("gpt2")
    assert config.bos_token_id == config.eos_token_id == 130  # both 50256 in GPT-2
    kimi = tiny_config("bailing_hybrid" if MAJOR == 5 else "gpt_neox_japanese")
    assert all(0 <= i < 131 for i in (kimi.bos_token_id, kimi.eos_token_id) if i is not None)
    assert tiny_config("llama").eos_token_id == 2


@pytest.mark.parametrize("model_type", ["llama", "gpt2", "qwen2"])
def test_tied_and_untied(model_type: str) -> None:
    """Both forms of the output matrix can be asked for."""
    assert is_tied(tiny_model(model_type, tied=True))
    assert not is_tied(tiny_model(model_type, tied=False))


def test_a_form_that_does_not_exist_is_refused() -> None:
    """A classifier has no output matrix to tie: refused, naming the class."""
    with pytest.raises(CannotBuildError, match="has no tied form"):
        tiny_model("llama", "classifier", tied=True)


def test_seeded_and_without_side_effect_on_the_random_state() -> None:
    """The same seed gives the same weights, another seed others; the global random state does not move."""
    before = torch.random.get_rng_state()
    one, two, three = tiny_model("llama"), tiny_model("llama"), tiny_model("llama", seed=1)
    assert torch.equal(torch.random.get_rng_state(), before)
    weights = [m.get_input_embeddings().weight for m in (one, two, three)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_dtype_and_overrides() -> None:
    """Fields of the configuration and the dtype are the caller's to choose."""
    model = tiny_model("mistral", dtype=torch.bfloat16, pad_token_id=5, num_hidden_layers=1)
    assert model.dtype == torch.bfloat16
    assert model.get_input_embeddings().padding_idx == 5
    assert model.config.num_hidden_layers == 1


def test_unknown_names_are_refused() -> None:
    """An unknown model type, and a head that an architecture does not have, are typed refusals."""
    with pytest.raises(CannotBuildError, match="knows no model type"):
        tiny_model("no-such-model")
    with pytest.raises(CannotBuildError, match="t5 has no masked head"):
        tiny_model("t5", "masked")
    with pytest.raises(ValueError, match="no head named"):
        architectures("generator")  # type: ignore[arg-type]
