"""Growing matrices in place, overwriting one row, and telling later whether rows were trained.

`grow` carries out a `survey`: it swaps the data of the existing parameters and buffers, so modules, hooks, ties,
``requires_grad`` and an optimiser that has not stepped survive, and the new rows are exactly the mean of the old
ones or zero.
"""

from __future__ import annotations

import ctypes
import functools
import mmap
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from padfix.errors import StrategyError
from padfix.write.journal import Journal
from padfix.write.survey import LOAD_FIRST, Growth, Init, Table, unwritable

_CHUNK = 2**19
"""Numbers handled at a time: 2 MiB in fp32, which stay in the cache for copy and sum (fewer cost more in calls).
``.mean(0, dtype=torch.float32)`` of a whole 128256 x 4096 matrix would take 2 GiB."""

_LANES = 32
"""Parts that a large matrix is summed in, whatever the number of cores: the same mean on every rank. So many, that
a core which another job holds up keeps the others waiting for a small part only."""

_SMALL = 2**20
"""Up to so many numbers, threads and parts cost more than they save."""

_MADV_POPULATE_WRITE = 23
"""From Linux's <asm-generic/mman-common.h>; Python's mmap module does not name it."""


def grow(growth: Growth, journal: Journal) -> tuple[Fingerprint, ...]:
    """Carry out a `survey`, one matrix at a time; the journal can take each step back.

    Memory: one grown matrix beside the old one, no more. A tensor's identity, its ``requires_grad``, dtype
    and device stay. Returns what `Fingerprint.check` needs to tell later whether the rows were trained.
    """
    marks = []
    for table in growth.tables:
        data, mean = _grown(table)
        first = table.tensors[0]
        inference = first.is_inference()
        journal.record(table.name, _truncation(table, inference))
        for tensor in table.tensors:
            tensor.data = data
        marks.append(Fingerprint.of(table.name, first, table.dim, table.before, mean))
        del data
    for module, name, value in growth.attributes:
        journal.set_attribute(module, name, value)
    return tuple(marks)


def overwrite_row(weight: Any, name: str, row: int, value: Init, journal: Journal) -> Fingerprint:
    """Write zeros or the mean of all other rows into one row of a matrix, in place; the old row is kept."""
    import torch

    reason = unwritable(weight)
    if reason is None and weight.shape[0] <= row:
        reason = f"has {weight.shape[0]} rows, so no row {row}"
    if reason is not None:
        raise StrategyError(f"{name} {reason}: its row {row} cannot be set to {value}; {LOAD_FIRST}")
    with torch.inference_mode(False), torch.no_grad():
        old = weight.detach()[row].clone()
        new = torch.zeros_like(old)
        if value == "mean":  # of all other rows
            matrix = weight.detach()
            above, below = _pass(matrix[:row]) * row, _pass(matrix[row + 1 :]) * (len(matrix) - row - 1)
            mean = (above + below) / max(len(matrix) - 1, 1)
            if not bool(mean.isfinite().all()):
                mean = _finite(mean, torch.cat([matrix[:row], matrix[row + 1 :]]), name)
            new = mean.to(matrix.dtype)

    def write(content: Any) -> None:
        # an inference tensor can only be written in inference mode; any other must be written outside it,
        # so that its version moves and a backward pass through the old row fails instead of being wrong
        with torch.inference_mode(weight.is_inference()), torch.no_grad():
            weight[row] = content
        _own_writes()[weight] = _own_writes().get(weight, 0) + 1

    journal.record(f"{name}[{row}]", lambda: write(old))
    write(new)
    return Fingerprint.of(name, weight, 0, len(weight), _pass(weight.detach()))


# --- doing it ---------------------------------------------------------------------------------------


