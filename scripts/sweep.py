"""`ensure_pad` on every architecture that transformers can build tiny: proven, refused, or a check failed, and why.

Every case is a tiny model (each head, tied and untied where both exist) with a small real tokenizer that
has no pad token. Each strategy must end in a proven fix, or in a typed refusal or failed check that names
a true cause. Besides the proof, each case is held to laws that are measured here without padfix: a
refusal leaves every bit in place, a fix keeps every old row, ``undo`` restores everything, and a second
call changes nothing.

    python scripts/sweep.py                          # everything, resuming what was begun
    python scripts/sweep.py --only gpt2,fnet -v      # some architectures, printed
    python scripts/sweep.py --docs                   # write docs/architectures.md from the results so far

Results are kept under build/sweep/, one line per case, one file per transformers version.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import re
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path(os.environ.get("PADFIX_SWEEP", ROOT / "build" / "sweep"))
HEADS = ("causal", "masked", "seq2seq", "classifier", "token-classifier")
LIMIT = 600  # seconds for all strategies of one model; an idle machine takes 1 to 10

# name -> (strategy, options, does the tokenizer have its pad already?)
STRATEGIES: dict[str, tuple[str, dict[str, Any], bool]] = {
    "as shipped": ("auto", {}, True),
    "auto": ("auto", {}, False),
    "eos": ("eos", {}, False),
    "add mean": ("add", {"init": "mean"}, False),
    "add zero": ("add", {"init": "zero"}, False),
}


@dataclass(frozen=True, order=True)
class Case:
    """One model of the sweep. ``tied`` is None where the head has no output matrix of its own to tie."""

    head: str
    model_type: str
    tied: bool | None = None
    side: str = "right"

    @property
    def key(self) -> str:
        return f"{self.head}/{self.model_type}/{self.tied}/{self.side}"


@dataclass
class Outcome:
    """How one strategy ended on one model."""

    kind: str  # proven, refused, failed, crashed, broken (a law), unbuildable, no such form
    rung: str = ""
    detail: str = ""
    failed: list[str] = field(default_factory=list)  # gating checks
    causes: list[str] = field(default_factory=list)
    advisory: list[str] = field(default_factory=list)
    unexplained: bool = False
    seconds: float = 0.0


class BrokenLawError(Exception):
    """A law of `ensure_pad` was broken; the message says which and where."""


def cases(
    only: list[str] | None = None, heads: tuple[str, ...] = HEADS, side: str = "right"
) -> Iterator[Case]:
    """Every model type of every head, as both tied and untied where the head has a matrix to tie."""
    from padfix.testing import architectures

    for head in heads:
        for model_type in architectures(head):  # type: ignore[arg-type]
            if only is None or model_type in only:
                tied = (None,) if head.endswith("classifier") else (True, False)
                yield from (Case(head, model_type, form, side) for form in tied)


def run_case(case: Case, strategies: tuple[str, ...] = tuple(STRATEGIES)) -> dict[str, Outcome]:
    """Every strategy on a fresh model of this case."""
    from padfix.testing import CannotBuildError

    outcomes: dict[str, Outcome] = {}
    for name in strategies:
        start = time.perf_counter()
        try:
            model = build(case)
        except CannotBuildError as error:
            no_form = case.tied is not None and ("tied form" in str(error) or "tie_word" in str(error))
            kind = "no such form" if no_form else "unbuildable"
            return {name: Outcome(kind, detail=str(error)) for name in strategies}
        outcomes[name] = run_strategy(model, case, name)
        outcomes[name].seconds = round(time.perf_counter() - start, 2)
    return outcomes


def build(case: Case) -> Any:
    from padfix.testing import tiny_model

    return tiny_model(case.model_type, case.head, tied=case.tied)  # type: ignore[arg-type]


def tokenizer_for(model: Any, case: Case, has_pad: bool) -> Any:
    """A tokenizer of the architecture's family, whose ids are those of the configuration."""
    from padfix.testing import matching_tokenizer
    from padfix.traits import traits_of

    options: dict[str, Any] = {} if has_pad else {"pad": None}
    if has_pad and _declared_pad(model) is None:
        options["pad"] = "<pad>"
    if "pools-on-eos" in traits_of(case.model_type) or case.head == "seq2seq":
        return matching_tokenizer(
            model, "unigram", eos="</s>", template="$A </s>", padding_side=case.side, **options
        )
    kind = "byte-bpe" if case.head == "causal" else "wordpiece" if case.head == "masked" else "byte-bpe"
    return matching_tokenizer(model, kind, padding_side=case.side, **options)  # type: ignore[arg-type]


