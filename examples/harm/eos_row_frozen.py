"""pad = EOS written into the config: after a reload the EOS input row never trains again.

Llama and most others build `nn.Embedding(padding_idx=config.pad_token_id)`, and PyTorch gives that row no
gradient. Set on a live model the config does nothing, so a run behaves until it is resumed.
"""

from __future__ import annotations

import tempfile
from typing import Any

from transformers import AutoModelForCausalLM

import padfix
from padfix.testing import tiny_model, tiny_tokenizer


def fresh() -> tuple[Any, Any]:
    return tiny_model("llama"), tiny_tokenizer(eos="</s>", template="$A </s>", ids={"</s>": 2})


def eos_gradient_after_reload(model: Any, tok: Any) -> tuple[int, float]:
    """Save, load, and take one backward pass over a text in which a second turn follows EOS."""
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        model = AutoModelForCausalLM.from_pretrained(folder)
    table = model.get_input_embeddings()
    batch = tok("Hello.</s>What is 2 + 2?", return_tensors="pt")
    model(**batch, labels=batch["input_ids"]).loss.backward()
    index = -1 if table.padding_idx is None else table.padding_idx
    return index, float(table.weight.grad[tok.eos_token_id].norm())


def main() -> None:
    model, tok = fresh()
    tok.pad_token = tok.eos_token
    model.config.pad_token_id = tok.pad_token_id
    recipe_index, recipe_gradient = eos_gradient_after_reload(model, tok)

    model, tok = fresh()
    padfix.ensure_pad(model, tok, "eos")
    fixed_index, fixed_gradient = eos_gradient_after_reload(model, tok)

    print(
        f"EOS is {tok.eos_token_id}; padding_idx after a reload (-1: none): recipe {recipe_index}, padfix {fixed_index}"
    )
    print(f"gradient norm of the EOS input row: recipe {recipe_gradient:.6f}, padfix {fixed_gradient:.6f}")


if __name__ == "__main__":
    main()
