"""Does a padded batch generate, greedily, what each prompt generates alone?"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from padfix.proof import causes
from padfix.proof.evidence import Evidence
from padfix.proof.probes import Row
from padfix.proof.run import tensors
from padfix.proof.subject import FORWARD_ERRORS, untouched
from padfix.types import Check

NEW_TOKENS = 8
_LENGTHS = (5, 9, 12)


def generation_kept(evidence: Evidence) -> Check | str:
    """Greedy batch against each prompt alone, left-padded (an encoder-decoder: on the tokenizer's side).

    A difference is a tie when the two best tokens lie within the rounding that the batch itself shows;
    anything else is a leak. A string says why nothing could be measured.
    """
    subject = evidence.subject
    can = getattr(subject.model, "can_generate", None)
    if can is None or not can() or evidence.probe.pooled:
        return f"generation-kept: {type(subject.model).__name__} does not generate"
    rows = _prompts(evidence)
    try:
        settings = _greedy(evidence)
        batch = _generate(evidence, rows, settings)
        found = [_compare(evidence, n, row, batch, settings) for n, row in enumerate(rows)]
    except FORWARD_ERRORS as problem:
        return f"generation-kept: generate() fails here ({type(problem).__name__}: {str(problem)[:200]})"
    leaks = [text for kind, text in found if kind == "leak"]
    ties = [text for kind, text in found if kind == "tie"]
    cause = remedy = None
    if leaks:
        side = "left" if rows[0].left else "right"
        if evidence.against_alone(side).worst > evidence.zones.floor:
            why = causes.of_padding(evidence, side)
            cause, remedy = f"{leaks[0]}: {why.cause}", why.remedy
        else:
            cause = (
                f"{leaks[0]}, although forward() agrees: generate() prepares other positions or another cache"
            )
            remedy = "generate one prompt at a time, or with use_cache=False"
    return Check(
        "generation-kept",
        not leaks,
        False,
        float(len(leaks)),
        0.0,
        "prompts that differ",
        cause,
        remedy,
        f"{len(rows)} prompts, {NEW_TOKENS} new tokens, greedy" + (f"; a tie: {ties[0]}" if ties else ""),
    )


def _prompts(evidence: Evidence) -> tuple[Row, ...]:
    probe, subject = evidence.probe, evidence.subject
    lengths = [n for n in _LENGTHS if n <= probe.width - (0 if subject.seq2seq else NEW_TOKENS)] or [3]
    width = max(lengths)
    side = subject.side if subject.seq2seq else "left"
    rows = []
    for n, length in enumerate(lengths):
        text = probe.text(n % len(probe.bodies), length)
        if not subject.seq2seq and probe.layout == "alone":
            text = text[: length - len(probe.suffix)] or text
        pads = width - len(text)
        rows.append(Row("full", n % len(probe.bodies), text, **{side: pads}))  # type: ignore[arg-type]
    return tuple(rows)


def _greedy(evidence: Evidence) -> Any:
    from transformers import GenerationConfig

    subject = evidence.subject
    own = getattr(subject.model, "generation_config", None)
    names = ("bos_token_id", "eos_token_id", "decoder_start_token_id", "forced_bos_token_id")
    ids = {name: getattr(own, name, None) for name in names}
    return GenerationConfig(
        **ids,
        pad_token_id=evidence.pad_id if evidence.pad_id is not None else evidence.probe.fill[0],
        max_new_tokens=NEW_TOKENS,
        do_sample=False,
        num_beams=1,
        return_dict_in_generate=True,
        output_logits=True,
    )


def _generate(evidence: Evidence, rows: tuple[Row, ...], settings: Any) -> Any:
    subject = evidence.subject
    fill = (settings.pad_token_id,)
    inputs = tensors(subject, rows, fill, positions=False)
    kept = {
        name: value
        for name, value in inputs.items()
        if name in ("input_ids", "attention_mask", "token_type_ids")
    }
    with untouched(subject.model):
        return subject.model.generate(**kept, generation_config=settings)


def _compare(evidence: Evidence, number: int, row: Row, batch: Any, settings: Any) -> tuple[str, str]:
    alone = _generate(evidence, (replace(row, left=0, right=0),), settings)
    skip = 0 if evidence.subject.seq2seq else 1
    one = _ended(alone.sequences[0, len(row.tokens) * skip :].tolist(), settings)
    many = _ended(batch.sequences[number, row.width * skip :].tolist(), settings)
    if one == many:
        return "same", ""
    step = next(
        (i for i, (a, b) in enumerate(zip(one, many, strict=False)) if a != b), min(len(one), len(many))
    )
    place = max(0, min(step - (0 if skip else 1), len(alone.logits) - 1, len(batch.logits) - 1))
    a, b = alone.logits[place][0].float(), batch.logits[place][number].float()
    text = f"prompt {number} differs at new token {step + 1}"
    if not bool(b.isfinite().any()) or not bool(a.isfinite().any()):
        return "leak", f"{text} (NaN)"
    best = a.topk(2).values
    gap, moved = float(best[0] - best[1]), float((a - b).abs().max())
    spread = float(a.std())
    limit = max(evidence.zones.floor, 4 * evidence.noise if moved > evidence.zones.floor * spread else 0.0)
    if gap <= 2 * moved and moved <= 4 * limit * max(spread, 1e-30):
        return (
            "tie",
            f"{text}, where the two best tokens are {gap:.2g} apart and rounding moves logits by {moved:.2g}",
        )
    return "leak", f"{text} (logits moved by {moved:.2g}, the two best tokens are {gap:.2g} apart)"


def _ended(ids: list[int], settings: Any) -> list[int]:
    """Generated ids up to and with the first EOS."""
    ends = settings.eos_token_id
    stops = set(ends if isinstance(ends, (list, tuple)) else [] if ends is None else [ends])
    for place, token in enumerate(ids):
        if token in stops:
            return ids[: place + 1]
    return ids