def _declared_pad(model: Any) -> int | None:
    value = getattr(model.config.get_text_config(), "pad_token_id", None)
    return value if isinstance(value, int) and value >= 0 else None


def run_strategy(model: Any, case: Case, name: str) -> Outcome:
    """`ensure_pad` by one strategy, its outcome, and the laws that it must keep."""
    import padfix

    strategy, options, has_pad = STRATEGIES[name]
    try:
        tok = tokenizer_for(model, case, has_pad)
        before = Snapshot(model, tok)
        try:
            report = padfix.ensure_pad(model, tok, strategy, **options)
        except padfix.StrategyError as error:
            before.compare("a refusal", same=True)
            return Outcome("refused", detail=str(error))
        except padfix.VerificationError as error:
            before.compare("a failed proof", same=True)
            return _failed(case, error.verdict)
        before.compare("a fix", same=not report.changed)
        _laws(model, tok, report, strategy, options, before)
        return _proven(case, report)
    except BrokenLawError as error:
        return Outcome("broken", detail=str(error))
    except Exception as error:  # noqa: BLE001 - a crash is what this sweep looks for
        where = traceback.extract_tb(error.__traceback__)
        own = [f"{Path(f.filename).name}:{f.lineno}" for f in where if "padfix" in f.filename][-3:]
        text = " ".join(str(error).split())[:300]
        return Outcome("crashed", detail=f"{type(error).__name__}: {text} @ {' '.join(own)}")


def _proven(case: Case, report: Any) -> Outcome:
    checks = report.verdict.checks if report.verdict is not None else ()
    failed = [check for check in checks if check.gating and not check.passed]
    if failed:  # a tokenizer that was fine already is reported, never changed
        return _failed(case, report.verdict)
    advisory = [check.name for check in checks if not check.passed]
    causes = [check.cause or "" for check in checks if not check.passed]
    wrong = [check.name for check in checks if not check.passed and not explained(case, check)]
    unexplained = "; ".join(wrong)
    return Outcome("proven", report.plan.rung, unexplained, [], causes, advisory, bool(wrong))


def _failed(case: Case, verdict: Any) -> Outcome:
    failed = list(verdict.failed)
    wrong = [check.name for check in verdict.checks if not check.passed and not explained(case, check)]
    causes = [check.cause or "no cause" for check in failed]
    return Outcome("failed", "", "; ".join(wrong), [c.name for c in failed], causes, [], bool(wrong))


# What the words of a true cause must speak of, for each measured trait that can explain a failed check.
SAYS = {
    "ignores-mask": r"ignores|own mask|no effect|divided",
    "mixes-positions": r"convol|trigram|pooling|landmark|compress|neighbour|bytes|down-sampl|reaches real tokens",
    "leaks-state": r"recurrent",
    "absolute-positions": r"position",
    "positions-from-pad": r"position|neighbour",
    "pools-on-pad": r"pools|pooled",
    "pools-on-eos": r"pools|pooled|EOS",
    "pools-last": r"pools|pooled",
    "decoder-reads-padding": r"decoder reads",
    "unpadded-differs": r"no causal mask",
    "recurrent": r"single row|recurrent",
}
LEFT = {"leaks-state", "absolute-positions", "positions-from-pad", "recurrent", "decoder-reads-padding"}
ANY_SIDE = {"ignores-mask", "mixes-positions", "unpadded-differs"}


def explained(case: Case, check: Any) -> bool:
    """Is the cause of a failed check one that was measured on this architecture, without the proof?"""
    from padfix.traits import traits_of

    if check.name == "pad-unlikely":
        return "zero" in (check.cause or "") or "capped" in (check.cause or "")
    if check.name in ("pad-invisible",) or check.name.startswith("padding-left"):
        possible = ANY_SIDE | LEFT
    elif check.name == "padding-right":
        possible = ANY_SIDE
    elif check.name == "pooled-kept":
        possible = ANY_SIDE | {"pools-on-pad", "pools-on-eos", "pools-last"}
    else:
        return False
    words = [SAYS[trait] for trait in possible & set(traits_of(case.model_type))]
    return any(re.search(pattern, check.cause or "") for pattern in words)


