"""A zero row for the new pad on tied weights: the pad becomes the most likely token.

A row of zeros gives logit 0. Many trained models have logits far below 0, so 0 wins: generation emits
[PAD] and nothing else. Old logits do not move by a bit, so comparing those notices nothing. padfix
measures p(pad), rolls the zero row back, and its mean row keeps p(pad) at or below 1/(V+1).
"""

from __future__ import annotations

from typing import Any

import torch

import padfix
from padfix.testing import tiny_model, tiny_tokenizer


def fresh() -> tuple[Any, Any]:
    """A tied GPT-2 shape whose logits are all around -18, as those of GPT-2 itself are around -33 to -100."""
    model = tiny_model("gpt2", tied=True)
    with torch.no_grad():
        direction = torch.nn.functional.normalize(torch.ones(model.config.n_embd), dim=0)
        model.transformer.wte.weight.sub_(1.8 * direction)
        model.transformer.ln_f.bias.add_(10.0 * direction)
    return model, tiny_tokenizer(ids={"<|endoftext|>": 130})


def pad_probability(model: Any, tok: Any) -> tuple[float, float]:
    """The largest p(pad) over a text's positions, and the share of positions where the pad is first."""
    with torch.no_grad():
        logits = model(**tok("The cat sat on the mat.", return_tensors="pt")).logits[0]
    first = (logits.argmax(-1) == tok.pad_token_id).float().mean()
    return float(logits.softmax(-1)[:, tok.pad_token_id].max()), float(first)


def main() -> None:
    model, tok = fresh()
    tok.add_special_tokens({"pad_token": "[PAD]"})
    model.resize_token_embeddings(len(tok), mean_resizing=False)
    with torch.no_grad():
        model.get_input_embeddings().weight[tok.pad_token_id] = 0
    recipe, recipe_first = pad_probability(model, tok)

    model, tok = fresh()
    try:
        padfix.ensure_pad(model, tok, "add", init="zero")
        refused = 0
    except padfix.VerificationError as error:
        refused = 1
        print(f"padfix, asked for the same: {error}")
    rows_after_refusal = model.get_input_embeddings().weight.shape[0]
    padfix.ensure_pad(model, tok, "add", init="mean")
    fixed, fixed_first = pad_probability(model, tok)

    print(f"zero row rolled back: padfix {refused}, rows left at {rows_after_refusal}")
    print(f"p(pad): recipe {recipe:.6f}, padfix {fixed:.6f} (bound {1 / (len(tok)):.6f})")
    print(
        f"share of positions where the pad comes first: recipe {recipe_first:.2f}, padfix {fixed_first:.2f}"
    )


if __name__ == "__main__":
    main()
