"""What a proof costs: its time as a multiple of one forward pass of the same padded batch, and its memory.

    python benchmarks/proof.py                      # Llama, BERT and T5 shapes of about 60 M parameters, 32 000 tokens
    python benchmarks/proof.py --shape llama
    python benchmarks/proof.py --vocab 128256 --dtype bfloat16

One process for each shape, one thread; each time is the CPU time of the best of three, so that a busy machine hardly
shows. The batch of the one pass is the proof's own mixed batch (rows of each pad length on each side), so the multiple
says how many such passes a proof is worth.
Memory is the growth of the process's peak over what the one pass needed.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from transformers import (
    BertConfig,
    BertForMaskedLM,
    LlamaConfig,
    LlamaForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)

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
    parser.add_argument("--shape", default="llama,bert,t5", help="of llama, bert, t5, separated by commas")
    args = parser.parse_args()
    torch.set_num_threads(1)
    shapes = args.shape.split(",")
    if len(shapes) == 1:
        return measure(shapes[0], args)
    for shape in shapes:  # a peak of memory belongs to its process
        sizes = (f"--{name}={getattr(args, name)}" for name in ("vocab", "hidden", "layers", "dtype"))
        subprocess.run([sys.executable, __file__, *sizes, f"--shape={shape}"], check=True)
    return None


def build(shape: str, args: argparse.Namespace) -> Any:
    """A model of this shape with random weights."""
    wide, heads = 3 * args.hidden, args.hidden // 64
    sizes: dict[str, Any] = {
        "vocab_size": args.vocab,
        "hidden_size": args.hidden,
        "num_attention_heads": heads,
    }
    if shape == "llama":
        return LlamaForCausalLM(LlamaConfig(**sizes, intermediate_size=wide, num_hidden_layers=args.layers))
    if shape == "bert":
        return BertForMaskedLM(BertConfig(**sizes, intermediate_size=wide, num_hidden_layers=args.layers))
    if shape == "t5":
        half = args.layers // 2  # so many in the encoder, and as many in the decoder
        config = T5Config(
            vocab_size=args.vocab,
            d_model=args.hidden,
            d_ff=wide,
            num_layers=half,
            num_decoder_layers=half,
            num_heads=heads,
            decoder_start_token_id=0,
        )
        return T5ForConditionalGeneration(config)
    raise SystemExit(f"--shape {shape}: one of llama, bert, t5")


def measure(shape: str, args: argparse.Namespace) -> None:
    """Print what a proof of one shape costs."""
    torch.manual_seed(0)
    model = build(shape, args).to(getattr(torch, args.dtype)).eval()
    tok = tiny_tokenizer("wordpiece", pad="[PAD]") if shape == "bert" else tiny_tokenizer(pad="<pad>")
    subject = subject_of(model, tok)
    rows = make_probe(subject, None).mixed()
    size = sum(p.numel() for p in model.parameters()) / 1e6
    print(
        f"{shape} shape, {size:.0f} M parameters, {args.vocab} tokens, {args.dtype}, torch {torch.__version__}, one thread"
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
        start = time.process_time()
        run()
        found.append(time.process_time() - start)
    return min(found)


def megabytes() -> float:
    """The peak resident size of this process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
