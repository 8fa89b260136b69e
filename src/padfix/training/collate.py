"""Run the user's own collator on their own rows, whatever form the rows have."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from padfix.training.batch import read_batch
from padfix.training.guard import own_collator
from padfix.training.rows import Taken
from padfix.types import Batch, PadState, Skip

MODEL_KEYS: Final = (
    "input_ids", "attention_mask", "labels", "label", "label_ids", "token_type_ids", "position_ids",
    "special_tokens_mask", "decoder_input_ids", "input_features", "pixel_values",
)  # fmt: skip


def collate(
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
            return [], [], (Skip(f"collator ({called(taken.collator)})", problem),)
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


def layers_of(collator: Any) -> list[Any]:
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


def called(collator: Any) -> str:
    """The name of the collator that does the work, under the wrappers of a trainer."""
    if collator is None:
        return "none"
    innermost = layers_of(collator)[-1]
    own = type(innermost)
    return getattr(innermost, "__qualname__", None) or own.__qualname__


def _brief(row: Any) -> str:
    if isinstance(row, Mapping):
        return f"a mapping with {', '.join(map(repr, list(row)[:6]))}"
    return f"a {type(row).__name__}"
