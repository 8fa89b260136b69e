"""One function, one rule: registered with its code, documented by its docstring, run by `check`.

A rule is a generator over facts. It takes a `PadState`, and where its evidence is something else as
well, exactly one more argument, whose *name* says what: ``batch`` (one collated batch), ``verdict``
(the proof's answer), ``base`` or ``draft`` (the state of another checkpoint). Rules see no model, no
tokenizer and no file, so they give the same answer in a notebook, on disk and on a hub.
"""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeVar

from padfix.errors import ConfigError
from padfix.types import BadValue, ConfigId, Finding, PadState, Severity, Token, Verdict

Task = Literal["generation", "training", "classification", "serving"]
Input = Literal["state", "batch", "verdict", "base", "draft"]

TASKS: Final[tuple[Task, ...]] = ("generation", "training", "classification", "serving")
INPUTS: Final[tuple[Input, ...]] = ("state", "batch", "verdict", "base", "draft")
SECTIONS: Final = ("What it finds", "Why is this bad", "Example", "How to fix")
READS: Final[Mapping[str, str]] = {
    "F": "the repository's small files and safetensors headers",
    "A": "a table of architecture traits",
    "L": "live objects",
    "M": "a few forward passes",
    "B": "one batch from your own collator",
}

_RANK: Final = {"error": 0, "warning": 1, "info": 2}
_CODE: Final = re.compile(r"PAD[0-9]{3}")
_NAME: Final = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


@dataclass(frozen=True, slots=True)
class Hit:
    """One thing a rule found, before it is placed and graded.

    ``fact`` is the `PadState` field whose place in the repository the finding points at; of several, the
    first that was read from a file.
    ``severity`` overrides the rule's own: for every task, or for the tasks of a mapping. It never
    makes a rule speak for a task that the rule is silent about, and None in a mapping silences it.
    """

    message: str
    fact: str | tuple[str, ...] | None = None
    fix: str | None = None
    severity: Severity | Mapping[Task, Severity | None] | None = None


