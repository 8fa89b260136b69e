"""Finding the tensors that token ids index."""

from __future__ import annotations

import pytest

from padfix.read.vocabulary import vocabulary
from padfix.testing import CannotBuildError, tiny_model


@pytest.mark.parametrize(
    ("model_type", "head", "names", "tied"),
    [
        ("llama", "causal", {"model.embed_tokens.weight", "lm_head.weight"}, False),
        ("gpt2", "causal", {"transformer.wte.weight", "lm_head.weight"}, True),
        ("phi", "causal", {"model.embed_tokens.weight", "lm_head.weight", "lm_head.bias"}, False),
        ("bart", "seq2seq", {"model.shared.weight", "lm_head.weight", "final_logits_bias"}, True),
        (
            "esm",
            "masked",
            {"esm.embeddings.word_embeddings.weight", "lm_head.decoder.weight", "lm_head.bias"},
            True,
        ),
        ("llama", "classifier", {"model.embed_tokens.weight"}, None),
    ],
)
def test_the_matrices_are_found_by_what_the_model_says(
    model_type: str, head: str, names: set[str], tied: bool | None
) -> None:
    """Input, output and bias, wherever the architecture keeps them, with the rows of each."""
    found = vocabulary(tiny_model(model_type, head))  # type: ignore[arg-type]
    assert {m.name for m in found.matrices if m.role != "other"} == names
    assert {m.rows for m in found.matrices if m.role != "other"} == {131}
    assert found.tied is tied
    assert found.others == ()


def test_matrices_of_different_heights_are_told_apart() -> None:
    """Mllama's input has 8 rows more than its head, and both are the truth."""
    try:
        model = tiny_model("mllama")
    except CannotBuildError as error:
        pytest.skip(str(error))
    found = vocabulary(model)
    assert found.input_rows is not None and found.output_rows is not None
    assert found.input_rows == found.output_rows + 8


def test_a_table_beside_them_is_reported() -> None:
    """A per-layer table of the same height is one that ids index, too."""
    from torch import nn

    model = tiny_model("llama")
    model.model.extra = nn.Embedding(131, 4)
    assert vocabulary(model).other_rows == (("model.extra.weight", 131),)


def test_a_model_without_a_text_embedding_has_none() -> None:
    """Nothing is guessed where the model names no input embedding."""
    from transformers import ViTConfig, ViTModel

    model = ViTModel(
        ViTConfig(
            hidden_size=8,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=8,
            image_size=8,
            patch_size=4,
        )
    )
    found = vocabulary(model)
    assert found.output is None and found.tied is None
    assert found.padding_idx is None


def test_packed_and_partial_weights_have_the_rows_of_the_whole() -> None:
    """A quantised weight's shape is not its rows, and ZeRO-3 leaves an empty tensor here."""
    import torch
    from torch import nn

    model = tiny_model("llama")
    packed = nn.Parameter(torch.zeros(131 * 16, 1, dtype=torch.uint8), requires_grad=False)
    model.lm_head.weight = packed
    assert vocabulary(model).output_rows == 131
    weight = model.model.embed_tokens.weight
    weight.data = torch.empty(0)
    weight.ds_shape = torch.Size([131, 32])
    assert vocabulary(model).input_rows == 131
