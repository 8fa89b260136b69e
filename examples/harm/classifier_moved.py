"""pad = EOS on a classifier: a text that ends in EOS is scored one token early, even alone.

Decoder classifiers pool the last token that is not the pad id. When the pad is EOS, that skips the EOS the
model was trained to score at. padfix adds a pad of its own, and the score stays.
"""

from __future__ import annotations

from typing import Any

import torch

import padfix
from padfix.testing import tiny_model, tiny_tokenizer

TEXTS = ["The cat sat on the mat.", "Hello"]


def fresh() -> tuple[Any, Any]:
    return (
        tiny_model("llama", "classifier", num_labels=2),
        tiny_tokenizer(eos="</s>", template="$A </s>", ids={"</s>": 2}),
    )


def score(model: Any, tok: Any, texts: list[str]) -> torch.Tensor:
    with torch.no_grad():
        return model(**tok(texts, padding=len(texts) > 1, return_tensors="pt")).logits


def main() -> None:
    model, tok = fresh()
    before = torch.cat([score(model, tok, [text]) for text in TEXTS])  # no pad: one at a time is all there is

    tok.pad_token = tok.eos_token
    model.config.pad_token_id = tok.pad_token_id
    recipe_alone = (score(model, tok, TEXTS[:1]) - before[:1]).abs().max()
    recipe_batch = (score(model, tok, TEXTS) - before).abs().max()

    model, tok = fresh()
    padfix.ensure_pad(model, tok, "add")
    fixed_alone = (score(model, tok, TEXTS[:1]) - before[:1]).abs().max()
    fixed_batch = (score(model, tok, TEXTS) - before).abs().max()

    print(f"scores spread over {float(before.max() - before.min()):.4f}")
    print(f"score moved, batch of one: recipe {recipe_alone:.6f}, padfix {fixed_alone:.6f}")
    print(f"score moved, batch of two: recipe {recipe_batch:.6f}, padfix {fixed_batch:.6f}")


if __name__ == "__main__":
    main()
