"""What `sanity_check` costs, in training steps of the same batch.

    python benchmarks/sanity.py [--hidden 512] [--layers 6] [--rows 8] [--length 256] [--vocabulary 32000]

Prints, for a Llama of that size on the CPU in float32: one training step (forward, backward, AdamW) on a
batch, the default check on the same rows, and the check with ``step=True``; medians of several runs. The
default check must cost less than one step; the exit code is 1 when it does not.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import torch
from transformers import DataCollatorForLanguageModeling, LlamaConfig, LlamaForCausalLM

import padfix
from padfix.testing import tiny_tokenizer


def main() -> int:
    """Measure and print; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, value in {
        "hidden": 512,
        "layers": 6,
        "rows": 8,
        "length": 256,
        "vocabulary": 32000,
        "runs": 5,
    }.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--side", choices=["right", "left"], default="right")
    size = parser.parse_args()
    torch.set_num_threads(1)

    tok = tiny_tokenizer(pad="<pad>", vocab_size=size.vocabulary, padding_side=size.side)
    config = LlamaConfig(
        vocab_size=size.vocabulary,
        hidden_size=size.hidden,
        intermediate_size=size.hidden * 3,
        num_hidden_layers=size.layers,
        num_attention_heads=8,
        pad_token_id=tok.pad_token_id,
        eos_token_id=tok.eos_token_id,
        bos_token_id=None,
    )
    model = LlamaForCausalLM(config).train()
    collator = DataCollatorForLanguageModeling(tok, mlm=False)
    rows = [
        dict(tok("the cat " * (size.length * (k + 1) // (4 * size.rows)) + tok.eos_token))
        for k in range(size.rows)
    ]
    batch = collator(rows)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5)

    def train() -> None:
        optimizer.zero_grad()
        model(**batch).loss.backward()
        optimizer.step()

    def default() -> None:
        padfix.sanity_check(model, tok, data=rows, collator=collator)

    def proven() -> None:
        padfix.sanity_check(model, tok, data=rows, collator=collator, step=True)

    parameters = sum(parameter.numel() for parameter in model.parameters())
    print(
        f"Llama, {parameters / 1e6:.1f} M parameters, vocabulary {size.vocabulary}, batch {tuple(batch['input_ids'].shape)}, "
        f"padded on the {size.side}, float32, 1 thread"
    )
    step = median(train, size.runs)
    print(f"one training step         {step * 1e3:9.1f} ms")
    cost = median(default, size.runs)
    print(f"sanity_check              {cost * 1e3:9.1f} ms   {cost / step:5.2f} steps")
    cost_proven = median(proven, size.runs)
    print(f"sanity_check(step=True)   {cost_proven * 1e3:9.1f} ms   {cost_proven / step:5.2f} steps")
    return int(cost >= step)


def median(work: Callable[[], None], runs: int) -> float:
    """Seconds of CPU time, after one run to warm up: a busy machine does not count."""
    work()
    times = []
    for _ in range(runs):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return statistics.median(times)


if __name__ == "__main__":
    sys.exit(main())
