"""How long one audit takes as a whole process, beside what a user waits for anyway.

The budget: ``padfix audit FOLDER`` takes at most a fifth of ``from transformers import AutoTokenizer``. Both
are run in turn, so a busy machine slows both; CPU seconds (user and system) and wall seconds, best of N.

    python benchmarks/startup.py [FOLDER] [N]     # without a folder: a made-up tokenizer of Llama 3's size
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from audit import made_up

COMMANDS = {
    "import AutoTokenizer": ["-c", "from transformers import AutoTokenizer"],
    "padfix audit FOLDER": [
        "-c",
        "from padfix.cli.main import main; main()",
        "audit",
        "FOLDER",
        "--exit-zero",
    ],
    "padfix --help": ["-c", "from padfix.cli.main import main; main()", "--help"],
    "python -c pass": ["-c", "pass"],
}


def measure(arguments: list[str]) -> tuple[float, float]:
    """CPU and wall seconds of one process."""
    before, started = os.times(), time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
    after = os.times()
    cpu = after.children_user - before.children_user + after.children_system - before.children_system
    return cpu, time.perf_counter() - started


def main() -> None:
    """Measure on the folder that was named, or on a made-up one."""
    repeats = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    if len(sys.argv) > 1:
        sys.exit(compare(sys.argv[1], repeats))
    with tempfile.TemporaryDirectory() as made:
        made_up(Path(made))
        sys.exit(compare(str(Path(made, "llama-3")), repeats))


def compare(folder: str, repeats: int) -> int:
    """Print one line per command; 1 where the budget is exceeded."""
    best = dict.fromkeys(COMMANDS, (float("inf"), float("inf")))
    for _ in range(repeats):
        for name, arguments in COMMANDS.items():
            cpu, wall = measure([folder if part == "FOLDER" else part for part in arguments])
            best[name] = min(best[name][0], cpu), min(best[name][1], wall)
    for name, (cpu, wall) in best.items():
        print(f"{name:22}  {cpu:6.2f} s CPU  {wall:6.2f} s wall")
    share = best["padfix audit FOLDER"][0] / best["import AutoTokenizer"][0]
    print(f"an audit takes {share:.2f} of the import's CPU time; the budget is 0.20")
    return int(share > 0.2)


if __name__ == "__main__":
    main()
