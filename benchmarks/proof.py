"""What a proof costs: its time as a multiple of one forward pass of the same padded batch, and its memory.

    python benchmarks/proof.py                      # a Llama shape of 60 M parameters, 32 000 tokens, fp32
    python benchmarks/proof.py --vocab 128256 --dtype bfloat16

One process, one thread; each time is the best of three. The batch of the one pass is the proof's own mixed
batch (rows of each pad length on each side), so the multiple says how many such passes a proof is worth.
Memory is the growth of the process's peak over what the one pass needed.
"""

from __future__ import annotations

import argparse
import os
import resource
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from padfix.proof import capture, prove
from padfix.proof.probes import make_probe
from padfix.proof.run import forward
from padfix.proof.subject import quiet, subject_of
from padfix.testing import tiny_tokenizer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--vocab", type=int, default=32_000)
    parser.add_argument("--hidden", type=int, default=512)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16", "float16"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=args.vocab,
        hidden_size=args.hidden,
        intermediate_size=3 * args.hidden,
        num_hidden_layers=args.layers,
        num_attention_heads=args.hidden // 64,
    )
    model = LlamaForCausalLM(config).to(getattr(torch, args.dtype)).eval()
    tok = tiny_tokenizer(pad="<pad>")
    subject = subject_of(model, tok)
    rows = make_probe(subject, None).mixed()
    size = sum(p.numel() for p in model.parameters()) / 1e6
    print(
        f"Llama shape, {size:.0f} M parameters, {args.vocab} tokens, {args.dtype}, torch {torch.__version__}, one thread"
    )
    print(f"padded batch: {len(rows)} rows x {rows[0].width} tokens")

    def one_pass() -> None:
        with quiet(subject):
            forward(subject, rows, (0,))

    one = best(one_pass)
    peak = megabytes()
    passes: list[int] = []
    hook = model.register_forward_hook(lambda *_: passes.append(1))
    prove(model, tok, baseline=capture(model, tok))
    hook.remove()
    grown = megabytes() - peak
    baseline = capture(model, tok)
    before = best(lambda: capture(model, tok))
    after = best(lambda: prove(model, tok, baseline=baseline))
    print(f"{'':24}{'seconds':>9}{'passes':>9}")
    for name, seconds in (("one forward pass", one), ("capture (before)", before), ("prove (after)", after)):
        print(f"{name:24}{seconds:9.3f}{seconds / one:8.2f}x")
    print(
        f"{'whole proof':24}{before + after:9.3f}{(before + after) / one:8.2f}x   ({len(passes)} forward passes)"
    )
    print(f"extra peak memory over one pass: {grown:.0f} MiB")


def best(run: Callable[[], Any], times: int = 3) -> float:
    """The shortest of a few runs, in seconds."""
    found = []
    for _ in range(times):
        start = time.perf_counter()
        run()
        found.append(time.perf_counter() - start)
    return min(found)


def megabytes() -> float:
    """The peak resident size of this process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
