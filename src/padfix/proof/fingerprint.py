"""Did any row of a vocabulary matrix change? A 64-bit checksum per row answers without keeping a copy.

A row's bytes are read as 64-bit integers, each is multiplied by its own odd number, and the products are
added modulo 2**64. Multiplying by an odd number is reversible, so a single changed word, down to one
flipped last bit, always changes the sum; several changed words cancel with a chance of 2**-64.
128 256 rows cost 1 MB and one reading pass over the matrix.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

_CHUNK = 1 << 24  # bytes of a matrix looked at at once


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """The checksums of one vocabulary tensor: its dotted name, rows and one 64-bit sum per row."""

    name: str
    role: str  # "input", "output", "bias" or "other"
    rows: int
    dtype: str
    sums: Any  # int64 tensor of shape (rows,)


def fingerprints(model: Any) -> tuple[tuple[Fingerprint, ...], tuple[str, ...]]:
    """Checksum every vocabulary-sized tensor of an unwrapped model.

    Returns the fingerprints and, in words, the tensors that could not be read (on the meta device, sharded).
    Tied weights are read once.
    """
    from padfix.read.vocabulary import vocabulary

    done: dict[int, Any] = {}
    found, unread = [], []
    for matrix in vocabulary(model).matrices:
        tensor = tensor_named(model, matrix.name)
        if tensor is None or tensor.device.type == "meta" or type(tensor).__name__ == "DTensor":
            unread.append(f"weights-kept: {matrix.name} cannot be read here (sharded, offloaded or packed)")
            continue
        if tensor.shape[matrix.dim] != matrix.rows:
            unread.append(f"weights-kept: {matrix.name} is packed or partial ({tuple(tensor.shape)})")
            continue
        if id(tensor) not in done:
            done[id(tensor)] = row_sums(tensor, matrix.dim)
        found.append(
            Fingerprint(
                matrix.name,
                matrix.role,
                matrix.rows,
                str(tensor.dtype).removeprefix("torch."),
                done[id(tensor)],
            )
        )
    return tuple(found), tuple(unread)


def tensor_named(model: Any, name: str) -> Any:
    """The parameter or buffer with this dotted name, or None."""
    import torch

    path, _, last = name.rpartition(".")
    try:
        found = getattr(model.get_submodule(path), last, None)
    except AttributeError:
        return None
    return found if isinstance(found, torch.Tensor) else None


def row_sums(tensor: Any, dim: int = 0) -> Any:
    """One int64 checksum per row of a 1-D or 2-D tensor of any dtype, on its own device.

    >>> import torch
    >>> a = torch.ones(3, 5, dtype=torch.bfloat16)
    >>> b = a.clone()
    >>> b.view(torch.int16)[1, 4] ^= 1  # the last bit of one number
    >>> (row_sums(a) != row_sums(b)).tolist()
    [False, True, False]
    """
    import torch

    table = tensor.detach().movedim(dim, 0)
    table = table.reshape(table.shape[0], -1)
    width = table.shape[1] * table.element_size()
    step = max(1, _CHUNK // max(1, width))
    parts = [_sums(table[start : start + step].contiguous()) for start in range(0, table.shape[0], step)]
    return torch.cat(parts) if parts else torch.zeros(0, dtype=torch.int64)


def _sums(rows: Any) -> Any:
    import torch

    raw = rows.reshape(-1).view(torch.uint8).view(rows.shape[0], -1)
    if raw.shape[1] % 8:  # an odd hidden size: fill the last word of each row with zeros
        raw = torch.nn.functional.pad(raw, (0, 8 - raw.shape[1] % 8))
    words = raw.contiguous().view(torch.int64)
    # 2 * 0x9E3779B97F4A7C15 * (i + 1) + 1: odd, and different for every word of a row
    index = torch.arange(1, words.shape[1] + 1, dtype=torch.int64, device=words.device)
    return (words * (index * -4354685564936845354 + 1)).sum(1)
