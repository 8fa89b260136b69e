"""The pad check in distributed training: one rank reports, every rank stops before the first step.

    torchrun --nproc-per-node=2 examples/torchrun_check.py --pad eos        # stops
    torchrun --nproc-per-node=2 examples/torchrun_check.py --pad distinct   # trains two steps

Runs on the CPU (gloo) in a few seconds, with a tiny random model.
"""

from __future__ import annotations

import argparse
import os
import tempfile

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from transformers import DataCollatorForLanguageModeling, Trainer, TrainingArguments

from padfix import PadCheckCallback, PadfixError
from padfix.testing import tiny_model, tiny_tokenizer


def main() -> None:
    """Train two steps with each kind of pad, or stop."""
    parser = argparse.ArgumentParser(description="Pad check in distributed training.")
    parser.add_argument("--pad", nargs="+", choices=["eos", "distinct"], default=["eos"])
    parser.add_argument("--output", default=None)
    options = parser.parse_args()
    for pad in options.pad:
        said = train(pad, options.output or tempfile.mkdtemp())
        print(f"rank {os.environ.get('RANK', '0')}, pad {pad}: {said}", flush=True)


def train(pad: str, folder: str) -> str:
    """Two steps of a tiny model with transformers' own collator, which masks labels by id."""
    tok = tiny_tokenizer(pad="<pad>" if pad == "distinct" else None)
    if pad == "eos":
        tok.pad_token = tok.eos_token
    config_pad = tok.pad_token_id if pad == "distinct" else None
    ids = {"eos_token_id": tok.eos_token_id, "bos_token_id": None, "pad_token_id": config_pad}
    trainer = Trainer(
        tiny_model("llama", vocab_size=len(tok), **ids),
        TrainingArguments(
            folder,
            max_steps=2,
            per_device_train_batch_size=2,
            use_cpu=True,
            report_to=[],
            save_strategy="no",
            disable_tqdm=True,
        ),
        train_dataset=[
            dict(tok(text + tok.eos_token)) for text in ("the cat", "a mat", "on the mat", "the hat") * 4
        ],
        data_collator=DataCollatorForLanguageModeling(tok, mlm=False),
        processing_class=tok,
        callbacks=[PadCheckCallback()],
    )
    try:
        trainer.train()
    except PadfixError as error:
        codes = [line.split()[1] for line in str(error).splitlines() if line.startswith("  error")]
        return f"stopped before step 1: {' '.join(codes) or error}"
    return f"trained {trainer.state.global_step} steps"


if __name__ == "__main__":
    main()
