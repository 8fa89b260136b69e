"""Break padfix in many ways, one at a time, and show that the tests catch each.

Every mutation replaces one piece of source text in a temporary copy of ``src``; the tests named beside it
run against that copy and must fail. The unbroken copy must pass all of them first. A mutation whose text is
not found any more fails the check as well: it has to follow the code.

    python scripts/mutation_check.py                 # all
    python scripts/mutation_check.py --only "bias"   # those whose name holds a word
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LIMIT = 900  # seconds for one run of tests

WRITE = ("tests/write/test_growth.py", "tests/write/test_transaction.py")
PROOF = ("tests/proof/test_checks.py",)
SWEEP = ("tests/test_sweep.py",)
STRATEGY = ("tests/test_vetting.py", "tests/test_strategies.py", "tests/test_ensure_pad.py")


@dataclass(frozen=True)
class Mutation:
    """One way to break the library: ``old`` becomes ``new`` in a module, and these tests must notice."""

    name: str
    module: str
    old: str
    new: str
    tests: tuple[str, ...]


MUTATIONS = (
    # writing weights
    Mutation(
        "an old row is changed in its last bit",
        "write/embeddings.py",
        "    return data, mean\n",
        "    data.reshape(-1)[:1].view(torch.uint8)[0] ^= 1\n    return data, mean\n",
        (*WRITE, *SWEEP),
    ),
    Mutation(
        "one row too few",
        "write/embeddings.py",
        "    shape[table.dim] = table.after\n",
        "    shape[table.dim] = table.after - 1\n",
        (*WRITE, *SWEEP),
    ),
    Mutation(
        "shrink by one",
        "write/live.py",
        "            if edit.after < edit.before:",
        "            if edit.after < edit.before - 1:",
        (*WRITE, "tests/write/test_shrink.py"),
    ),
    Mutation(
        "matrices are sized to the tokenizer, spare rows cut",
        "edits.py",
        "        if rows is not None and rows <= new.id:",
        "        if rows is not None:",
        (*STRATEGY, "tests/test_harm.py"),
    ),
    Mutation(
        "the wrong row is overwritten",
        "write/embeddings.py",
        "            weight[row] = content\n",
        "            weight[row - 1] = content\n",
        (*WRITE, *STRATEGY),
    ),
    Mutation(
        "the new row is zero where the mean was asked",
        "write/embeddings.py",
        '        new.copy_(_finite(mean, rows, table.name) if table.fill == "mean" else torch.zeros_like(mean))',
        "        new.copy_(torch.zeros_like(mean))",
        (*WRITE, *SWEEP),
    ),
    Mutation(
        "an untied output row is zero too",
        "write/survey.py",
        '"zero" if init == "zero" and not looked_up.isdisjoint(names) else "mean"',
        '"zero" if init == "zero" else "mean"',
        WRITE,
    ),
    Mutation(
        "the output bias is forgotten",
        "write/survey.py",
        'wanted_rows = {"input": rows.input, "output": rows.output, "bias": rows.bias}',
        'wanted_rows = {"input": rows.input, "output": rows.output, "bias": None}',
        (*WRITE, *SWEEP),
    ),
    Mutation(
        "a tie is broken",
        "write/embeddings.py",
        "        for tensor in table.tensors:\n            tensor.data = data\n",
        "        for tensor in table.tensors:\n            tensor.data = data.clone()\n",
        (*WRITE, *SWEEP),
    ),
    Mutation(
        "a stale padding_idx stays",
        "write/live.py",
        "            if tied or owner:\n",
        "            if False:\n",
        (*WRITE, *STRATEGY),
    ),
    Mutation(
        "every padding_idx moves, RoBERTa's positions included",
        "write/live.py",
        "            if tied or owner:\n",
        "            if True:\n",
        (*WRITE, *STRATEGY),
    ),
    # configs
    Mutation(
        "the generation config is forgotten",
        "write/live.py",
        '            if edit.target == "generation_config" or edit.target.split(".")[0] == "config":',
        '            if edit.target.split(".")[0] == "config":',
        (*WRITE, *SWEEP),
    ),
    Mutation(
        "vocab_size is forgotten",
        "edits.py",
        "    if after is not None and state.vocab_size is not None and after > state.vocab_size:",
        "    if False and after is not None:",
        (*STRATEGY, *WRITE, *SWEEP),
    ),
    Mutation(
        "EOS is written into the config of a causal model",
        "edits.py",
        '    if as_eos and state.head == "causal" and state.has("padding-idx-from-config"):',
        "    if False:",
        (*STRATEGY, "tests/test_harm.py"),
    ),
    # taking back
    Mutation(
        "rollback forgets the tokenizer",
        "write/live.py",
        '        self._journal.record("tokenizer", snapshot.restore)\n',
        "",
        (*WRITE, *SWEEP),
    ),
    Mutation(
        "undo leaves the overwritten row",
        "write/embeddings.py",
        '    journal.record(f"{name}[{row}]", lambda: write(old))\n',
        "",
        (*WRITE, *STRATEGY),
    ),
    Mutation(
        "undo of trained weights is not refused",
        "write/live.py",
        "    if changed:\n        raise PadfixError(",
        "    if False:\n        raise PadfixError(",
        (*WRITE, *STRATEGY),
    ),
    Mutation(
        "the random state moves",
        "write/embeddings.py",
        "    marks = []\n    for table in growth.tables:\n",
        "    import torch\n\n    torch.rand(1)\n    marks = []\n    for table in growth.tables:\n",
        (*WRITE, "tests/test_ensure_pad.py"),
    ),
    # planning
    Mutation(
        "RoBERTa's pad may move",
        "vetting.py",
        '    if state.has("positions-from-pad"):',
        "    if False:",
        (*STRATEGY, *SWEEP),
    ),
    Mutation(
        "a stop id may be the pad",
        "vetting.py",
        "    if token.id in state.eos_ids:",
        "    if False:",
        STRATEGY,
    ),
    Mutation(
        "a placeholder of the config may be the pad",
        "vetting.py",
        "        if value == token.id and not own:",
        "        if False:",
        STRATEGY,
    ),
    Mutation(
        "the pad's id may lie past the last row",
        "vetting.py",
        "    if token.id is not None and rows is not None and token.id >= rows:",
        "    if token.id is not None and rows is not None and token.id > rows:",
        STRATEGY,
    ),
    Mutation(
        "auto gives a classifier that pools by pad its EOS",
        "strategies.py",
        '    if state.head == "classifier" and (state.has("pools-on-pad") or state.has("pools-on-eos")):',
        "    if False:",
        (*STRATEGY, *SWEEP),
    ),
    # the proof
    Mutation(
        "the mask is skipped",
        "proof/run.py",
        '        inputs["attention_mask"] = put([row.mask for row in rows])',
        '        inputs["attention_mask"] = put([[1] * row.width for row in rows])',
        (*PROOF, *SWEEP),
    ),
    Mutation(
        "position ids count the padding",
        "proof/probes.py",
        '        if self.kind == "counted":',
        "        if True:",
        (*PROOF, *SWEEP),
    ),
    Mutation(
        "changed rows are not noticed",
        "proof/checks.py",
        "            changed += len(differs)\n            if differs:",
        "            if False:",
        PROOF,
    ),
    Mutation(
        "moved outputs are not noticed",
        "proof/checks.py",
        "    passed = found.finite and found.largest <= allowed\n",
        "    passed = True\n",
        PROOF,
    ),
    Mutation(
        "leaking content is not noticed",
        "proof/checks.py",
        "    if found.finite and found.worst <= limit:\n        return Check(\"pad-invisible\"",
        "    if True:\n        return Check(\"pad-invisible\"",
        (*PROOF, *SWEEP),
    ),
    Mutation(
        "a dominant pad is not noticed",
        "proof/checks.py",
        "        passed = (wins == 0 if written else 2 * wins <= total) and (\n"
        "            top <= min(limit, 0.5) if written else True\n        )",
        "        passed = True",
        (*PROOF, "tests/test_harm.py"),
    ),
    Mutation(
        "a broken tie is not noticed",
        "proof/checks.py",
        "    if untied:\n",
        "    if False:\n",
        PROOF,
    ),
    Mutation(
        "a pad that moves on reload is not noticed",
        "proof/tokenizer_checks.py",
        "    if pad is not None and pad != own:",
        "    if False:",
        PROOF,
    ),
    Mutation(
        "half of the pad lengths are not compared",
        "proof/evidence.py",
        "        runs = (self.padded, *self.positioned)\n",
        "        runs = (self.padded,)\n",
        ("tests/proof/test_probes.py",),
    ),
    Mutation(
        "the decoder's padding is not compared",
        "proof/evidence.py",
        '        if getattr(decoder, "is_decoder", True):',
        "        if False:",
        ("tests/proof/test_probes.py",),
    ),
    Mutation(
        "the pass before a write stands for one after it whatever moved",
        "proof/evidence.py",
        "    stands = before is not None and before.stands_for(padded)\n",
        "    stands = before is not None\n",
        ("tests/proof/test_probes.py", *PROOF),
    ),
    Mutation(
        "no pass leaves position ids out",
        "proof/evidence.py",
        "        given = less <= _POSITIONED\n",
        "        given = True\n",
        ("tests/proof/test_probes.py",),
    ),
    Mutation(
        "an input row of an untied model is blamed for the pad's logit",
        "proof/checks.py",
        '    return bool(keys & {"output_rows", "output_bias_rows"}) or (tied and bool(keys))\n',
        "    return bool(keys)\n",
        PROOF,
    ),
    Mutation(
        "an undone overwrite counts as training",
        "write/embeddings.py",
        "        _own_writes()[weight] = _own_writes().get(weight, 0) + 1\n",
        "",
        ("tests/test_ensure_pad.py::test_two_fixes_are_undone_last_one_first",),
    ),
    Mutation(
        "a failed proof is kept",
        "api.py",
        "        if verdict is not None and not verdict and verify is True:",
        "        if False:",
        ("tests/test_ensure_pad.py::test_zero_row_that_wins_is_rolled_back",),
    ),
)  # fmt: skip


def run(source: Path, tests: tuple[str, ...]) -> tuple[bool, str]:
    """Do these tests pass with this copy of the package? And the name of the first that fails."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(source),
        "HF_HUB_OFFLINE": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-m", "not slow", "-p", "no:cacheprovider", *tests]
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=LIMIT
        )
    except subprocess.TimeoutExpired:
        return False, f"longer than {LIMIT} s"
    if done.returncode not in (
        0,
        1,
    ):  # 1: a test failed; anything else is no verdict, such as a broken test file
        raise RuntimeError(
            f"pytest could not run {' '.join(tests)}: {done.stdout[-500:]}{done.stderr[-500:]}"
        )
    lines = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    return done.returncode == 0, lines[0][:150] if lines else done.stdout[-300:]


