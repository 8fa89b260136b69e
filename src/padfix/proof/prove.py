"""`capture` before a write, `prove` after it: the passes are run, the checks are asked, a verdict is given."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from padfix.proof import causes, checks, tokenizer_checks
from padfix.proof.attention import AttentionMap, attention_zero
from padfix.proof.evidence import Evidence, Opening, gather, opening
from padfix.proof.fingerprint import Fingerprint, fingerprints
from padfix.proof.generation import generation_kept
from padfix.proof.probes import ENCODE_ERRORS, TEXTS, Probe, encode_all, make_probe
from padfix.proof.run import ProbeError
from padfix.proof.subject import Subject, quiet, subject_of
from padfix.types import Check, Plan, Verdict


@dataclass(frozen=True, slots=True)
class Outputs:
    """What the unpadded probe gave before the write: vectors per full row, and a classifier's scores."""

    values: tuple[Any, ...]
    scores: Any
    pad_id: int | None = None
    opening: Opening | None = None  # stands for the same pass after the write where that gives the same


@dataclass(frozen=True, slots=True)
class Baseline:
    """The state before a write, as far as a proof compares with it. Made by `capture`."""

    texts: tuple[str, ...]
    encodings: tuple[tuple[int, ...], ...] | None  # None: the tokenizer does not encode plain text
    fingerprints: tuple[Fingerprint, ...] = ()
    tied: bool | None = None
    probe: Probe | None = None
    outputs: Outputs | None = None
    untested: tuple[str, ...] = ()


def capture(model: Any, tok: Any, *, texts: Sequence[str] | None = None) -> Baseline:
    """Record what must not change: encodings, checksums of vocabulary rows, and the outputs of a short probe.

    ``model`` may be None. Nothing is changed; one forward pass is run.
    """
    from padfix.read.live import text_tokenizer
    from padfix.read.vocabulary import vocabulary

    chosen = tuple(texts) if texts else TEXTS
    encodings = _encodings(text_tokenizer(tok), chosen)
    if model is None:
        return Baseline(chosen, encodings)
    subject = subject_of(model, tok)
    marks, unread = fingerprints(subject.model)
    tied = vocabulary(subject.model).tied
    try:
        with quiet(subject):
            probe, first = opening(subject, make_probe(subject, texts))
    except ProbeError as problem:
        return Baseline(chosen, encodings, marks, tied, untested=(*unread, _not_run(subject, problem)))
    values = tuple(first.at(n).clone() for n, row in enumerate(first.rows) if row.kind == "full")
    kept = Opening.of(first) if probe.layout == "alone" else None  # the other layout runs it again
    outputs = Outputs(values, first.scores, subject.pad_id, kept)
    return Baseline(chosen, encodings, marks, tied, probe, outputs, unread)


def _encodings(tok: Any, texts: Sequence[str]) -> tuple[tuple[int, ...], ...] | None:
    try:
        return encode_all(tok, texts)
    except ENCODE_ERRORS:
        return None


def prove(
    model: Any,
    tok: Any,
    *,
    baseline: Baseline | None = None,
    plan: Plan | None = None,
    texts: Sequence[str] | None = None,
    sides: Sequence[str] = ("right", "left"),
    attention: bool = False,
    generate: bool = False,
) -> Verdict:
    """Ask every check that applies, and say what could not be asked.

    ``baseline`` comes from `capture`; without one the checks that compare with a state before are left out
    and named in ``untested``. ``plan`` is what was written. ``sides``: the padding sides to try.
    ``attention`` and ``generate`` add the checks ``attention-zero`` and ``generation-kept``.
    """
    from padfix.read.live import text_tokenizer
    from padfix.read.vocabulary import vocabulary

    text_tok = text_tokenizer(tok)
    chosen = baseline.texts if baseline is not None else tuple(texts) if texts else TEXTS
    found: list[Check] = []
    untested: list[str] = []
    if baseline is None:
        untested.append(
            "weights-kept, outputs-kept, text-kept: they compare with a state before a fix, and there is none"
        )
    elif baseline.encodings is None:
        untested.append("text-kept: the tokenizer does not encode plain text")
    else:
        found.append(tokenizer_checks.text_kept(chosen, baseline.encodings, text_tok))
    _add(tokenizer_checks.round_trip(chosen, text_tok, plan), found, untested)
    if model is None:
        return Verdict(tuple(found), (*untested, "outputs: there is no model"))
    subject = subject_of(model, tok)
    if baseline is not None:
        untested += baseline.untested
        if baseline.fingerprints:
            now, _ = fingerprints(subject.model)
            untied = bool(baseline.tied) and not vocabulary(subject.model).tied
            found.insert(0, checks.weights_kept(baseline.fingerprints, now, plan, untied=untied))
    with quiet(subject):
        asked = _model_checks(subject, baseline, plan, texts, sides, attention, generate)
    said = dict.fromkeys((*untested, *asked.untested, *_conditions(subject)))  # before and after: once
    return Verdict((*found, *asked.checks), tuple(said), asked.attention)