Detector = Callable[..., Iterator[Hit]]
_D = TypeVar("_D", bound=Detector)


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule of the catalogue.

    ``reads`` holds letters of `READS`; ``severity`` one entry per task, None where the rule stays
    silent; ``documentation`` the whole page in Markdown.
    """

    code: str
    name: str
    reads: str
    summary: str
    documentation: str
    severity: Mapping[Task, Severity | None]
    function: Detector

    def section(self, title: str) -> str:
        """One section of the page, without its heading.

        >>> RULES["PAD001"].section("How to fix") in RULES["PAD001"].documentation
        True
        """
        return _sections(self.documentation)[title]

    @property
    def guard(self) -> bool:
        """True when the rule is never reported: it keeps padfix itself from a harmful change."""
        return not any(self.severity.values())


RULES: Final[dict[str, Rule]] = {}
"""Every rule by code, in the order of the codes."""

_DETECTORS: Final[dict[str, list[tuple[Input, Detector]]]] = {}


def rule(code: str, name: str, *, reads: str, severity: Mapping[Task, Severity | None]) -> Callable[[_D], _D]:
    """Register the decorated generator as a rule.

    ``severity`` names the tasks that the rule speaks for. The docstring is the rule's page: a first
    line of one sentence, then the sections of `SECTIONS` under ``##`` headings, in that order.
    Raises `ConfigError` when the code or the name is taken or malformed, or the page is incomplete.
    """

    def register(function: _D) -> _D:
        if not _CODE.fullmatch(code):
            raise ConfigError(f"rule code {code!r} is not PAD and three digits")
        if not _NAME.fullmatch(name):
            raise ConfigError(f"{code}: rule name {name!r} is not kebab-case")
        if code in RULES or any(other.name == name for other in RULES.values()):
            raise ConfigError(f"{code} {name}: this code or name is registered already")
        if not reads or set(reads) - set(READS):
            raise ConfigError(f"{code}: reads={reads!r} must be letters of {''.join(READS)}")
        if set(severity) - set(TASKS) or {*severity.values()} - {*_RANK, None}:
            raise ConfigError(
                f"{code}: severity must map tasks ({', '.join(TASKS)}) to error, warning or info"
            )
        needs = _input(code, function)
        page = inspect.cleandoc(function.__doc__ or "")
        graded: dict[Task, Severity | None] = {task: severity.get(task) for task in TASKS}
        RULES[code] = Rule(code, name, reads, _summary(code, page), page, graded, function)
        ordered = sorted(RULES.items())
        RULES.clear()
        RULES.update(ordered)
        _DETECTORS.setdefault(code, []).append((needs, function))
        return function

    return register


def also(code: str) -> Callable[[_D], _D]:
    """Register a second source of evidence for a rule: the same code, another input."""

    def register(function: _D) -> _D:
        _DETECTORS.setdefault(code, []).append((_input(code, function), function))
        return function

    return register


def check(
    state: PadState,
    *,
    batch: Any = None,
    task: str | None = None,
    select: str | Iterable[str] | None = None,
    ignore: str | Iterable[str] | None = None,
) -> tuple[Finding, ...]:
    """Run every rule that reads a state, and with ``batch`` those that read a collated batch.

    ``task`` is one of `TASKS`, else what the architecture is for (`default_task`). ``select`` and
    ``ignore`` hold prefixes of codes (``"PAD1"``) or whole names; ``ignore`` wins. A rule whose facts
    are not known stays silent. Findings come sorted: severity, then code.

    Raises `ConfigError` for an unknown task, or a selector that matches no rule.

    >>> from padfix.types import PadState, Token
    >>> state = PadState(pad=Token("[PAD]", 32000), n_tokens=32001, max_id=32000, input_rows=32000)
    >>> [finding.code for finding in check(state, task="training", select="PAD101")]
    ['PAD101']
    """
    inputs: dict[Input, tuple[Any, ...]] = {"state": (state,)}
    if batch is not None:
        inputs["batch"] = (state, batch)
    return _run(state, inputs, task, select, ignore)


def check_verdict(
    state: PadState,
    verdict: Verdict,
    *,
    task: str | None = None,
    select: str | Iterable[str] | None = None,
    ignore: str | Iterable[str] | None = None,
) -> tuple[Finding, ...]:
    """Turn the checks of a proof into findings (PAD107, PAD305 and others), under the rules of `check`."""
    return _run(state, {"verdict": (state, verdict)}, task, select, ignore)


def check_pair(
    state: PadState,
    base: PadState | None = None,
    *,
    draft: PadState | None = None,
    task: str | None = None,
    select: str | Iterable[str] | None = None,
    ignore: str | Iterable[str] | None = None,
) -> tuple[Finding, ...]:
    """Compare a checkpoint with the one it was made from (``base``), or with its draft model (``draft``).

    Without a ``task``, a GGUF file, and a checkpoint with a draft model, are graded for serving, which is
    what they are for.
    """
    inputs: dict[Input, tuple[Any, ...]] = {}
    if base is not None:
        inputs["base"] = (state, base)
    if draft is not None:
        inputs["draft"] = (state, draft)
    if task is None and (draft is not None or (state.quantized or "").lower().startswith("gguf")):
        task = "serving"
    return _run(state, inputs, task, select, ignore)


def in_order(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Findings as every report shows them: the gravest first, then by code; each once."""
    return tuple(
        sorted({*findings}, key=lambda f: (_RANK[f.severity], f.code, f.message, f.file or "", f.key or ""))
    )


def default_task(state: PadState) -> Task:
    """The task that a checkpoint is for: a classifier's is classification, else generation.

    The severities of ``generation`` are those of plain inference in batches, so they also fit masked
    models, encoders and a bare tokenizer: no pooling by pad id and no loss is assumed there.
    """
    return "classification" if state.head in ("classifier", "token-classifier") else "generation"


def resolve(selectors: str | Iterable[str], *, option: str = "select") -> frozenset[str]:
    """The codes that prefixes (``"PAD1"``), codes and names stand for.

    >>> sorted(resolve("PAD50"))[:2]
    ['PAD501', 'PAD502']
    """
    parts = selectors.split(",") if isinstance(selectors, str) else selectors
    chosen: set[str] = set()
    for part in parts:
        wanted = part.strip()
        matched = {
            r.code for r in RULES.values() if wanted and (r.code.startswith(wanted) or r.name == wanted)
        }
        if not matched:
            raise ConfigError(f"{option}: {_unknown(wanted)}")
        chosen |= matched
    return frozenset(chosen)


