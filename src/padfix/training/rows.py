"""Take a few rows of the user's own data without disturbing the training that follows.

A map-style dataset is indexed, never iterated; a `DataLoader` gives its dataset and its collator, and
its iterator (which draws a seed from torch's generator) is never made. An iterable dataset is read from
a deep copy. What cannot be copied or read twice is refused with the reason: a row taken from it would be
missing from the training.
"""

from __future__ import annotations

import collections
import copy
import functools
import itertools
import pickle
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from padfix.types import Skip

Collator = Callable[[list[Any]], Any]

NOT_COPIED: Final = ("transformers", "tokenizers", "torch", "numpy", "pyarrow")
LOOK_AT: Final = 2000  # objects searched for an iterator hidden inside a dataset


@dataclass(frozen=True, slots=True)
class Taken:
    """Rows of a dataset before collation, or batches that were collated already."""

    rows: tuple[Any, ...] = ()
    indices: tuple[int, ...] = ()
    collated: tuple[Any, ...] = ()
    collator: Collator | None = None
    batch_size: int | None = None
    from_loader: bool = False
    skipped: tuple[Skip, ...] = ()


def take(data: Any, collator: Collator | None, limit: int, keep: Sequence[object] = ()) -> Taken:
    """At most ``limit`` rows of ``data``, spread over it, or the batch that it already is.

    ``keep``: objects (model, tokenizer) that a copied dataset shares with the original instead of copying.
    Raises ``TypeError`` for something that is neither data nor a batch.
    """
    if isinstance(data, str):
        data = [data]
    if is_batch(data):
        return Taken(collated=(data,), collator=collator)
    if isinstance(data, Mapping):
        return take(_columns_or_split(data), collator, limit, keep)
    if hasattr(data, "dataset") and hasattr(data, "collate_fn"):
        return _from_loader(data, collator, limit, keep)
    if hasattr(data, "__getitem__") and not _iterable_style(data):
        rows, indices = _indexed(data, limit)
        if rows and all(is_batch(row) for row in rows):
            return Taken(collated=rows, indices=indices, collator=collator)
        return Taken(rows, indices, collator=collator)
    if isinstance(data, Iterable):
        fresh = _fresh(data, keep)
        if isinstance(fresh, Skip):
            return Taken(collator=collator, skipped=(fresh,))
        rows = tuple(itertools.islice(fresh, limit))
        if rows and all(is_batch(row) for row in rows):
            return Taken(collated=rows, indices=tuple(range(len(rows))), collator=collator)
        return Taken(rows, tuple(range(len(rows))), collator=collator)
    raise TypeError(
        f"data is a {type(data).__name__}; expected a Dataset, a DataLoader, a list of rows or texts, or one batch"
    )


def is_batch(data: Any) -> bool:
    """True for a collated batch: a mapping whose ids (or targets) are a rectangle of ``(rows, T)``."""
    if not isinstance(data, Mapping):
        return hasattr(data, "ndim") and hasattr(data, "tolist") and data.ndim == 2
    for key in data:
        if str(key).endswith(("input_ids", "input_features", "pixel_values")):
            value = data[key]
            if hasattr(value, "ndim"):
                return bool(value.ndim >= 2)
            return _rectangle(value)
    return False


def _rectangle(value: Any) -> bool:
    if (
        not isinstance(value, (list, tuple))
        or not value
        or not all(isinstance(row, (list, tuple)) for row in value)
    ):
        return False
    return len({len(row) for row in value}) == 1


def _columns_or_split(data: Mapping[Any, Any]) -> Any:
    """Rows out of a dict of columns (what ``tok(texts)`` gives) or of a dict of splits."""
    for split in ("train", *data):
        if (
            split in data
            and not isinstance(data[split], (str, bytes))
            and hasattr(data[split], "column_names")
        ):
            return data[split]
    columns = {key: value for key, value in data.items() if isinstance(value, (list, tuple))}
    if columns and len({len(value) for value in columns.values()}) == 1 and len(columns) == len(data):
        count = len(next(iter(columns.values())))
        first = next(iter(columns.values()))
        if first and isinstance(first[0], (int, float)):
            return [data]  # one row of features
        return [{key: value[i] for key, value in columns.items()} for i in range(count)]
    return [data]