def _laws(
    model: Any, tok: Any, report: Any, strategy: str, options: dict[str, Any], before: Snapshot
) -> None:
    import padfix

    after = padfix.inspect(model, tok)
    projected = report.plan.project(report.before)
    if after.portable() != projected.portable():
        wrong = [
            f"{name}: {getattr(projected, name)!r} foretold, {getattr(after, name)!r} found"
            for name in after.__dataclass_fields__
            if getattr(after.portable(), name) != getattr(projected.portable(), name)
        ]
        raise BrokenLawError(f"the plan foretold another state: {'; '.join(wrong)[:300]}")
    again = padfix.ensure_pad(model, tok, strategy, verify=False, **options)
    if again.changed:
        raise BrokenLawError(f"a second call changes {'; '.join(map(str, again.plan.edits))[:300]}")
    if report.changed:
        report.undo()
        before.compare("undo", same=True)


class Snapshot:
    """Every bit of a model and its tokenizer, to compare with later."""

    def __init__(self, model: Any, tok: Any) -> None:
        self.model, self.tok = model, tok
        self.tensors = {name: tensor.detach().clone() for name, tensor in self._tensors()}
        self.facts = self._facts()

    def _tensors(self) -> list[tuple[str, Any]]:
        named = (
            self.model.named_parameters(remove_duplicate=False),
            self.model.named_buffers(remove_duplicate=False),
        )
        return [pair for group in named for pair in group]

    def _facts(self) -> dict[str, Any]:
        owners: dict[int, str] = {}
        ties = {
            name: owners.setdefault(tensor.data_ptr(), name)
            for name, tensor in self._tensors()
            if tensor.numel()
        }
        generation = getattr(self.model, "generation_config", None)
        return {
            "tokenizer": self.tok.backend_tokenizer.to_str(),
            "special tokens": {role: str(token) for role, token in self.tok.special_tokens_map.items()},
            "padding side": self.tok.padding_side,
            "config": self.model.config.to_dict(),
            "generation config": generation.to_dict() if generation is not None else None,
            "padding_idx": {
                n: m.padding_idx for n, m in self.model.named_modules() if hasattr(m, "padding_idx")
            },
            "ties": ties,
            "training": self.model.training,
        }

    def compare(self, what: str, *, same: bool) -> None:
        """After ``what``: every bit as before (``same``), or at least no row lost and no old row changed."""
        import torch

        now = dict(self._tensors())
        if now.keys() != self.tensors.keys():
            raise BrokenLawError(
                f"{what} changed the tensors' names: {sorted(now.keys() ^ self.tensors.keys())[:4]}"
            )
        for name, old in self.tensors.items():
            new = now[name]
            if same and new.shape != old.shape:
                raise BrokenLawError(
                    f"{what} changed the shape of {name}: {tuple(old.shape)} to {tuple(new.shape)}"
                )
            if any(n < o for n, o in zip(new.shape, old.shape, strict=True)):
                raise BrokenLawError(f"{what} shrank {name}: {tuple(old.shape)} to {tuple(new.shape)}")
            kept = new[tuple(slice(size) for size in old.shape)]
            if not torch.equal(kept.nan_to_num(), old.nan_to_num()):
                raise BrokenLawError(f"{what} changed old values of {name}")
        if same:
            for fact, was in self.facts.items():
                if (found := self._facts()[fact]) != was:
                    raise BrokenLawError(f"{what} changed the {fact}: {_difference(was, found)}")


def _difference(was: Any, found: Any) -> str:
    if isinstance(was, dict) and isinstance(found, dict):
        keys = [k for k in {*was, *found} if was.get(k, "absent") != found.get(k, "absent")]
        return "; ".join(
            f"{k}: {was.get(k, 'absent')!r} to {found.get(k, 'absent')!r}" for k in sorted(keys)[:4]
        )
    return f"{was!r:.150} to {found!r:.150}"


def _quietly(case: Case) -> tuple[Case, dict[str, Outcome]]:
    """One case in a worker process, with a time limit."""
    signal.signal(signal.SIGALRM, _too_long)
    signal.alarm(LIMIT)
    try:
        return case, run_case(case)
    except TimeoutError:
        return case, {name: Outcome("crashed", detail=f"longer than {LIMIT} s") for name in STRATEGIES}
    finally:
        signal.alarm(0)


def _too_long(signum: int, frame: Any) -> None:
    raise TimeoutError


