"""`sanity_check`: one real batch, made by the user's own collator, decides whether a run can learn what it should."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from padfix.read.live import inspect, text_tokenizer, unwrap
from padfix.rules import check
from padfix.training.batch import merge
from padfix.training.collate import called, collate, layers_of
from padfix.training.guard import untouched
from padfix.training.recipes import recipe, stack_of
from padfix.training.rows import Collator, Taken, take
from padfix.types import Batch, Finding, PadState, Report, Severity, Skip

ROWS: Final = 8  # enough for differing lengths, few enough to cost less than a training step
NO_LIMIT: Final = 1_000_000  # tokenizers without a maximum length say 1e30
LENGTH_KEYS: Final = ("max_length", "max_seq_length", "max_seq_len", "max_len", "cutoff_len", "block_size")
POSITION_KEYS: Final = ("max_position_embeddings", "n_positions", "n_ctx")


def sanity_check(
    model: Any,
    tok: Any,
    *,
    data: Any = None,
    collator: Collator | None = None,
    task: str | None = None,
    step: bool = False,
    rows: int = ROWS,
    limits: Iterable[int] = (),
) -> Report:
    """Look at model, tokenizer, collator and data together, before a training run starts.

    ``data``: a map-style or iterable ``Dataset``, a list of features or texts, a ``DataLoader``, or one
    collated batch. At most ``rows`` rows of it go through the user's own ``collator`` (a ``DataLoader``
    brings its own). ``task`` is one of ``training``, ``generation``, ``classification``, ``serving``; a
    sequence classifier defaults to ``classification``, everything else to ``training``. ``limits`` are
    lengths (in tokens) at which the data was cut, beside those that tokenizer, collator and model declare.

    ``step=True`` also proves it on the model: the padded batch has the loss of its rows alone, and no
    gradient reaches padding. It costs about two training steps.

    Nothing is changed: random state, tokenizer, collator, model mode and gradients stay as they are, and no
    iterator is advanced. Data that can be read only once is not read. What could not be looked at is in
    ``Report.skipped``.

    Raises `PadfixError` for objects that are no model or tokenizer, ``TypeError`` for data of another kind.

    >>> from padfix.testing import tiny_model, tiny_tokenizer
    >>> tok = tiny_tokenizer(pad=None)
    >>> tok.pad_token = tok.eos_token
    >>> from transformers import DataCollatorForLanguageModeling
    >>> rows = [tok("one two" + tok.eos_token), tok("three" + tok.eos_token)]
    >>> report = sanity_check(None, tok, data=rows, collator=DataCollatorForLanguageModeling(tok, mlm=False))
    >>> [finding.code for finding in report.findings if finding.severity == "error"]
    ['PAD002', 'PAD401']
    """
    tokenizer = text_tokenizer(tok)
    inner = unwrap(model)[0] if model is not None else None
    state = inspect(model, tok)
    task = task or ("classification" if state.head == "classifier" else "training")
    name = ", ".join(type(part).__name__ for part in (inner, tokenizer) if part is not None)
    if data is None:
        missing = Skip(
            "data",
            "no data given: labels, masks, padding and EOS were not looked at; pass data= and collator=",
        )
        return Report(name, state, _advised(check(state, task=task), "transformers"), (missing,))

    with untouched(inner, _tokenizers(tokenizer, collator, data)):
        taken = take(data, collator, rows, keep=(model, inner, tok, tokenizer))
        collated, batches, skipped = collate(
            taken, tokenizer, state, _limits(tokenizer, inner, taken.collator, limits)
        )
        batch = _whole(batches, tokenizer, inner, taken) if batches else None
        if batch is not None and inner is not None:
            batch, more = _run_left_padded(inner, collated[0], batch, state)
            skipped += more
        if batch is not None and step:
            batch, more = _measure_step(inner, collated[0], batches[0], batch, state)
            skipped += more
        findings = _settled(check(state, batch=batch, task=task), state, batch)
    skipped += _unseen(batch, taken, state, task)
    if taken.collator is not None:
        name += f", {called(taken.collator)}"
    advised = _advised(findings, stack_of(taken.collator))
    return Report(name, state, advised, (*taken.skipped, *skipped))


# --- from batches to findings ------------------------------------------------------------------------


def _whole(batches: Sequence[Batch], tokenizer: Any, model: Any, taken: Taken) -> Batch:
    batch = merge(batches)
    used = {i for row in (*batch.ids, *(batch.labels or ())) for i in row if i >= 0}
    router = any(getattr(config, "output_router_logits", False) for config in _configs(model))
    known = sorted(used)
    return dataclasses.replace(
        batch,
        decoded=tuple((i, _token(tokenizer, i)) for i in known),
        router_loss=router,
        collator=called(taken.collator) if taken.collator is not None else "",
    )


def _token(tokenizer: Any, token_id: int) -> str:
    try:
        text = tokenizer.convert_ids_to_tokens(token_id)
    except (IndexError, KeyError, OverflowError, TypeError, ValueError):
        text = None
    if isinstance(text, bytes):
        return text.decode("utf-8", "replace")
    return text if isinstance(text, str) else f"id {token_id}, which is no token"


def _run_left_padded(
    model: Any, collated: Any, batch: Batch, state: PadState
) -> tuple[Batch, tuple[Skip, ...]]:
    """The batch with the rows whose logits are not finite: one forward pass, only where a row is left-padded."""
    if not any(spans and spans[0][0] > 0 for spans in batch.texts) or batch.packed:
        return batch, ()
    if state.sharded or state.offloaded:
        return batch, (
            Skip("left-pad-nan", "the weights are sharded or offloaded, so no forward pass was made"),
        )
    from padfix.training.step import forward_rows

    rows, problem = forward_rows(model, collated, batch.texts)
    if rows is None:
        return batch, (Skip("left-pad-nan", problem),)
    return dataclasses.replace(batch, not_finite=rows), ()


def _measure_step(
    model: Any, collated: Any, first: Batch, batch: Batch, state: PadState
) -> tuple[Batch, tuple[Skip, ...]]:
    from padfix.training.step import measure_step

    # The first batch alone is run; its rows come first in the whole, so their numbers agree.
    router = dataclasses.replace(first, router_loss=batch.router_loss)
    measured, skipped = measure_step(model, collated, router, state)
    return dataclasses.replace(batch, step=measured), skipped


def _settled(findings: tuple[Finding, ...], state: PadState, batch: Batch | None) -> tuple[Finding, ...]:
    """What the state alone leaves open and this batch answers: does the collator keep EOS labels, does EOS train?"""
    said: dict[str, tuple[Severity | None, str]] = {}
    if batch is not None and batch.labels is not None and batch.objective == "causal":
        if any(f.code == "PAD401" for f in findings):
            said["PAD002"] = ("error", "this collator masks EOS labels with the pads")
        elif any(label in state.eos_ids for row in batch.labels for label in row[1:]):
            said["PAD002"] = ("info", "this collator keeps EOS labels: nothing to do for training")
    step = batch.step if batch is not None else None
    if step is not None and step.end_gradient and step.end_row_gradient == 0.0:
        said["PAD110"] = (
            None,
            f"measured: a gradient of {step.end_gradient:.2g} reaches an EOS, and 0 its row",
        )
    settled = [_told(f, *said[f.code]) if f.code in said else f for f in findings]
    return tuple(sorted(settled, key=lambda f: (("error", "warning", "info").index(f.severity), f.code)))


def _told(finding: Finding, severity: Severity | None, known: str) -> Finding:
    """A finding with what the batch says about it; one that it settles needs no fix."""
    fix = None if severity == "info" else finding.fix
    message = f"{finding.message} ({known})"
    return dataclasses.replace(finding, severity=severity or finding.severity, message=message, fix=fix)


def _advised(findings: Iterable[Finding], stack: str) -> tuple[Finding, ...]:
    """Each finding with the fix in the user's own stack, where there is a recipe for it."""
    return tuple(
        dataclasses.replace(f, fix=recipe(f.code, stack) or f.fix) if f.fix is not None else f
        for f in findings
    )


