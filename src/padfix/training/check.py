"""`sanity_check`: one real batch, made by the user's own collator, decides whether a run can learn what it should."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from padfix.read.live import inspect, text_tokenizer, unwrap
from padfix.rules import check
from padfix.training.batch import merge, read_batch
from padfix.training.guard import own_collator, untouched
from padfix.training.recipes import recipe, stack_of
from padfix.training.rows import Collator, Taken, take
from padfix.types import Batch, Finding, PadState, Report, Severity, Skip

ROWS: Final = 8  # enough for differing lengths, few enough to cost less than a training step
NO_LIMIT: Final = 1_000_000  # tokenizers without a maximum length say 1e30
LENGTH_KEYS: Final = ("max_length", "max_seq_length", "max_seq_len", "max_len", "cutoff_len", "block_size")
POSITION_KEYS: Final = ("max_position_embeddings", "n_positions", "n_ctx")
MODEL_KEYS: Final = (
    "input_ids", "attention_mask", "labels", "label", "label_ids", "token_type_ids", "position_ids",
    "special_tokens_mask", "decoder_input_ids", "input_features", "pixel_values",
)  # fmt: skip


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
    name = state.source or "live objects"
    if data is None:
        missing = Skip(
            "data",
            "no data given: labels, masks, padding and EOS were not looked at; pass data= and collator=",
        )
        return Report(name, state, _advised(check(state, task=task), "transformers"), (missing,))

    with untouched(inner, _tokenizers(tokenizer, collator, data)):
        taken = take(data, collator, rows, keep=(model, inner, tok, tokenizer))
        collated, batches, skipped = _collate(
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
    advised = _advised(findings, stack_of(taken.collator))
    return Report(name, state, advised, (*taken.skipped, *skipped))


# --- from rows to batches ----------------------------------------------------------------------------


def _collate(
    taken: Taken, tokenizer: Any, state: PadState, limits: frozenset[int]
) -> tuple[list[Any], list[Batch], tuple[Skip, ...]]:
    """Every batch as it was collated, the same as `Batch` records, and why there is none."""
    if taken.collated:
        collated: list[Any] = list(taken.collated)
        pieces: list[tuple[Sequence[Any], Sequence[int]]] = [((), ()) for _ in collated]
    else:
        size = min(taken.batch_size or len(taken.rows), max(len(taken.rows), 1))
        pieces = [
            (taken.rows[i : i + size], taken.indices[i : i + size])
            for i in range(0, len(taken.rows), size or 1)
        ]
        if not pieces:
            reason = () if taken.skipped else (Skip("data", "it has no rows"),)
            return [], [], reason
        run, problem = _runner(taken, pieces[0][0], tokenizer, state)
        if run is None:
            return [], [], (Skip(f"collator ({_called(taken.collator)})", problem),)
        collated, prepared = [], []
        for part, indices in pieces:
            shown, made = run(part)
            collated.append(made)
            prepared.append((shown, indices))
        pieces = prepared
    batches = [
        read_batch(made, part, indices, state, limits)
        for made, (part, indices) in zip(collated, pieces, strict=True)
    ]
    known = [batch for batch in batches if batch is not None]
    if len(known) < len(batches):
        kept = (
            sorted(map(str, collated[0])) if isinstance(collated[0], Mapping) else type(collated[0]).__name__
        )
        return collated, [], (Skip("batch", f"it holds no rectangle of input_ids or labels; it has {kept}"),)
    return collated, known, ()


Runner = Callable[[Sequence[Any]], tuple[Sequence[Any], Any]]


def _runner(taken: Taken, part: Sequence[Any], tokenizer: Any, state: PadState) -> tuple[Runner | None, str]:
    """How these rows become a batch: as they are, tokenized first, or with the model's columns only."""
    collator = taken.collator
    if collator is None:
        encoded = functools.partial(_encoded, tokenizer=tokenizer)
        if any(encoded(row) is None for row in part):
            return (
                None,
                f"a row is {_brief(part[0])}: expected input_ids, a text, or a collator that reads such rows",
            )
        return lambda rows: _padded([encoded(row) for row in rows], tokenizer, state), ""
    own = own_collator(collator, (tokenizer,))
    problems: list[str] = []
    for prepare in (_as_is, functools.partial(_encoded, tokenizer=tokenizer), _model_columns):
        prepared = [prepare(row) for row in part]
        if any(row is None for row in prepared) or (prepare is not _as_is and prepared == list(part)):
            continue
        try:
            own_collator(collator, (tokenizer,))([_copy(row) for row in prepared])
        except Exception as error:  # noqa: BLE001 - the user's code: its cause goes into the report
            problems.append(f"{type(error).__name__}: {error}")
            continue

        def run(rows: Sequence[Any], prepare: Callable[[Any], Any] = prepare) -> tuple[Sequence[Any], Any]:
            shown = [prepare(row) for row in rows]
            return shown, own([_copy(row) for row in shown])

        return run, ""
    return None, f"it raised {problems[0]}" if problems else f"it cannot read a row like {_brief(part[0])}"


def _as_is(row: Any) -> Any:
    return row


def _model_columns(row: Any) -> Any:
    return {key: row[key] for key in row if key in MODEL_KEYS} if isinstance(row, Mapping) else None