def _grown(table: Table) -> tuple[Any, Any]:
    """The grown memory, and the mean of the old rows as they are, in fp32."""
    import torch

    old = table.tensors[0].detach()
    shape = list(old.shape)
    shape[table.dim] = table.after
    with torch.inference_mode(False), torch.no_grad():  # else the next backward fails on inference tensors
        data = torch.empty(shape, dtype=old.dtype, device=old.device)
        rows = old.movedim(table.dim, 0)
        mean = _pass(rows, data.narrow(table.dim, 0, table.before).movedim(table.dim, 0))
        new = data.narrow(table.dim, table.before, table.after - table.before).movedim(table.dim, 0)
        new.copy_(_finite(mean, rows, table.name) if table.fill == "mean" else torch.zeros_like(mean))
        if old.device.type == "cpu" and table.tensors[0].is_shared():
            data.share_memory_()  # type: ignore[no-untyped-call]
    if table.tensors[0].is_inference():  # a model loaded in inference mode takes no other data back later
        with torch.inference_mode():
            data = data.clone()
    return data, mean


def _touch(piece: Any) -> None:
    """Let Linux (5.14 or later) map the pages of contiguous CPU memory in one call; elsewhere nothing happens.

    1 GiB of fresh memory is 262144 page faults of 4 KiB: 0.45 s of the 0.54 s of processor time that a plain copy
    takes, and 0.08 s less with a call per MiB. Pages of 2 MiB would be faster still where the memory is at hand, and
    took three times as long as small ones in a virtual machine whose host takes back what lies idle.
    """
    first = -(-piece.data_ptr() // mmap.PAGESIZE) * mmap.PAGESIZE
    end = (piece.data_ptr() + piece.numel() * piece.element_size()) // mmap.PAGESIZE * mmap.PAGESIZE
    if end > first:
        _libc().madvise(ctypes.c_void_p(first), ctypes.c_size_t(end - first), _MADV_POPULATE_WRITE)


@functools.cache
def _libc() -> Any:
    return ctypes.CDLL(None)


def _pass(matrix: Any, copy_to: Any = None) -> Any:
    """The mean over dimension 0 in fp32 (fp64 for fp64); on the way, copy the rows.

    On the CPU each of a few threads takes every piece of its lane by itself: torch's own threads would wait for
    each other after each of a thousand small steps (measured on a busy machine: 25 s instead of 0.2 s for 1 GiB).
    """
    import torch

    wide = torch.float64 if matrix.dtype == torch.float64 else torch.float32
    rows, shape = len(matrix), matrix.shape[1:]
    step = max(1, _CHUNK // max(1, matrix[:1].numel()))
    lanes = _LANES if matrix.numel() > _SMALL else 1
    threads = torch.get_num_threads() if matrix.device.type == "cpu" else 1
    workers = min(threads, lanes)
    fresh = (
        copy_to is not None
        and lanes > 1
        and sys.platform == "linux"
        and copy_to.device.type == "cpu"
        and copy_to.is_contiguous()
    )
    with torch.inference_mode(False), torch.no_grad():
        totals = torch.zeros((lanes, *shape), dtype=wide, device=matrix.device)
        # made here once: a small result above what each lane frees would keep that from the next one
        scratch = [
            torch.empty((2, min(step, rows), *shape), dtype=wide, device=matrix.device)
            for _ in range(workers)
        ]

    def lane(number: int) -> None:
        sums, buffer = mine = scratch.pop()
        try:
            with torch.inference_mode(False), torch.no_grad():  # both are set per thread
                sums.zero_()
                last = rows * (number + 1) // lanes
                for start in range(rows * number // lanes, last, step):
                    stop = min(start + step, last)
                    piece = matrix[start:stop]
                    if copy_to is not None:
                        target = copy_to[start:stop]
                        if fresh:
                            _touch(target)
                        target.copy_(piece)
                    sums[: stop - start].add_(buffer[: stop - start].copy_(piece))
                totals[number] = sums.sum(0)
        finally:
            scratch.append(mine)

    try:
        if threads > 1:
            torch.set_num_threads(1)
        if workers > 1:
            with ThreadPoolExecutor(workers) as pool:
                list(pool.map(lane, range(lanes)))
        else:
            for number in range(lanes):
                lane(number)
    finally:
        if threads > 1:
            torch.set_num_threads(threads)
    return totals.sum(0) / max(rows, 1)


def _finite(mean: Any, rows: Any, name: str) -> Any:
    """The mean itself, or that of the finite rows where spare rows hold NaN or infinities."""
    if bool(mean.isfinite().all()):
        return mean
    good = rows.isfinite() if rows.ndim == 1 else rows.isfinite().flatten(1).all(1)
    kept = rows[good]
    if len(kept) == 0 or not bool((again := kept.sum(0, dtype=mean.dtype) / len(kept)).isfinite().all()):
        raise StrategyError(
            f"the mean row of {name} is not finite: {int((~good).sum())} of {len(rows)} rows hold NaN or infinity; "
            "check the checkpoint, or use a strategy that adds no row"
        )
    return again


def _truncation(table: Table, inference: bool) -> Callable[[], None]:
    def truncate() -> None:
        import torch

        if all(t.shape[table.dim] == table.before for t in table.tensors):
            return
        grown = next(t for t in table.tensors if t.shape[table.dim] != table.before).detach()
        with torch.inference_mode(inference), torch.no_grad():
            kept = grown.narrow(table.dim, 0, table.before)
            try:
                kept = kept.clone(memory_format=torch.contiguous_format)
            except (MemoryError, RuntimeError):
                kept = kept.detach()  # no memory for a copy: the same rows, as a view of the grown ones
            for tensor in table.tensors:
                tensor.data = kept

    return truncate


# --- was it trained since? --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What tells whether a tensor was written since, and costs no pass over it when it is taken.

    The version that autograd counts up with each write in place; the mean row, which growing computes anyway, for
    writes past autograd (a changed weight moves a column's mean unless by less than its rounding, about 1e-7 of
    the column's sum); and the new rows themselves.
    """

    name: str
    tensor: Any
    dim: int
    rows: int  # of which `mean` is the mean; those above are `new`
    mean: Any
    new: Any
    version: int | None

    @classmethod
    def of(cls, name: str, tensor: Any, dim: int, rows: int, mean: Any) -> Fingerprint:
        """Of a tensor as it is now, whose first ``rows`` rows have this mean."""
        new = tensor.detach().movedim(dim, 0)[rows:].clone()
        return cls(name, tensor, dim, rows, mean, new, _version(tensor))

    def changed(self) -> str | None:
        """What happened to the tensor since, in words, or None."""
        now = self.tensor.detach()
        rows = self.rows + len(self.new)
        if now.ndim <= self.dim or now.shape[self.dim] != rows or now.device.type == "meta":
            return f"{self.name} is {tuple(now.shape)} on {now.device.type} now, and had {rows} rows"
        if now.dtype != self.new.dtype:
            return f"{self.name} is {now.dtype} now, and was {self.new.dtype}"
        now = now.to(self.new.device).movedim(self.dim, 0)
        if not _same_bits(_pass(now[: self.rows]), self.mean):
            return f"old rows of {self.name} have changed"
        if not _same_bits(now[self.rows :], self.new):
            return f"new rows of {self.name} have changed"
        if self.version is not None and _version(self.tensor) not in (None, self.version):
            return f"{self.name} was written in place"
        return None


@functools.cache
def _own_writes() -> Any:
    """How often padfix itself wrote into a tensor: an overwritten row that was put back is no training."""
    from torch.utils.weak import WeakTensorKeyDictionary

    return WeakTensorKeyDictionary()


def _version(tensor: Any) -> int | None:
    """Writes in place by others than padfix; None where a tensor does not count them."""
    return None if tensor.is_inference() else int(tensor._version) - int(_own_writes().get(tensor, 0))


def _same_bits(left: Any, right: Any) -> bool:
    """Equal to the bit: NaN equals itself, and 0.0 is not -0.0."""
    import torch

    def raw(tensor: Any) -> Any:  # cloned, since a view of one row may keep the strides of the whole
        return tensor.flatten().clone(memory_format=torch.contiguous_format).view(torch.uint8)

    return torch.equal(raw(left), raw(right))
