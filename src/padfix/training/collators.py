"""`positional_labels`: mask the labels of padding by where it is, not by which id it has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from padfix.errors import PadfixError
from padfix.training.spans import Ids, Rows, align, one_row, plain, same_shape

IGNORED: Final = -100


@dataclass(frozen=True)
class PositionalLabels:
    """A collator around another; see `positional_labels`."""

    collator: Any
    pad_token_id: int | None = None

    def __call__(self, features: Sequence[Any], *args: Any, **kwargs: Any) -> Any:
        """What the inner collator returns, with the labels of real tokens given back."""
        batch = self.collator(features, *args, **kwargs)
        if not isinstance(batch, Mapping) or getattr(self.collator, "mlm", False):
            return batch  # a masked-language-model collator chooses its labels itself
        labels: Any = batch.get("labels")
        ids: Any = batch.get("input_ids")
        label_rows, id_rows = plain(labels), plain(ids)
        if label_rows is None or id_rows is None or not same_shape(label_rows, id_rows):
            return batch
        pad = self._pad(batch, id_rows)
        real = _real(batch, id_rows, features, pad)
        if real is None or pad is None:
            return batch
        for r, (row, own, shown) in enumerate(zip(id_rows, label_rows, real, strict=True)):
            for start, stop in _lost(row, own, shown, pad):
                labels[r][start:stop] = ids[r][start:stop]
        return batch

    def _pad(self, batch: Mapping[str, Any], ids: Rows) -> int | None:
        """The pad id given, else the collator's or its tokenizer's, else the one id that the mask hides."""
        if self.pad_token_id is not None:
            return self.pad_token_id
        holders = (
            self.collator,
            *(getattr(self.collator, key, None) for key in ("tokenizer", "processing_class")),
        )
        for holder in (*holders, getattr(getattr(self.collator, "processor", None), "tokenizer", None)):
            found = getattr(holder, "pad_token_id", None)
            if isinstance(found, int):
                return found
        mask = plain(batch.get("attention_mask"))
        if mask is None or not same_shape(mask, ids):
            return None
        hidden = {
            i
            for row, own in zip(ids, mask, strict=True)
            for i, shown in zip(row, own, strict=True)
            if not shown
        }
        return hidden.pop() if len(hidden) == 1 else None


def positional_labels(collator: Any, *, pad_token_id: int | None = None) -> PositionalLabels:
    """Wrap a language-model collator so that labels are masked by position instead of by id.

    A collator that does ``labels[labels == pad_token_id] = -100`` takes the label of every EOS when the pad
    is the EOS, and the model never learns to stop (PAD401). The wrapper gives a label back to each real
    token that lost it that way. Whether a token is real is read from ``attention_mask``, or, where there is
    none, from the lengths of the rows. A token after a masked prompt token stays masked, so collators that
    train on completions only keep doing so. Everything else, the labels of padding included, is as the
    inner collator made it.

    ``collator`` returns a mapping with ``input_ids`` and ``labels``, ``(batch, T)``, as torch tensors, numpy
    arrays or lists. ``pad_token_id`` is needed only where neither it nor its tokenizer knows the pad.
    Raises `PadfixError` for something that cannot be called.

    >>> from transformers import DataCollatorForLanguageModeling
    >>> from padfix.testing import tiny_tokenizer
    >>> tok = tiny_tokenizer()
    >>> tok.pad_token = tok.eos_token  # id 0
    >>> rows = [{"input_ids": [5, 6, 0]}, {"input_ids": [7, 0]}]
    >>> collator = DataCollatorForLanguageModeling(tok, mlm=False)
    >>> collator(rows)["labels"].tolist()
    [[5, 6, -100], [7, -100, -100]]
    >>> positional_labels(collator)(rows)["labels"].tolist()
    [[5, 6, 0], [7, 0, -100]]
    """
    if not callable(collator):
        raise PadfixError(
            f"positional_labels wraps a collator, and a {type(collator).__name__} cannot be called"
        )
    return PositionalLabels(collator, pad_token_id)


def _real(batch: Mapping[str, Any], ids: Rows, features: Sequence[Any], pad: int | None) -> Rows | None:
    """1 where a token is real, by the mask or, without one, by the lengths of the rows."""
    mask = plain(batch.get("attention_mask"))
    if mask is not None and same_shape(mask, ids):
        return mask
    rows = [one_row(row.get("input_ids")) if isinstance(row, Mapping) else one_row(row) for row in features]
    if len(rows) != len(ids) or pad is None:
        return None  # packed, or rows that do not say what is in them
    found = []
    for row, text in zip(ids, rows, strict=True):
        span = align(row, text) if text is not None else None
        if span is None:
            return None
        found.append(tuple(int(span[0] <= p < span[1]) for p in range(len(row))))
    return tuple(found)


def _lost(row: Ids, labels: Ids, shown: Ids, pad: int) -> list[tuple[int, int]]:
    """Runs of real tokens that lost their label for having the pad's id."""
    spans = []
    p = 0
    while p < len(row):
        start = p
        while p < len(row) and row[p] == pad and shown[p] and labels[p] == IGNORED:
            p += 1
        if p > start:
            first = start == 0 or not shown[start - 1]
            # At the start of a text there is no token before it to go by: the one after it tells.
            beside = p if first else start - 1
            if beside < len(row) and shown[beside] and labels[beside] != IGNORED:
                spans.append((start, p))
        p = max(p, start + 1)
    return spans
