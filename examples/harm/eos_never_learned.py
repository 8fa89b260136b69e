"""pad = EOS with transformers' own language-model collator: the model never learns to stop.

`DataCollatorForLanguageModeling` hides every label that equals the pad id. With pad = EOS that hides the
EOS that ends each text, so nothing teaches the model to end one. Here a tiny model learns eight
sentences by heart, twice: with `tok.pad_token = tok.eos_token`, and with the pad that padfix gives.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import DataCollatorForLanguageModeling

import padfix
from padfix.testing import tiny_model, tiny_tokenizer

SENTENCES = [
    "one cat",
    "two dogs",
    "six red hens",
    "a big ox",
    "my old hat",
    "we sing",
    "they ran off",
    "go home",
]
STEPS, LONGEST = 60, 24


def train(model: Any, tok: Any) -> int:
    """Learn the sentences by heart; returns how many EOS labels one epoch showed."""
    collator = DataCollatorForLanguageModeling(tok, mlm=False)
    batch = collator([{"input_ids": tok(text)["input_ids"]} for text in SENTENCES])
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-2)
    model.train()
    for _ in range(STEPS):
        optimizer.zero_grad()
        model(**batch).loss.backward()
        optimizer.step()
    model.eval()
    return int((batch["labels"] == tok.eos_token_id).sum())


def stops(model: Any, tok: Any) -> int:
    """How many of the sentences end, continued greedily from their first letters."""
    ended = 0
    for text in SENTENCES:
        ids = torch.tensor([tok(text, add_special_tokens=False)["input_ids"][:2]])
        with torch.no_grad():
            for _ in range(LONGEST):
                ids = torch.cat([ids, model(input_ids=ids).logits[:, -1:].argmax(-1)], dim=1)
                if int(ids[0, -1]) == tok.eos_token_id:
                    ended += 1
                    break
    return ended


def fresh() -> tuple[Any, Any]:
    return tiny_model("llama", num_hidden_layers=1), tiny_tokenizer(
        eos="</s>", template="$A </s>", ids={"</s>": 2}
    )


def main() -> None:
    model, tok = fresh()
    tok.pad_token = tok.eos_token
    recipe_labels, recipe_stops = train(model, tok), stops(model, tok)

    model, tok = fresh()
    padfix.ensure_pad(model, tok, "add")
    fixed_labels, fixed_stops = train(model, tok), stops(model, tok)

    print(f"EOS labels in a batch of {len(SENTENCES)} texts: recipe {recipe_labels}, padfix {fixed_labels}")
    print(f"texts that end within {LONGEST} tokens: recipe {recipe_stops}, padfix {fixed_stops}")


if __name__ == "__main__":
    main()