def prepare() -> None:
    """What every process of the sweep does first."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    import torch
    import transformers

    warnings.filterwarnings("ignore")
    transformers.logging.set_verbosity(transformers.logging.CRITICAL)
    torch.set_num_threads(1)


def sweep(todo: list[Case], processes: int, done: Callable[[Case, dict[str, Outcome]], None]) -> None:
    """Run cases in several processes, handing each result over as it comes."""
    if processes == 1:
        prepare()
        for case in todo:
            done(*_quietly(case))
        return
    context = multiprocessing.get_context("spawn")
    with context.Pool(processes, initializer=prepare, maxtasksperchild=100) as pool:
        for case, outcomes in pool.imap_unordered(_quietly, todo, chunksize=1):
            done(case, outcomes)


def results_file() -> Path:
    import transformers

    return RESULTS / f"{transformers.__version__}.jsonl"


def load(path: Path) -> dict[str, dict[str, Outcome]]:
    """Results so far: key of the case -> outcomes by strategy."""
    if not path.exists():
        return {}
    rows = (json.loads(line) for line in path.read_text("utf-8").splitlines())
    return {row["case"]: {name: Outcome(**o) for name, o in row["outcomes"].items()} for row in rows}


def summary(results: dict[str, dict[str, Outcome]]) -> str:
    """Counts per head and strategy."""
    lines = []
    for head in HEADS:
        mine = {key: outcomes for key, outcomes in results.items() if key.startswith(f"{head}/")}
        for name in STRATEGIES:
            kinds = [outcomes[name].kind for outcomes in mine.values() if name in outcomes]
            counts = {kind: kinds.count(kind) for kind in sorted(set(kinds))}
            lines.append(f"{head:17}{name:12}{', '.join(f'{n} {kind}' for kind, n in counts.items())}")
    return "\n".join(lines)


def troubles(results: dict[str, dict[str, Outcome]]) -> list[str]:
    """Everything that must not be: crashes, broken laws, failures without a measured reason."""
    return [
        f"{key} [{name}] {o.kind}{' UNEXPLAINED' if o.unexplained else ''}: {o.detail} {' | '.join(o.causes)}"
        for key, outcomes in sorted(results.items())
        for name, o in outcomes.items()
        if o.kind in ("crashed", "broken") or o.unexplained
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", help="model types, separated by commas; printed, not kept")
    parser.add_argument("--heads", default=",".join(HEADS), help="heads, separated by commas")
    parser.add_argument(
        "--side", default="right", choices=("right", "left"), help="the tokenizers' padding side"
    )
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument(
        "--fresh", action="store_true", help="forget earlier results of this transformers version"
    )
    parser.add_argument("--again", action="store_true", help="run again the cases that were in trouble")
    parser.add_argument(
        "--docs", action="store_true", help="only write docs/architectures.md from the results"
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="print every outcome")
    options = parser.parse_args()
    if options.docs:
        return write_docs()
    prepare()
    only = options.only.split(",") if options.only else None
    wanted = list(cases(only, tuple(options.heads.split(",")), options.side))
    path = results_file()
    kept = {} if options.fresh or only else load(path)
    if options.again:
        bad = {line.split(" [")[0] for line in troubles(kept)}
        kept = {key: outcomes for key, outcomes in kept.items() if key not in bad}
    results = dict(kept)

    def done(case: Case, outcomes: dict[str, Outcome]) -> None:
        results[case.key] = outcomes
        if only is None:
            with path.open("a", encoding="utf-8") as file:
                file.write(_line(case.key, outcomes))
        if options.verbose or only:
            for name, o in outcomes.items():
                rest = f"{o.rung} {o.detail} {' | '.join(o.causes)} {','.join(o.advisory)}"
                print(
                    f"{case.key} [{name}] {o.kind}{' UNEXPLAINED' if o.unexplained else ''} {rest}",
                    flush=True,
                )

    if only is None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(_line(key, outcomes) for key, outcomes in kept.items()), "utf-8")
    start = time.perf_counter()
    sweep([case for case in wanted if case.key not in kept], options.processes, done)
    print(summary(results))
    bad = troubles(results)
    print("\n".join(bad), file=sys.stderr)
    print(f"{len(results)} cases, {len(bad)} in trouble, {time.perf_counter() - start:.0f} s")
    majors = {path.stem.split(".")[0] for path in RESULTS.glob("*.jsonl")}
    if only is None and len(majors) > 1:
        write_docs()
    elif only is None:
        print(f"docs/architectures.md is written once both majors have results here; there is only {majors}")
    return 1 if bad else 0


def write_docs() -> int:
    from sweep_docs import write  # type: ignore[import-not-found]

    write({path.stem: load(path) for path in sorted(RESULTS.glob("*.jsonl"))})
    return 0


def _line(key: str, outcomes: dict[str, Outcome]) -> str:
    return json.dumps({"case": key, "outcomes": {n: asdict(o) for n, o in outcomes.items()}}) + "\n"


if __name__ == "__main__":
    raise SystemExit(main())