def show(value: object, limit: int = 60) -> str:
    """A value from a repository, quoted, on one line, without control characters, bounded.

    Strings are quoted as Python literals; whatever is not printable is escaped, marks that reverse the
    direction of text included. Renderers still escape for their own syntax.

    >>> show("<pad>"), show("\\x1b[31m<pad>"), show(7)
    ("'<pad>'", "'\\\\x1b[31m<pad>'", '7')
    """
    if isinstance(value, Token):
        return show(value.text, limit) + (" (no id)" if value.id is None else f" ({show(value.id)})")
    if isinstance(value, BadValue):
        return f"the {bare(value.kind, 20)} {bare(value.text, limit)}"
    if isinstance(value, int) and value.bit_length() > 128:
        return f"an integer of {value.bit_length()} bits"  # Python refuses to print more than 4300 digits
    # Cut before quoting: the repr of a 100 MB string would cost 100 MB. repr escapes what is not printable.
    if isinstance(value, str):
        return repr(value[:limit]) + ("..." if len(value) > limit else "")
    text = repr(value)
    return bare(text, limit)


def bare(text: str, limit: int = 240) -> str:
    """A name or a sentence as `show` does it, without quotation marks.

    >>> bare("gpt2"), bare("it's\\x07")
    ('gpt2', "it's\\\\x07")
    """
    kept = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text[:limit])
    return kept + ("..." if len(text) > limit else "")


def as_id(value: ConfigId) -> int | None:
    """The value where it is a usable id (an integer that is not negative), else None."""
    return value if isinstance(value, int) and value >= 0 else None


def _run(
    state: PadState,
    inputs: Mapping[Input, tuple[Any, ...]],
    task: str | None,
    select: str | Iterable[str] | None,
    ignore: str | Iterable[str] | None,
) -> tuple[Finding, ...]:
    graded = default_task(state) if task is None else _task(task)
    chosen = None if select is None else resolve(select)
    ignored = frozenset() if ignore is None else resolve(ignore, option="ignore")
    found: list[Finding | None] = []
    for code, own in RULES.items():
        if own.severity[graded] is None or code in ignored or (chosen is not None and code not in chosen):
            continue
        for needs, detector in _DETECTORS[code]:
            if needs in inputs:
                found.extend(_finding(own, hit, state, graded) for hit in detector(*inputs[needs]))
    return in_order(finding for finding in found if finding is not None)


def _finding(own: Rule, hit: Hit, state: PadState, task: Task) -> Finding | None:
    severity = own.severity[task]
    if isinstance(hit.severity, str):
        severity = hit.severity
    elif hit.severity is not None:
        severity = hit.severity.get(task, severity)
    if severity is None:
        return None
    facts = (hit.fact,) if isinstance(hit.fact, str) else hit.fact or ()
    place = next((found for fact in facts if (found := state.where(fact)) is not None), None)
    file, key, line = (place.file, place.key, place.line) if place else (None, None, None)
    return Finding(own.code, own.name, severity, hit.message, file, key, line, hit.fix)


def _task(task: str) -> Task:
    for known in TASKS:
        if task == known:
            return known
    raise ConfigError(f"unknown task {show(task)}; there are {', '.join(TASKS)}")


def _unknown(wanted: object) -> str:
    names = [*RULES, *(r.name for r in RULES.values())]
    folded = str(wanted)[:60]
    close = difflib.get_close_matches(folded.upper(), names, 3) + difflib.get_close_matches(
        folded.lower(), names, 3
    )
    hint = (
        f"; did you mean {', '.join(dict.fromkeys(close))}?"
        if close
        else f"; codes run from {min(RULES)} to {max(RULES)}"
    )
    return f"no rule matches {show(wanted)}{hint}"


def _input(code: str, function: Detector) -> Input:
    parameters = list(inspect.signature(function).parameters)
    if len(parameters) in (1, 2) and parameters[0] == "state":
        wanted = parameters[-1]
        for known in INPUTS:
            if wanted == known:
                return known
    raise ConfigError(
        f"{code}: a rule takes (state) or (state, {' | '.join(INPUTS[1:])}), not ({', '.join(parameters)})"
    )


def _summary(code: str, page: str) -> str:
    first, _, rest = page.partition("\n")
    if not first.endswith(".") or rest[:1] not in ("", "\n"):
        raise ConfigError(f"{code}: the page must start with one sentence on a line of its own")
    sections = _sections(page)
    if tuple(title for title in sections if title in SECTIONS) != SECTIONS:
        raise ConfigError(f"{code}: the page needs the sections {', '.join(SECTIONS)}, in this order")
    empty = [title for title, body in sections.items() if not body]
    if empty:
        raise ConfigError(f"{code}: empty section {empty[0]!r}")
    return first


def _sections(page: str) -> dict[str, str]:
    parts = re.split(r"^## (.+)$", page, flags=re.MULTILINE)[1:]
    return {title.strip(): body.strip() for title, body in zip(parts[::2], parts[1::2], strict=True)}