def _from_loader(loader: Any, collator: Collator | None, limit: int, keep: Sequence[object]) -> Taken:
    own = collator if collator is not None else loader.collate_fn
    size = getattr(loader, "batch_size", None)
    if size is None:
        size = getattr(getattr(loader, "batch_sampler", None), "batch_size", None)
    taken = take(loader.dataset, own, limit, (*keep, own))
    batched = getattr(loader, "batch_sampler", None) is not None or size is not None
    if not batched and taken.rows and all(is_batch(row) for row in taken.rows):
        return Taken(collated=taken.rows, indices=taken.indices, collator=own, from_loader=True)
    return Taken(
        taken.rows, taken.indices, taken.collated, own, size, from_loader=True, skipped=taken.skipped
    )


def _iterable_style(data: Any) -> bool:
    """torch's ``IterableDataset`` inherits a ``__getitem__`` that only raises."""
    return any(cls.__name__ == "IterableDataset" for cls in type(data).__mro__)


def _indexed(data: Any, limit: int) -> tuple[tuple[Any, ...], tuple[int, ...]]:
    """Rows spread evenly over the data: their lengths differ more than those of its first rows."""
    if not hasattr(data, "__len__"):
        rows: list[Any] = []
        for i in range(limit):
            try:
                rows.append(_own(data[i]))
            except (IndexError, StopIteration):
                break
        return tuple(rows), tuple(range(len(rows)))
    total = len(data)
    count = min(limit, total)
    indices = tuple(i * total // count for i in range(count)) if count else ()
    return tuple(_own(data[i]) for i in indices), indices


def _own(row: Any) -> Any:
    """A copy of a row: collators pop keys and extend lists of what they are given."""
    try:
        return copy.deepcopy(row)
    except (TypeError, ValueError, RuntimeError, AttributeError, copy.Error, pickle.PickleError):
        return dict(row) if isinstance(row, Mapping) else row


def _fresh(data: Iterable[Any], keep: Sequence[object]) -> Iterator[Any] | Skip:
    name = f"data ({type(data).__name__})"
    way_out = "pass a list of rows, such as list(itertools.islice(make_stream(), 8)), or one collated batch"
    if isinstance(data, Iterator):
        return Skip(
            name, f"it can be read only once, and rows taken here would be missing from training; {way_out}"
        )
    hidden = _hidden_iterator(data)
    if hidden is not None:
        return Skip(name, f"it holds a {hidden}, which can be read only once; {way_out}")
    memo = {id(thing): thing for thing in keep}
    try:
        return iter(copy.deepcopy(data, memo))
    except (
        TypeError,
        ValueError,
        RuntimeError,
        AttributeError,
        OSError,
        copy.Error,
        pickle.PickleError,
    ) as error:
        return Skip(name, f"it cannot be copied ({error}), and reading it would move its position; {way_out}")


def _hidden_iterator(data: object) -> str | None:
    """The type of an iterator, open file or generator that a dataset draws from, if it holds one."""
    seen: set[int] = set()
    queue = collections.deque([data])
    while queue and len(seen) < LOOK_AT:
        thing = queue.popleft()
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        if isinstance(thing, Iterator):
            return type(thing).__name__
        queue.extend(_parts(thing))
    return None


def _parts(thing: object) -> list[object]:
    if isinstance(thing, (str, bytes, int, float, type, types.ModuleType)) or thing is None:
        return []
    if isinstance(thing, Mapping):
        return list(itertools.islice(thing.values(), 50))
    if isinstance(thing, (list, tuple, set, frozenset)):
        return list(itertools.islice(thing, 50))
    if isinstance(thing, functools.partial):
        return [thing.func, *thing.args, *thing.keywords.values()]
    if isinstance(thing, types.MethodType):
        return [thing.__self__, thing.__func__]
    if isinstance(thing, types.FunctionType):
        return [cell.cell_contents for cell in thing.__closure__ or () if _filled(cell)]
    if type(thing).__module__.split(".")[0] in NOT_COPIED:
        return []
    return list(vars(thing).values()) if hasattr(thing, "__dict__") else []


def _filled(cell: types.CellType) -> bool:
    try:
        _ = cell.cell_contents
    except ValueError:
        return False
    return True