def _copy(row: Any) -> Any:
    return dict(row) if isinstance(row, Mapping) else row


def _encoded(row: Any, tokenizer: Any) -> Any:
    """A row with ``input_ids``, tokenized where it is a text or a conversation; None where it cannot be."""
    if isinstance(row, str):
        return dict(tokenizer(row))
    if not isinstance(row, Mapping):
        return {"input_ids": row} if _ids(row) else None
    if "input_ids" in row:
        return dict(row)
    kept = {key: row[key] for key in ("label", "labels") if key in row}
    if isinstance(row.get("text"), str):
        return {**tokenizer(row["text"]), **kept}
    if isinstance(row.get("prompt"), str) and isinstance(row.get("completion"), str):
        return {**tokenizer(row["prompt"] + row["completion"]), **kept}
    if isinstance(row.get("messages"), list) and getattr(tokenizer, "chat_template", None):
        return {**tokenizer.apply_chat_template(row["messages"], tokenize=True, return_dict=True), **kept}
    return None


def _ids(row: Any) -> bool:
    values = row.tolist() if hasattr(row, "tolist") else row
    return isinstance(values, (list, tuple)) and bool(values) and all(isinstance(i, int) for i in values)


def _padded(rows: Sequence[dict[str, Any]], tokenizer: Any, state: PadState) -> tuple[Sequence[Any], Any]:
    """A batch without a collator: what the tokenizer's own ``pad`` makes, labels padded with -100."""
    kept = [{key: row[key] for key in ("input_ids", "attention_mask") if key in row} for row in rows]
    own = [{key: v.tolist() if hasattr(v, "tolist") else list(v) for key, v in row.items()} for row in kept]
    width = max(len(row["input_ids"]) for row in own)
    pad = state.pad.id if state.pad is not None and state.pad.id is not None else 0
    batch: dict[str, list[list[int]]] = {"input_ids": [], "attention_mask": []}
    labelled = all("labels" in row and _ids(row["labels"]) for row in rows)
    if labelled:
        batch["labels"] = []
        label_width = max(len(row["labels"]) for row in rows)
    left = getattr(tokenizer, "padding_side", "right") == "left"
    for source, row in zip(rows, own, strict=True):
        n = len(row["input_ids"])
        fill = [pad] * (width - n)
        mask = row.get("attention_mask", [1] * n)
        batch["input_ids"].append(fill + row["input_ids"] if left else row["input_ids"] + fill)
        batch["attention_mask"].append([0] * len(fill) + mask if left else mask + [0] * len(fill))
        if labelled:
            labels = [int(label) for label in source["labels"]]
            gap = [-100] * (label_width - len(labels))
            batch["labels"].append(gap + labels if left else labels + gap)
    return own, batch


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
        collator=_called(taken.collator) if taken.collator is not None else "",
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
    settled = [
        dataclasses.replace(
            f, severity=said[f.code][0] or f.severity, message=f"{f.message} ({said[f.code][1]})"
        )
        if f.code in said
        else f
        for f in findings
    ]
    return tuple(sorted(settled, key=lambda f: (("error", "warning", "info").index(f.severity), f.code)))


def _advised(findings: Iterable[Finding], stack: str) -> tuple[Finding, ...]:
    """Each finding with the fix in the user's own stack, where there is a recipe for it."""
    return tuple(dataclasses.replace(f, fix=recipe(f.code, stack) or f.fix) for f in findings)


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
    for part in _layers(collator):
        found += [getattr(part, key, None) for key in LENGTH_KEYS]
    found += [getattr(config, key, None) for config in _configs(model) for key in POSITION_KEYS]
    return frozenset(n for n in found if isinstance(n, int) and not isinstance(n, bool) and 0 < n < NO_LIMIT)


def _configs(model: Any) -> list[Any]:
    """The model's config and that of its text part."""
    config: Any = getattr(model, "config", None)
    if config is None:
        return []
    return [config, config.get_text_config()] if hasattr(config, "get_text_config") else [config]


def _layers(collator: Any) -> list[Any]:
    """A collator and those it wraps, the outermost first."""
    layers: list[Any] = []
    while collator is not None and len(layers) < 8:
        layers.append(collator)
        inner = next(
            (
                getattr(collator, key)
                for key in ("data_collator", "collator", "func")
                if hasattr(collator, key)
            ),
            None,
        )
        collator = inner if callable(inner) else None
    return layers


def _called(collator: Any) -> str:
    """The name of the collator that does the work, under the wrappers of a trainer."""
    if collator is None:
        return "none"
    innermost = _layers(collator)[-1]
    own = type(innermost)
    return getattr(innermost, "__qualname__", None) or own.__qualname__


def _tokenizers(tokenizer: Any, collator: Any, data: Any) -> list[Any]:
    """Every tokenizer that collating may touch."""
    found = [tokenizer]
    for part in (*_layers(collator), *_layers(getattr(data, "collate_fn", None))):
        for key in ("tokenizer", "processing_class", "processor"):
            held = getattr(part, key, None)
            held = getattr(held, "tokenizer", held)
            if held is not None and all(held is not other for other in found):
                found.append(held)
    return found


def _brief(row: Any) -> str:
    if isinstance(row, Mapping):
        return f"a mapping with {', '.join(map(repr, list(row)[:6]))}"
    return f"a {type(row).__name__}"
