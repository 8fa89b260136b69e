"""The checks: one function per question, each from evidence to one `Check`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

from padfix.proof import causes
from padfix.proof.evidence import Evidence
from padfix.proof.fingerprint import Fingerprint
from padfix.proof.subject import nested_configs
from padfix.proof.tolerances import Difference, difference, limits, rounding, unit
from padfix.types import Check, Plan

SPREAD = "standard deviations"


def weights_kept(
    before: tuple[Fingerprint, ...],
    after: tuple[Fingerprint, ...],
    plan: Plan | None,
    *,
    untied: bool = False,
) -> Check:
    """Every row that existed keeps every bit, in every vocabulary matrix; the pad's own row if the plan says so.

    ``untied``: the input and output matrices were one before, and are two now: the next training step moves
    them apart, so that counts as a failure too.
    """
    exempt = _overwritten(plan)
    inputs = next((id(mark.sums) for mark in before if mark.role == "input"), None)
    now = {mark.name: mark for mark in after}
    problems: list[str] = []
    if untied:
        problems.append("the tie between the input and the output matrix is broken")
    changed = 0
    for old in before:
        new = now.get(old.name)
        if new is None:
            problems.append(f"{old.name} is gone")
        elif new.rows < old.rows:
            changed += old.rows - new.rows
            problems.append(f"{old.name} lost rows: {old.rows} -> {new.rows}")
        elif new.dtype != old.dtype:
            changed += old.rows
            problems.append(f"{old.name} was {old.dtype}, is {new.dtype}")
        else:
            differs = (new.sums[: old.rows].to(old.sums.device) != old.sums).nonzero().flatten().tolist()
            if id(old.sums) == inputs:  # the input matrix, or the output matrix that is tied to it
                differs = [row for row in differs if row not in exempt]
            changed += len(differs)
            if differs:
                shown = ", ".join(map(str, differs[:4])) + (", ..." if len(differs) > 4 else "")
                problems.append(f"{old.name}: {len(differs)} of {old.rows} rows changed (ids {shown})")
    return Check(
        "weights-kept",
        not problems,
        True,
        float(changed),
        0.0,
        "rows changed",
        cause="; ".join(problems) or None,
        remedy="undo the write: growing may only add rows" if problems else None,
    )


def _overwritten(plan: Plan | None) -> set[int]:
    if plan is None or plan.pad is None or plan.pad.id is None:
        return set()
    return {plan.pad.id for edit in plan.edits if (edit.target, edit.key) == ("weights", "pad_row")}


def outputs_kept(before: Any, evidence: Evidence, plan: Plan | None) -> Check:
    """The unpadded probe gives the same vectors as before the write, on the columns that existed.

    Where the plan overwrites the pad's own row of a tied model, that row's logit must change: its column is
    left out here, and `pad_unlikely` judges it.
    """
    first = evidence.first
    found = Difference()
    allowed = 0.0
    own = _overwritten(plan) if first.vocabulary else set()
    full = [first.at(number) for number, row in enumerate(first.rows) if row.kind == "full"]
    for old, new in zip(before.values, full, strict=True):
        width = min(old.shape[-1], new.shape[-1])
        keep = [column for column in range(width) if column not in own] if own else slice(width)
        found = found | difference(old[..., keep], new[..., keep], vocabulary=first.vocabulary)
        # A product with one more column may be summed in another order, and so may any on an accelerator.
        if new.shape[-1] != old.shape[-1] or new.device.type != "cpu":
            allowed = max(allowed, rounding(old, evidence.subject.dtype))
    passed = found.finite and found.largest <= allowed
    cause = remedy = None
    if not passed:
        cause = f"the same unpadded text gives other outputs than before the fix: {found}"
        remedy = "undo the write: something besides new rows was changed"
        if own:
            cause += "; the pad's own row was overwritten, and the model reads it without padding too"
            remedy = "keep the pad's row as it is (no init=)"
    return Check(
        "outputs-kept",
        passed,
        True,
        found.largest,
        allowed,
        "max |Δlogit|" if first.vocabulary else "max |Δ|",
        cause,
        remedy,
        str(found) if passed and found.largest else None,
    )


def pad_invisible(evidence: Evidence) -> Check:
    """The content of masked places does not reach a real token: other ids there, bit-equal outputs."""
    side = evidence.subject.side
    found = evidence.swap(side)
    limit, detail = 0.0, None
    if 0 < found.worst <= evidence.zones.floor / 10:
        # Experts and other routed kernels regroup their rows when a masked id changes: below 2e-7 in fp32.
        moved = evidence.routing_noise
        limit = min(evidence.zones.floor / 10, max(4 * moved, unit(evidence.subject.dtype)))
        detail = f"differs by rounding only, as it does when other rows of the batch change ({moved:.2g})"
    if found.finite and found.worst <= limit:
        return Check("pad-invisible", True, True, found.worst, limit, SPREAD, detail=detail)
    why = causes.of_content(evidence, side) if found.finite else causes.not_finite(evidence, side)
    harmless = (
        causes.pad_row(evidence.subject) == 0.0 and evidence.against_alone(side).worst <= evidence.zones.floor
    )
    detail = str(found)
    if harmless:
        detail = "this pad's input row is zero, so padding itself adds nothing; any other id there would"
    return Check(
        "pad-invisible", False, not harmless, found.worst, limit, SPREAD, why.cause, why.remedy, detail
    )


def padding(evidence: Evidence, side: str) -> Check:
    """A row padded on this side equals the text alone."""
    found = evidence.against_alone(side)
    limit = evidence.limit(found)
    passed = found.finite and found.worst <= limit
    why = None if passed else causes.of_padding(evidence, side)
    return Check(
        f"padding-{side}",
        passed,
        side == evidence.subject.side,
        found.worst,
        limit,
        SPREAD,
        why.cause if why else None,
        why.remedy if why else None,
        f"{found}; {', '.join(map(str, sorted({row.pads for row, _ in evidence.rows(side)})))} pads",
    )


def padding_left_bare(evidence: Evidence) -> Check:
    """The same without position ids, as a single row: what a plain forward() call sees. Advises only."""
    found = evidence.bare()
    if found is None:  # forward() takes no position ids: padding-left was bare already
        found = evidence.against_alone("left")
    limit = evidence.limit(found)
    passed = found.finite and found.worst <= limit
    why = None if passed else causes.of_bare(evidence)
    pads = sorted({row.pads for row, _ in evidence.bare_rows() or evidence.rows("left")})
    return Check(
        "padding-left-bare",
        passed,
        False,
        found.worst,
        limit,
        SPREAD,
        why.cause if why else None,
        why.remedy if why else None,
        f"{found}; {', '.join(map(str, pads))} pads",
    )


def pad_unlikely(evidence: Evidence, plan: Plan | None) -> Check | None:
    """The model does not emit the pad: its probability at every real token, and whether it ever wins.

    A mean row keeps p(pad) <= 1/(V+1) (Jensen's inequality), unless logits are soft-capped. A token that
    was there before the fix is only judged where it dominates, since the fix gave it no weight.
    """
    from padfix.read.vocabulary import vocabulary

    subject, pad = evidence.subject, evidence.pad_id
    runs = [evidence.padded, *evidence.alone.values()]
    vectors = [
        run.at(n) for run in runs if run.vocabulary for n, row in enumerate(run.rows) if row.kind == "full"
    ]
    if not vectors or pad is None or pad == subject.eos_id or pad >= vectors[0].shape[-1]:
        return None
    top = max(float((v[:, pad].float() - v.float().logsumexp(-1)).max().exp()) for v in vectors)
    wins = sum(int((v.argmax(-1) == pad).sum()) for v in vectors)
    total = sum(len(v) for v in vectors)
    tied = vocabulary(subject.model).tied is True
    written = _writes_output(plan, tied)
    size = vectors[0].shape[-1] - (1 if written else 0)
    bound = 1 / (size + 1)
    capped = _softcapped(subject)
    zero = tied and plan is not None and plan.init == "zero"  # an untied head gets the mean all the same
    if written and plan is not None and not zero and not capped and not _overwrites(plan):
        limit = bound * (1.001 if not subject.low_precision else 1.1)
        passed = top <= limit
    else:
        limit = max(10 * bound, 0.01) if written else 0.5
        passed = (wins == 0 if written else 2 * wins <= total) and (
            top <= min(limit, 0.5) if written else True
        )
    detail = f"argmax at {wins} of {total} tokens; bound 1/(V+1) = {bound:.2g}"
    if capped:
        detail += ", void here: the logits are soft-capped, so it was measured"
    cause = remedy = None
    if not passed:
        cause = (
            f"the pad would be predicted: p(pad) up to {top:.2g}, the most likely token at {wins} of {total}"
        )
        if written and zero:
            cause = "a zero row gives the logit 0, which beats the negative logits of other tokens: " + cause
        remedy = (
            "grow with init='mean', which keeps p(pad) <= 1/(V+1)"
            if written
            else "take another pad, or add one with strategy='add'"
        )
    gating = written or plan is None
    return Check("pad-unlikely", passed, gating, top, limit, "probability", cause, remedy, detail)


def _writes_output(plan: Plan | None, tied: bool) -> bool:
    """Did the plan give the pad another logit? Its input row alone, where the head is another matrix, does not."""
    keys = {edit.key for edit in plan.edits if edit.target == "weights"} if plan is not None else set()
    return bool(keys & {"output_rows", "output_bias_rows"}) or (tied and bool(keys))


def _overwrites(plan: Plan) -> bool:
    return any((edit.target, edit.key) == ("weights", "pad_row") for edit in plan.edits)


def _softcapped(subject: Any) -> bool:
    if "softcaps-logits" in subject.traits:
        return True
    return any(
        getattr(config, "final_logit_softcapping", None) for config in nested_configs(subject.model.config)
    )


def pooled_kept(before: Any, evidence: Evidence) -> Check:
    """A classifier scores a text the same before and after, alone and in a padded batch."""
    subject, side = evidence.subject, evidence.subject.side
    padded = evidence.padded
    zones = limits(subject.dtype)
    if padded.error is not None:
        return Check("pooled-kept", False, True, cause=_pooling_error(padded.error), remedy=_OWN_PAD)
    worst, why = 0.0, None
    scale = max(
        (float(run.scores.abs().max()) for run in evidence.alone.values() if run.scores is not None),
        default=1.0,
    )
    for reason, old, new in _score_pairs(before, evidence, side):
        moved = float((old - new.to(old.device)).abs().max()) / max(scale, 1e-30)
        if not moved <= worst:
            worst = moved
            if not moved <= zones.floor * 10:
                why = reason()
    return Check(
        "pooled-kept",
        why is None,
        True,
        worst,
        zones.floor * 10,
        "of the largest score",
        why.cause if why else None,
        why.remedy if why else None,
    )


_OWN_PAD = "give the classifier a pad of its own: strategy='add'"


def _score_pairs(
    before: Any, evidence: Evidence, side: str
) -> Iterator[tuple[Callable[[], causes.Cause], Any, Any]]:
    """Two scores that must be equal, and what it means when they are not."""
    now, pad = evidence.padded, evidence.pad_id
    as_eos = pad == evidence.subject.eos_id
    known = before.scores if before is not None else evidence.filled.scores if as_eos else None
    if known is not None and now.scores is not None:
        for number in (n for n, row in enumerate(now.rows) if row.kind == "full"):
            yield functools.partial(_pooled_early, before, evidence), known[number], now.scores[number]
    for row, run in evidence.rows(side):
        alone, score = evidence.alone[row.tokens].score(evidence.probe.alone(row)), run.score(row)
        if alone is not None and score is not None:
            yield functools.partial(_pooled_elsewhere, evidence, side), alone, score


def _pooled_early(before: Any, evidence: Evidence) -> causes.Cause:
    pad, eos = evidence.pad_id, evidence.subject.eos_id
    if before is not None and before.pad_id == eos != pad and eos is not None:
        return causes.Cause(
            f"the pad was EOS ({eos}) before, so the head pooled one token early; with a pad of its own it pools the "
            "last token, which this classifier was not made for",
            "keep EOS as the pad of this classifier, or train it again with a pad of its own (verify=False)",
        )
    if pad == eos:
        return causes.Cause(
            f"the pad id {pad} is also EOS, and the head pools the last token that is not the pad: one token early",
            _OWN_PAD,
        )
    return causes.Cause(
        "the score of a text alone is not what it was: the head pools another position", _OWN_PAD
    )


def _pooled_elsewhere(evidence: Evidence, side: str) -> causes.Cause:
    subject = evidence.subject
    if evidence.against_alone(side).worst > evidence.zones.floor:
        return causes.of_padding(evidence, side)
    declared = [getattr(config, "pad_token_id", None) for config in nested_configs(subject.model.config)]
    if "pools-on-pad" in subject.traits and evidence.pad_id not in declared:
        shown = next((value for value in declared if value is not None), None)
        return causes.Cause(
            f"the head looks for config.pad_token_id = {shown}, but the tokenizer pads with {evidence.pad_id}",
            f"set config.pad_token_id = {evidence.pad_id}, as padfix.ensure_pad(model, tok) does",
        )
    other = "left" if side == "right" else "right"
    remedy = f"pad on the {other}: tok.padding_side = {other!r}"
    if "pools-last" in subject.traits and side == "right":
        return causes.Cause(
            "the head pools the last place of the row, which is padding when a batch is padded on the right",
            remedy,
        )
    return causes.Cause(
        f"a batch padded on the {side} is pooled at another position than the text alone", remedy
    )


def _pooling_error(error: str) -> str:
    if "<eos> tokens" in error:
        return f"the head pools at EOS and finds the pad there too, because pad and EOS share an id ({error})"
    if "no padding token" in error:
        return f"the model's config has no pad_token_id, so a batch cannot be pooled ({error})"
    return f"the classifier fails on a padded batch ({error})"
