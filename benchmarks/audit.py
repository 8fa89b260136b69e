"""Reading repositories from files against loading them: CPU time per repository, start-up, memory.

``python benchmarks/audit.py [FOLDER]`` reads every tokenizer below FOLDER (default: ``$PADFIX_CORPUS``, else
``../shared/corpus``) with `read_repo` and, in the same run, with ``AutoTokenizer`` and ``AutoConfig``.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import resource
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

ROOT = Path(__file__).resolve().parent.parent
CORPUS = Path(os.environ.get("PADFIX_CORPUS", ROOT.parent / "shared" / "corpus"))
ROUNDS = 3


def folders(root: Path) -> list[Path]:
    """Every folder with a tokenizer or a config."""
    names = ("tokenizer_config.json", "tokenizer.json", "config.json")
    return sorted({path.parent for name in names for path in root.rglob(name)})


def best(action: Callable[[], object]) -> float:
    """CPU seconds of the fastest of a few rounds; a refusal costs what it costs."""
    times = []
    for _ in range(ROUNDS):
        gc.collect()
        started = time.process_time()
        with contextlib.suppress(Exception):  # both sides refuse some folders, each in its own words
            action()
        times.append(time.process_time() - started)
    return min(times)


def process(*command: str) -> float:
    """Seconds of a whole process, the fastest of three. Raises where it does not do its work."""
    times = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        times.append(time.perf_counter() - started)
        if done.returncode not in (0, 1) or "Traceback" in done.stderr or "No module" in done.stderr:
            raise SystemExit(f"{' '.join(command)} failed with {done.returncode}: {done.stderr[-500:]}")
    return min(times)


def main() -> int:
    """Print the table, the totals, memory and start-up."""
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else CORPUS
    found = folders(root)
    if not found:
        print(f"no tokenizers at {root}; name a folder or set PADFIX_CORPUS")
        return 0
    from padfix.read.repo import read_repo
    from padfix.read.source import open_source

    ours = {folder: best(lambda folder=folder: read_repo(open_source(folder))) for folder in found}
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    from transformers import AutoConfig, AutoTokenizer

    def load(folder: Path) -> None:
        if (folder / "config.json").exists():
            with contextlib.suppress(Exception):  # an unknown architecture; its tokenizer may still load
                AutoConfig.from_pretrained(folder, trust_remote_code=False)
        AutoTokenizer.from_pretrained(folder, trust_remote_code=False)

    theirs = {folder: best(lambda folder=folder: load(folder)) for folder in found}
    ratios = [theirs[f] / ours[f] for f in found]
    print(f"{'repository':<44}{'padfix':>10}{'transformers':>14}{'ratio':>8}")
    for folder in found:
        ratio = theirs[folder] / ours[folder]
        print(
            f"{str(folder.relative_to(root))[:43]:<44}{ours[folder] * 1e3:>7.1f} ms{theirs[folder] * 1e3:>11.1f} ms{ratio:>7.0f}x"
        )
    total = sum(theirs.values()) / sum(ours.values())
    print(
        f"\n{len(found)} repositories: {sum(ours.values()):.3f} s against {sum(theirs.values()):.3f} s, {total:.0f}x in all"
    )
    print(
        f"per repository: median {statistics.median(ratios):.0f}x, least {min(ratios):.0f}x, most {max(ratios):.0f}x"
    )

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(5):
        for folder in found:
            best_effort(folder, read_repo, open_source)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(f"memory after {5 * len(found)} more reads: {grown / 1024:+.1f} MiB at the peak")

    started = process(sys.executable, "-c", "from padfix.read.repo import read_repo")
    auto = process(sys.executable, "-c", "from transformers import AutoTokenizer")
    print(f"start-up: reader {started * 1e3:.0f} ms, transformers {auto * 1e3:.0f} ms")
    largest = max(found, key=lambda folder: ours[folder])
    for folder in dict.fromkeys((found[0], largest)):
        whole = process(str(Path(sys.executable).with_name("padfix")), "audit", str(folder))
        share = f"1/{auto / whole:.1f} of importing AutoTokenizer"
        print(f"padfix audit {folder.relative_to(root)} as a process: {whole * 1e3:.0f} ms, {share}")
    return 0


def best_effort(folder: Path, read: Callable[..., object], opened: Callable[..., object]) -> None:
    """Read, whatever comes of it."""
    with contextlib.suppress(OSError):
        read(opened(folder))


if __name__ == "__main__":
    sys.exit(main())
