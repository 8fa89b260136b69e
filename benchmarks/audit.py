"""Auditing repositories from their files against loading them: CPU time per repository, start-up, memory.

``python benchmarks/audit.py [FOLDER]`` reads every tokenizer below FOLDER (default: ``$PADFIX_CORPUS``, else
``../shared/corpus``, else four that it makes up in the sizes of real ones) with `padfix.audit`, every rule included,
and, in the same run, with ``AutoTokenizer`` and ``AutoConfig``.
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import json
import logging
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

ROOT = Path(__file__).resolve().parent.parent
CORPUS = Path(os.environ.get("PADFIX_CORPUS", ROOT.parent / "shared" / "corpus"))
ROUNDS = 12
WARM = 4  # rounds until both sides have all the memory that they will use again


def folders(root: Path) -> list[Path]:
    """Every folder with a tokenizer or a config."""
    names = ("tokenizer_config.json", "tokenizer.json", "config.json")
    return sorted({path.parent for name in names for path in root.rglob(name)})


def made_up(root: Path) -> None:
    """Tokenizers in the sizes and layouts of GPT-2, Llama 3, BERT and T5, of words that mean nothing."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    letters = [chr(c) for c in (*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x144))]
    words = letters + ["".join(pair) for pair in itertools.product(letters, letters)]
    words += [a + b for a in words[len(letters) :] for b in letters[:3]]
    merges = [(w[:-1], w[-1]) for w in words[len(letters) :]]
    for name, model_type, size in (("gpt2", "gpt2", 50_000), ("llama-3", "llama", 128_000), ("bert", "bert", 30_000), ("t5", "t5", 32_000)):  # fmt: skip
        table = {word: i for i, word in enumerate(words[:size])}
        model: object
        if name == "bert":
            model = models.WordPiece({**table, "[UNK]": size}, unk_token="[UNK]")
        elif name == "t5":
            model = models.Unigram([(word, -float(i)) for word, i in table.items()], 0, False)
        else:
            model = models.BPE(table, merges[: size - len(letters)])
        tokenizer = Tokenizer(model)
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel() if isinstance(model, models.BPE) else None
        tokenizer.add_special_tokens([f"<|special_{i}|>" for i in range(256 if name == "llama-3" else 3)])
        (root / name).mkdir(parents=True)
        tokenizer.save(str(root / name / "tokenizer.json"))
        settings = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|special_0|>"}
        (root / name / "tokenizer_config.json").write_text(json.dumps(settings), "utf-8")
        (root / name / "config.json").write_text(json.dumps({"model_type": model_type}), "utf-8")


def audit_side() -> Callable[[Path], object]:
    """What padfix does with a folder: every fact and every rule."""
    from padfix import audit

    return audit


def load_side() -> Callable[[Path], object]:
    """What a user would write instead: the tokenizer and the config, loaded."""
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    from transformers import AutoConfig, AutoTokenizer

    def load(folder: Path) -> None:
        if (folder / "config.json").exists():
            with contextlib.suppress(Exception):  # an unknown architecture; its tokenizer may still load
                AutoConfig.from_pretrained(folder, trust_remote_code=False)
        AutoTokenizer.from_pretrained(folder, trust_remote_code=False)

    return load


def serve(side: Callable[[Path], object], found: list[Path]) -> int:
    """For each line of stdin a round over all folders: CPU seconds for each, and the most memory so far in KiB."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints is not an answer
    for _ in sys.stdin:
        times = []
        for folder in found:
            gc.collect()
            started = time.process_time()
            with contextlib.suppress(Exception):  # both sides refuse some folders, each in its own words
                side(folder)
            times.append(time.process_time() - started)
        answer = json.dumps([times, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss])
        print(answer, file=answers, flush=True)
    return 0


def rounds(root: Path) -> tuple[list[list[float]], int]:
    """For each side the fastest of `ROUNDS` for each folder, and how many KiB padfix grew after its first rounds.

    The sides are two processes that take turns, so that a slow minute of the machine is one for both.
    """
    workers = [
        subprocess.Popen([sys.executable, __file__, side, str(root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for side in SIDES
    ]  # fmt: skip
    answers: list[list[tuple[list[float], int]]] = [[] for _ in workers]
    for _ in range(ROUNDS):
        for worker, kept in zip(workers, answers, strict=True):
            assert worker.stdin is not None and worker.stdout is not None
            worker.stdin.write("\n")
            worker.stdin.flush()
            kept.append(tuple(json.loads(worker.stdout.readline())))
    for worker in workers:
        worker.communicate()
    fastest = [[min(times) for times in zip(*(times for times, _ in kept), strict=True)] for kept in answers]
    return fastest, answers[0][-1][1] - answers[0][WARM][1]


def process(*command: str) -> float:
    """Seconds of a whole process, the fastest of `ROUNDS`. Raises where it does not do its work."""
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
    if len(sys.argv) == 3 and sys.argv[1] in SIDES:
        return serve(SIDES[sys.argv[1]](), folders(Path(sys.argv[2])))
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else CORPUS
    with tempfile.TemporaryDirectory() as made:
        if not folders(root):
            print(
                f"no tokenizers at {root}: made-up ones are read (name a folder or set PADFIX_CORPUS for others)"
            )
            root = Path(made)
            made_up(root)
        return compare(root)


def compare(root: Path) -> int:
    """One table over all folders below ``root``."""
    found = folders(root)
    fastest, grown = rounds(root)
    ours, theirs = (dict(zip(found, times, strict=True)) for times in fastest)
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

    print(f"memory after {(ROUNDS - 1 - WARM) * len(found)} more audits: {grown / 1024:+.1f} MiB at the peak")

    started = process(sys.executable, "-c", "from padfix import audit; import padfix.read.repo, padfix.rules")
    auto = process(sys.executable, "-c", "from transformers import AutoTokenizer")
    print(f"start-up: padfix {started * 1e3:.0f} ms, transformers {auto * 1e3:.0f} ms")
    largest = max(found, key=lambda folder: ours[folder])
    for folder in dict.fromkeys((found[0], largest)):
        whole = process(str(Path(sys.executable).with_name("padfix")), "audit", str(folder))
        share = f"1/{auto / whole:.1f} of importing AutoTokenizer"
        print(f"padfix audit {folder.relative_to(root)} as a process: {whole * 1e3:.0f} ms, {share}")
    return 0


SIDES = {"padfix": audit_side, "transformers": load_side}

if __name__ == "__main__":
    sys.exit(main())
