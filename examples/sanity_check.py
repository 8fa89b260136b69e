"""Find out in a second why a fine-tuned model would never stop, and fix it in one line.

python examples/sanity_check.py
"""

from __future__ import annotations

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from transformers import DataCollatorForLanguageModeling

import padfix
from padfix.testing import tiny_model, tiny_tokenizer

tok = tiny_tokenizer(vocab_size=128)
tok.pad_token = tok.eos_token  # what the error message of transformers suggests
model = tiny_model(
    "llama", vocab_size=len(tok), eos_token_id=tok.eos_token_id, bos_token_id=None, pad_token_id=None
)
model.generation_config.pad_token_id = tok.pad_token_id
rows = [tok(text + tok.eos_token) for text in ("the cat sat", "on the mat", "there")]
collator = DataCollatorForLanguageModeling(tok, mlm=False)

print("--- the usual set-up")
print(padfix.sanity_check(model, tok, data=rows, collator=collator))

print("\n--- labels masked by position")
print(padfix.sanity_check(model, tok, data=rows, collator=padfix.positional_labels(collator), step=True))