@dataclass(frozen=True, slots=True)
class _Asked:
    checks: tuple[Check, ...]
    untested: tuple[str, ...]
    attention: AttentionMap | None = None


def _model_checks(
    subject: Subject,
    baseline: Baseline | None,
    plan: Plan | None,
    texts: Sequence[str] | None,
    sides: Sequence[str],
    attention: bool,
    generate: bool,
) -> _Asked:
    rows, pad = subject.rows, subject.pad_id
    if pad is not None and rows is not None and not 0 <= pad < rows:
        cause = f"the pad id {pad} has no row: the model's input matrix has {rows}"
        remedy = "take a pad below that, or grow with strategy='add'"
        return _Asked((Check("pad-invisible", False, True, cause=cause, remedy=remedy),), ())
    before = baseline.outputs if baseline is not None else None
    probe = (
        baseline.probe if baseline is not None and baseline.probe is not None else make_probe(subject, texts)
    )
    notes = list(probe.notes)
    if pad is None:
        notes.append("pad token: the tokenizer has none, so ordinary ids stood at masked places")
    try:
        evidence = gather(subject, probe, before.opening if before is not None else None)
        found = list(_asked(evidence, before, plan, sides, notes))
    except ProbeError as problem:
        return _failed(subject, problem, before is not None, notes)
    picture = None
    if generate:
        _add(generation_kept(evidence), found, notes)
    if attention:
        outcome, picture = attention_zero(evidence.subject, evidence.probe)
        _add(outcome, found, notes)
    return _Asked(tuple(found), tuple(notes), picture)


def _failed(subject: Subject, problem: ProbeError, ran_before: bool, notes: list[str]) -> _Asked:
    """A forward pass that does not run: a failure where the pad or the fix is to blame, else untested."""
    broken = causes.broken_row(subject)
    if broken is not None:
        check = Check("pad-invisible", False, True, cause=broken.cause, remedy=broken.remedy)
        return _Asked((check,), tuple(notes))
    if ran_before:
        cause = f"the forward pass ran before the fix and fails now: {problem}"
        check = Check("outputs-kept", False, True, cause=cause, remedy="undo the write")
        return _Asked((check,), tuple(notes))
    return _Asked((), (*notes, _not_run(subject, problem)))


def _not_run(subject: Subject, problem: ProbeError) -> str:
    main = getattr(subject.model, "main_input_name", "input_ids")
    if main != "input_ids" and main not in ("inputs", "decoder_input_ids"):  # Whisper, ViT
        return f"outputs: {type(subject.model).__name__} reads {main}, and the probe holds text alone"
    if str(subject.device) == "meta":
        return "outputs: the weights are on the meta device (not loaded), so no forward pass can be run"
    what = "outputs" if subject.dtype == "float32" else f"dtype {subject.dtype}"
    return f"{what}: the forward pass fails ({str(problem)[:300]})"


def _add(outcome: Check | str, found: list[Check], notes: list[str]) -> None:
    """A check was asked, or a sentence says why it could not be."""
    if isinstance(outcome, str):
        notes.append(outcome)
    else:
        found.append(outcome)


def _asked(
    evidence: Evidence, before: Outputs | None, plan: Plan | None, sides: Sequence[str], notes: list[str]
) -> Iterator[Check]:
    if before is not None:
        yield checks.outputs_kept(before, evidence, plan)
    leak = checks.pad_invisible(evidence)
    padded = [checks.padding(evidence, side) for side in sides]
    if evidence.sensitive or not leak.passed or not all(c.passed for c in padded):
        yield leak
        yield from padded
        if "left" in sides:
            yield checks.padding_left_bare(evidence)
    else:
        notes.append(
            "pad-invisible, padding: even an all-ones mask changes nothing, so the probe could not see a leak"
        )
    unlikely = checks.pad_unlikely(evidence, plan)
    if unlikely is not None:
        yield unlikely
    if evidence.probe.pooled:
        yield checks.pooled_kept(before, evidence)


def _conditions(subject: Subject) -> tuple[str, ...]:
    kind = getattr(subject.device, "type", str(subject.device))
    attention = getattr(subject.model.config, "_attn_implementation", None) or "its own"
    return (
        f"tested in {subject.dtype} on {kind} with {attention} attention, {subject.tok.padding_side} padding by default; "
        "not tested: other dtypes, devices and attention kernels, texts longer than the probe",
    )
