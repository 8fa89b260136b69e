"""What one new row costs: padfix, transformers with its defaults, without mean resizing, and a plain copy.

    python benchmarks/growth.py            # the full size: 128256 x 4096, untied, bf16 (needs 12 GB of memory)
    python benchmarks/growth.py --rows 32000 --width 2048

Each contender runs in a process of its own, on a Llama of one layer, and adds one row to both matrices. Time is
the call alone (``cpu s`` beside it counts out other load on the machine), memory what the process held at its peak
beyond what it held before the call. Before each call as much memory as it needs is touched and given back: the host
of a virtual machine may take seconds to hand out memory that lay idle, to whichever contender asks first. The exit code is 1 when padfix misses a limit: 1.6 x the plain copy, 15 x
faster than the defaults, 3 x faster than ``mean_resizing=False``, one grown matrix plus 64 MiB.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

CONTENDERS = {
    "copy": "plain copy of both matrices",
    "padfix": 'padfix.ensure_pad(model, tok, "add", init="mean", verify=False)',
    "no-mean": "resize_token_embeddings(n, mean_resizing=False)",
    "default": "resize_token_embeddings(n)",
}
MIB = 2**20


def build(rows: int, width: int) -> Any:
    """An untied bf16 Llama of one layer, filled with plausible values without 10 s of random numbers."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=rows, hidden_size=width, intermediate_size=64, num_hidden_layers=1, num_attention_heads=8,
        num_key_value_heads=8, tie_word_embeddings=False, bos_token_id=0, eos_token_id=1, pad_token_id=None,
    )  # fmt: skip
    with torch.device("meta"):
        model = LlamaForCausalLM(config).to(torch.bfloat16)
    model.to_empty(device="cpu")
    block = torch.randn(512, width, generator=torch.Generator().manual_seed(0)).mul_(0.02).to(torch.bfloat16)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim < 2 or parameter.shape[1] != width:
                parameter.fill_(0.5)
                continue
            for start in range(0, len(parameter), len(block)):
                part = parameter[start : start + len(block)]
                part.copy_(block[: len(part)])
    return model


def tokenizer(rows: int) -> Any:
    """A tokenizer whose vocabulary fills the model's rows, so that a new token needs a new row."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {"<s>": 0, "</s>": 1, **{f"w{i}": i for i in range(2, rows)}}
    backend = Tokenizer(models.WordLevel(words, unk_token="w2"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>")


def plain_copy(model: Any) -> None:
    """What cannot be avoided: allocate both matrices with one row more, and copy the old rows."""
    import torch

    for module in (model.model.embed_tokens, model.lm_head):
        old = module.weight
        new = torch.empty(old.shape[0] + 1, old.shape[1], dtype=old.dtype)
        new[:-1].copy_(old.detach())
        new[-1] = 0
        old.data = new


def action(contender: str, model: Any, rows: int) -> Callable[[], object]:
    """The call to be measured."""
    if contender == "copy":
        return lambda: plain_copy(model)
    if contender == "default":
        return lambda: model.resize_token_embeddings(rows + 1)
    if contender == "no-mean":
        return lambda: model.resize_token_embeddings(rows + 1, mean_resizing=False)
    import padfix

    padfix.ensure_pad(
        build(64, 8), tokenizer(64), "add", verify=False
    )  # imports, as transformers' are done by now
    tok = tokenizer(rows)
    return lambda: padfix.ensure_pad(model, tok, "add", init="mean", multiple_of=1, verify=False)


def peak() -> int:
    """The process's peak memory in bytes."""
    for line in Path("/proc/self/status").read_text("ascii").splitlines() if Path("/proc").exists() else ():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def touch(rows: int, width: int) -> None:
    """Have the memory of one grown matrix and some more at hand, for every contender alike."""
    import torch

    torch.zeros(rows + 1024, width, dtype=torch.bfloat16).fill_(1)


def measure(contender: str, rows: int, width: int) -> dict[str, float]:
    """Seconds and peak bytes of one contender, in this process."""
    import torch

    torch.set_num_threads(min(2, os.cpu_count() or 1))
    model = build(rows, width)
    call = action(contender, model, rows)
    touch(rows, width)
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", "ascii")  # Linux: the peak counts from here
    before = peak()
    start, used = time.perf_counter(), time.process_time()
    call()
    seconds, cpu = time.perf_counter() - start, time.process_time() - used
    assert model.get_input_embeddings().weight.shape == model.lm_head.weight.shape == (rows + 1, width)
    return {"seconds": seconds, "cpu": cpu, "bytes": peak() - before}


def run(contender: str, arguments: argparse.Namespace) -> dict[str, float]:
    """One contender in a process of its own."""
    command = [
        sys.executable,
        __file__,
        "--one",
        contender,
        "--rows",
        str(arguments.rows),
        "--width",
        str(arguments.width),
    ]
    environment = {**os.environ, "TRANSFORMERS_VERBOSITY": "error", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def main() -> int:
    """Print the table; 1 when padfix misses a limit."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=128256)
    parser.add_argument("--width", type=int, default=4096)
    parser.add_argument(
        "--repeat", type=int, default=5, help="runs of the two fastest contenders; the best counts"
    )
    parser.add_argument("--one", choices=CONTENDERS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(arguments.one, arguments.rows, arguments.width)))
        return 0

    runs: dict[str, list[dict[str, float]]] = {name: [] for name in CONTENDERS}
    for _ in range(arguments.repeat):
        for name in ("copy", "padfix"):
            runs[name].append(run(name, arguments))
    for name in ("no-mean", "default"):
        runs[name].append(run(name, arguments))
    seconds = {name: min(r["seconds"] for r in found) for name, found in runs.items()}  # all noise adds time
    cpu = {name: min(r["cpu"] for r in found) for name, found in runs.items()}
    memory = {name: max(r["bytes"] for r in found) for name, found in runs.items()}

    matrix = (arguments.rows + 1) * arguments.width * 2
    print(
        f"one row added to two {arguments.rows} x {arguments.width} bf16 matrices ({matrix / MIB:.0f} MiB each)\n"
    )
    print(f"{'':64} {'seconds':>8} {'x copy':>7} {'cpu s':>7} {'extra peak MiB':>15}")
    for name, label in CONTENDERS.items():
        print(
            f"{label:64} {seconds[name]:8.2f} {seconds[name] / seconds['copy']:7.1f} {cpu[name]:7.2f} {memory[name] / MIB:15.0f}"
        )
    limits = (
        ("x the plain copy", seconds["padfix"] / seconds["copy"], 1.6, "at most"),
        ("x faster than the defaults", seconds["default"] / seconds["padfix"], 15, "at least"),
        ("x faster than mean_resizing=False", seconds["no-mean"] / seconds["padfix"], 3, "at least"),
        ("MiB beyond one grown matrix", (memory["padfix"] - matrix) / MIB, 64, "at most"),
    )
    print()
    missed = 0
    for what, found, limit, side in limits:
        met = found <= limit if side == "at most" else found >= limit
        missed += not met
        print(f"{'ok  ' if met else 'MISS'} padfix: {found:.1f} {what} ({side} {limit})")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