def mutated(mutation: Mutation, folder: Path) -> Path:
    """A copy of the package with the mutation in it. Raises ``LookupError`` when its text is not there once."""
    source = folder / "src"
    shutil.copytree(ROOT / "src", source, ignore=shutil.ignore_patterns("__pycache__"))
    module = source / "padfix" / mutation.module
    text = module.read_text("utf-8")
    if text.count(mutation.old) != 1:
        raise LookupError(f"{mutation.module} holds the text {text.count(mutation.old)} times, not once")
    module.write_text(text.replace(mutation.old, mutation.new), "utf-8")
    return source


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default="", help="mutations whose name holds this")
    parser.add_argument(
        "--list", action="store_true", help="check that every mutation still applies; run nothing"
    )
    options = parser.parse_args()
    chosen = [m for m in MUTATIONS if options.only in m.name]
    missed: list[str] = []
    with tempfile.TemporaryDirectory(prefix="padfix-mutation-") as folder:
        if not options.list:
            shutil.copytree(ROOT / "src", Path(folder) / "whole" / "src")
            passed, why = run(
                Path(folder) / "whole" / "src", tuple(dict.fromkeys(t for m in chosen for t in m.tests))
            )
            print(
                f"{'passes' if passed else 'FAILS'}  the unbroken package {'' if passed else why}", flush=True
            )
            if not passed:
                return 1
        for number, mutation in enumerate(chosen):
            start = time.perf_counter()
            try:
                source = mutated(mutation, Path(folder) / str(number))
            except LookupError as error:
                missed.append(mutation.name)
                print(f"DRIFTED  {mutation.name}: {error}", flush=True)
                continue
            if options.list:
                continue
            passed, why = run(source, mutation.tests)
            if passed:
                missed.append(mutation.name)
            word = "MISSED" if passed else "caught"
            print(f"{word}  {mutation.name} ({time.perf_counter() - start:.0f} s) {why}", flush=True)
    print(f"{len(chosen) - len(missed)} of {len(chosen)} mutations {'apply' if options.list else 'caught'}")
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main())