def _unseen(batch: Batch | None, taken: Taken, state: PadState, task: str) -> tuple[Skip, ...]:
    if batch is None:
        return ()
    skipped = []
    if taken.collator is None and not taken.collated:
        skipped.append(
            Skip(
                "collator",
                "none given: rows were padded with the tokenizer; how your collator masks labels was not looked at",
            )
        )
    elif batch.labels is None and batch.objective != "rows" and task == "training":
        skipped.append(Skip("labels", "the batch has no token labels, so the loss was not looked at"))
    if not batch.packed and all(n == len(row) for n, row in zip(batch.lengths, batch.ids, strict=True)):
        skipped.append(
            Skip(
                "padding",
                f"none of the {len(batch.ids)} rows is padded, so masks and sides were not looked at",
            )
        )
    return tuple(skipped)


# --- what stands around the batch --------------------------------------------------------------------


def _limits(tokenizer: Any, model: Any, collator: Any, given: Iterable[int]) -> frozenset[int]:
    """Every length at which something may have cut a text."""
    found = [*given, getattr(tokenizer, "model_max_length", None)]
    truncation = getattr(getattr(tokenizer, "_tokenizer", None), "truncation", None)
    if isinstance(truncation, Mapping):
        found.append(truncation.get("max_length"))
    for part in layers_of(collator):
        found += [getattr(part, key, None) for key in LENGTH_KEYS]
    found += [getattr(config, key, None) for config in _configs(model) for key in POSITION_KEYS]
    return frozenset(n for n in found if isinstance(n, int) and not isinstance(n, bool) and 0 < n < NO_LIMIT)


def _configs(model: Any) -> list[Any]:
    """The model's config and that of its text part."""
    config: Any = getattr(model, "config", None)
    if config is None:
        return []
    return [config, config.get_text_config()] if hasattr(config, "get_text_config") else [config]


def _tokenizers(tokenizer: Any, collator: Any, data: Any) -> list[Any]:
    """Every tokenizer that collating may touch."""
    found = [tokenizer]
    for part in (*layers_of(collator), *layers_of(getattr(data, "collate_fn", None))):
        for key in ("tokenizer", "processing_class", "processor"):
            held = getattr(part, key, None)
            held = getattr(held, "tokenizer", held)
            if held is not None and all(held is not other for other in found):
                found.append(held)
    return found
