"""`resize_token_embeddings(len(tok))` on a model with spare rows: trained rows are deleted, silently.

Qwen, Gemma, OLMo and Phi have more embedding rows than tokens. The usual recipe after adding a pad sizes
the matrices to `len(tok)`, which is fewer: the checkpoint no longer fits its base, adapters or drafts.
padfix puts the pad into a spare row and touches no matrix.
"""

from __future__ import annotations

from typing import Any

import torch

import padfix
from padfix.testing import tiny_model, tiny_tokenizer

ROWS, TOKENS = 160, 131


def fresh() -> tuple[Any, Any]:
    return tiny_model("qwen2", vocab_size=ROWS, eos_token_id=2), tiny_tokenizer(eos="</s>", ids={"</s>": 2})


def rows(model: Any) -> int:
    return int(model.get_input_embeddings().weight.shape[0])


def fits(model: Any, base: Any) -> int:
    """How many of the base's tensors this model can still load."""
    own = model.state_dict()
    return sum(own[name].shape == tensor.shape for name, tensor in base.state_dict().items())


def main() -> None:
    base, tok = fresh()
    batch = tok("The cat sat on the mat.", return_tensors="pt")
    with torch.no_grad():
        before = base(**batch).logits

    recipe, tok = fresh()
    tok.add_special_tokens({"pad_token": "[PAD]"})
    recipe.resize_token_embeddings(len(tok))

    fixed, tok = fresh()
    report = padfix.ensure_pad(fixed, tok)
    with torch.no_grad():
        after = fixed(**batch).logits

    n = len(base.state_dict())
    print(f"rows of {ROWS} that are left: recipe {rows(recipe)}, padfix {rows(fixed)}")
    print(
        f"tensors of {n} that the base can still exchange: recipe {fits(recipe, base)}, padfix {fits(fixed, base)}"
    )
    print(f"padfix took the rung {report.plan.rung!r}: {report.plan.pad}")
    print(f"logits that moved: padfix {int((before != after).sum())} of {before.numel()}")


if __name__ == "__main__":
    main()
