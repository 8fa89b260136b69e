"""`tok.pad_token = "[PAD]"` with a string the vocabulary does not have: the pad's id changes on reload.

Assigning a string adds no token. Until the tokenizer is saved the pad has no id, or silently that of
`unk`; after a reload it is a new id past the model's last row, and the first padded batch fails.
"""

from __future__ import annotations

import tempfile
from typing import Any

import torch
from transformers import AutoTokenizer

import padfix
from padfix.testing import tiny_model, tiny_tokenizer

TEXTS = ["The cat sat on the mat.", "Hello"]


def fresh() -> tuple[Any, Any]:
    return tiny_model("llama"), tiny_tokenizer(eos="</s>", unk="<unk>", ids={"</s>": 2, "<unk>": 0})


def reloaded(tok: Any) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        tok.save_pretrained(folder)
        return AutoTokenizer.from_pretrained(folder)


def runs(model: Any, tok: Any) -> int:
    """1 when a padded batch goes through the model, 0 when it does not."""
    try:
        with torch.no_grad():
            model(**tok(TEXTS, padding=True, return_tensors="pt", return_token_type_ids=False))
    except IndexError:
        return 0
    return 1


def main() -> None:
    model, tok = fresh()
    tok.pad_token = "[PAD]"
    recipe_before = tok.pad_token_id
    again = reloaded(tok)
    recipe_after, recipe_runs = again.pad_token_id, runs(model, again)

    model, tok = fresh()
    padfix.ensure_pad(model, tok, "add")
    fixed_before = tok.pad_token_id
    again = reloaded(tok)
    fixed_after, fixed_runs = again.pad_token_id, runs(model, again)

    print(f"unk is {tok.unk_token_id}; pad id before saving: recipe {recipe_before}, padfix {fixed_before}")
    print(f"pad id after a reload: recipe {recipe_after}, padfix {fixed_after}")
    print(f"a padded batch runs after the reload: recipe {recipe_runs}, padfix {fixed_runs}")


if __name__ == "__main__":
    main()
