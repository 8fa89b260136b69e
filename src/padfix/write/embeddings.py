"""Growing vocabulary-sized matrices: `survey` says what would grow, `grow` does it in place.

`survey` asks a weightless twin what the model's own ``resize_token_embeddings`` changes, corrects what that
is known to get wrong (a new head bias of 0, an input matrix cut to the size of a smaller head), and refuses
what cannot be grown safely. `grow` swaps the data of the existing parameters and buffers, so modules, hooks,
ties, ``requires_grad`` and an optimiser that has not stepped survive.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from padfix.errors import StrategyError
from padfix.read.vocabulary import Vocabulary, same_tensor, vocabulary
from padfix.write.journal import Journal
from padfix.write.twin import all_tensors, built_with, resized_twin

Init = Literal["mean", "zero"]

_CHUNK = 2**20
"""Numbers summed at a time: 4 MiB in fp32, which stay in the cache. ``.mean(0, dtype=torch.float32)`` of a whole
128256 x 4096 matrix would take 2 GiB."""

_LOAD_FIRST = "give the pad to the unsharded model first (load it on one device, ensure_pad, save_pretrained)"


@dataclass(frozen=True, slots=True)
class Rows:
    """Row counts to reach, None where that matrix stays as it is."""

    input: int | None = None
    output: int | None = None
    bias: int | None = None

    @property
    def most(self) -> int:
        """The largest of them."""
        return max(n for n in (self.input, self.output, self.bias, 0) if n is not None)


@dataclass(frozen=True, slots=True)
class Table:
    """One piece of memory that grows: the tensors that share it, along ``dim``, and its new rows' content."""

    names: tuple[str, ...]
    tensors: tuple[Any, ...]
    dim: int
    before: int
    after: int
    fill: Init

    @property
    def name(self) -> str:
        """The name to call it by in a message."""
        return self.names[0]


@dataclass(frozen=True, slots=True)
class Growth:
    """Everything that grows together: tables, module attributes such as ``out_features``, config keys."""

    tables: tuple[Table, ...] = ()
    attributes: tuple[tuple[Any, str, int], ...] = ()  # (module, attribute, value)
    configs: tuple[tuple[Any, str, int], ...] = ()  # (config, key, value)


def survey(model: Any, rows: Rows, init: Init = "mean", *, wrappers: Iterable[str] = ()) -> Growth:
    """What must grow for these row counts. Nothing is changed, no weight is read, no random number drawn.

    ``model`` is the unwrapped ``PreTrainedModel``, ``wrappers`` the class names around it. Raises
    `StrategyError` with the reason and the recipe when the growth would not be safe or not be complete.
    """
    _refuse_wrapped(model, wrappers)
    found = vocabulary(model)
    try:
        twin, copies = resized_twin(model, rows.most)
    except Exception as error:
        raise StrategyError(
            f"{type(model).__name__} cannot be grown: its own resize_token_embeddings({rows.most}) raises "
            f"{type(error).__name__}: {_short(error)}. Use a strategy that adds no row: 'auto', 'reserved', 'unk' or 'eos'"
        ) from error
    tables = tuple(_tables(model, twin, found, rows, init))
    for table in tables:
        _refuse_table(table)
    _refuse_offloaded(model, tables)
    configs = tuple(_config_changes(model, copies, tables))
    _refuse_left_behind(model, found, rows, tables, configs)
    _refuse_unloadable(model, found, tables, configs)
    return Growth(tables, tuple(_attribute_changes(model, twin, tables)), configs)


def grow(growth: Growth, journal: Journal) -> tuple[Fingerprint, ...]:
    """Carry out a `survey`, one matrix at a time; the journal can take each step back.

    Memory: one grown matrix beside the old one, no more. A tensor's identity, its ``requires_grad``, dtype
    and device stay. Returns what `Fingerprint.check` needs to tell later whether the rows were trained.
    """
    marks = []
    for table in growth.tables:
        data, sums = _grown(table)
        first = table.tensors[0]
        inference = first.is_inference()
        journal.record(table.name, _truncation(table, inference))
        for tensor in table.tensors:
            tensor.data = data
        marks.append(Fingerprint(table.name, first, table.dim, sums))
        del data
    for module, name, value in growth.attributes:
        journal.set_attribute(module, name, value)
    return tuple(marks)


def overwrite_row(weight: Any, name: str, row: int, value: Init, journal: Journal) -> Fingerprint:
    """Write zeros or the mean of all other rows into one row of a matrix, in place; the old row is kept."""
    import torch

    reason = _unwritable(weight)
    if reason is None and weight.shape[0] <= row:
        reason = f"has {weight.shape[0]} rows, so no row {row}"
    if reason is not None:
        raise StrategyError(f"{name} {reason}: its row {row} cannot be set to {value}; {_LOAD_FIRST}")
    with torch.inference_mode(False), torch.no_grad():
        old = weight.detach()[row].clone()
        new = torch.zeros_like(old) if value == "zero" else _mean(weight.detach(), name, skip=row)

    def write(content: Any) -> None:
        # an inference tensor can only be written in inference mode; any other must be written outside it,
        # so that its version moves and a backward pass through the old row fails instead of being wrong
        with torch.inference_mode(weight.is_inference()), torch.no_grad():
            weight[row] = content

    journal.record(f"{name}[{row}]", lambda: write(old))
    write(new)
    return Fingerprint(name, weight, 0, row_sums(weight.detach()))


# --- what must grow ---------------------------------------------------------------------------------


def _tables(model: Any, twin: Any, found: Vocabulary, rows: Rows, init: Init) -> Iterator[Table]:
    """The tensors that grow, one table for tensors that share their memory."""
    roles = {m.name: m for m in found.matrices if m.role != "other"}
    wanted_rows = {"input": rows.input, "output": rows.output, "bias": rows.bias}
    resized = {name: tuple(tensor.shape) for name, tensor in all_tensors(twin)}
    groups: list[tuple[list[Any], list[str], int, int]] = []  # tensors, names, dim, rows
    for name, tensor in all_tensors(model):
        shape = tuple(tensor.shape)
        larger = [d for d, n in enumerate(resized.get(name, shape)) if d < len(shape) and n > shape[d]]
        if len(larger) > 1:
            raise StrategyError(
                f"{name} {shape} would grow along {len(larger)} dimensions; padfix does not know this table"
            )
        if name in roles:
            dim, wanted = roles[name].dim, wanted_rows[roles[name].role]
        elif larger:
            dim = larger[0]
            wanted = _follows(shape[dim], resized[name][dim], found, rows)
        else:
            continue
        if (
            wanted is None or wanted <= shape[dim]
        ):  # spare rows, or a matrix that resize would have cut (Mllama)
            continue
        at = next((i for i, (tensors, *_) in enumerate(groups) if same_tensor(tensors[0], tensor)), None)
        if at is None:
            groups.append(([tensor], [name], dim, wanted))
            continue
        tensors, names, dim, most = groups[at]
        if all(tensor is not known for known in tensors):
            tensors.append(tensor)
        groups[at] = (tensors, [*names, name], dim, max(most, wanted))
    looked_up = _input_like(model, found)
    for tensors, names, dim, after in groups:
        fill: Init = "zero" if init == "zero" and not looked_up.isdisjoint(names) else "mean"
        yield Table(tuple(names), tuple(tensors), dim, int(tensors[0].shape[dim]), after, fill)


def _follows(now: int, resized: int, found: Vocabulary, rows: Rows) -> int | None:
    """Rows for a table that only the model's own resize knows: it follows the matrix it is as high as."""
    if now == found.input_rows:
        return rows.input
    if now == found.output_rows:
        return rows.output
    return resized


def _input_like(model: Any, found: Vocabulary) -> set[str]:
    """Names of the weights that ids are looked up in: the input embedding and other embedding modules."""
    from torch import nn

    names = {found.input.name} if found.input is not None else set()
    for path, module in model.named_modules(remove_duplicate=False):
        if isinstance(module, nn.Embedding) and module is not found.output_module:
            names.add(f"{path}.weight" if path else "weight")
    return names


def _attribute_changes(model: Any, twin: Any, tables: tuple[Table, ...]) -> Iterator[tuple[Any, str, int]]:
    """``num_embeddings``, ``out_features`` and ``vocab_size`` of the modules around what grows."""
    grown = {name: table for table in tables for name in table.names}
    heights = {table.before: table.after for table in tables}
    others = dict(twin.named_modules(remove_duplicate=False))
    for path, module in model.named_modules():
        own = vars(module)
        weight = grown.get(f"{path}.weight" if path else "weight")
        if weight is not None:
            for name in ("num_embeddings", "out_features") if weight.dim == 0 else ("in_features",):
                if name in own:
                    yield module, name, weight.after
        for name, now in own.items():
            if type(now) is not int or name in ("num_embeddings", "out_features", "in_features"):
                continue
            resized = vars(others[path]).get(name) if path in others else None
            if "vocab" in name and now in heights:
                yield module, name, heights[now]
            elif type(resized) is int and resized > now and "padding" not in name:
                yield module, name, heights.get(now, resized)


def _config_changes(
    model: Any, copies: dict[int, Any], tables: tuple[Table, ...]
) -> Iterator[tuple[Any, str, int]]:
    """Config keys to raise: those that the model's own resize raises, and every other vocabulary size as high as
    a table that grows (Marian's ``decoder_vocab_size``, T5Gemma's encoder), else a reload would not fit."""
    heights = {table.before: table.after for table in tables}
    for config in configs_of(model):
        resized = vars(copies[id(config)]) if id(config) in copies else {}
        for key, now in vars(config).items():
            if type(now) is not int:
                continue
            after = resized.get(key)
            if "vocab" in key and now in heights:
                yield config, key, heights[now]
            elif type(after) is int and after > now:
                yield config, key, after


def configs_of(model: Any) -> Iterator[Any]:
    """Every config object that the model's modules hold, nested ones included, each once."""
    from transformers import PretrainedConfig

    seen: set[int] = set()
    waiting = [
        c for c in (getattr(m, "config", None) for m in model.modules()) if isinstance(c, PretrainedConfig)
    ]
    while waiting:
        config = waiting.pop(0)
        if id(config) in seen:
            continue
        seen.add(id(config))
        yield config
        waiting.extend(v for v in vars(config).values() if isinstance(v, PretrainedConfig))


# --- what may not grow ------------------------------------------------------------------------------


def _refuse_wrapped(model: Any, wrappers: Iterable[str]) -> None:
    held = [w for w in wrappers if "DataParallel" in w or "FullySharded" in w or "DeepSpeed" in w]
    if held:
        raise StrategyError(
            f"the model is wrapped in {held[0]}, which keeps buffers of the old size: call ensure_pad before wrapping, on every rank alike"
        )
    if getattr(model, "peft_config", None) or getattr(model, "_hf_peft_config_loaded", False):
        raise StrategyError(
            "an adapter is already wrapped around the model, and it would not be saved with the grown matrices: "
            "call ensure_pad on the base model first, then get_peft_model (or merge_and_unload first)"
        )


def _unwritable(tensor: Any) -> str | None:
    """Why the memory of a tensor is not plain rows that can be copied and written here."""
    import torch

    if hasattr(tensor, "ds_id") or hasattr(tensor, "ds_shape"):
        return "is sharded by DeepSpeed ZeRO-3"
    if hasattr(tensor, "placements") or hasattr(tensor, "device_mesh"):
        return "is sharded (DTensor: FSDP or tensor parallelism)"
    if tensor.device.type == "meta":
        return "has no memory (meta device: offloaded or not loaded)"
    if type(tensor) not in (torch.Tensor, torch.nn.Parameter) or type(tensor.data) is not torch.Tensor:
        return f"is a {type(tensor).__name__} (quantised or distributed)"
    if tensor.numel() == 0 and tensor.ndim < 2:
        return "is empty here (sharded or not loaded)"
    if not tensor.dtype.is_floating_point or tensor.dtype.itemsize < 2:
        return f"holds {str(tensor.dtype).removeprefix('torch.')}, not plain floating-point rows (quantised, or a table of ids)"
    if tensor.grad_fn is not None:
        return "is computed from other parameters (a parametrisation)"
    return None


def _refuse_table(table: Table) -> None:
    for tensor in table.tensors:
        reason = _unwritable(tensor)
        if reason is not None:
            raise StrategyError(
                f"{table.name} {tuple(tensor.shape)} {reason} and cannot be grown to {table.after} rows. Use a strategy that "
                f"adds no row ('auto', 'reserved', 'unk', 'eos'), or {_LOAD_FIRST}"
            )
        if tensor.grad is not None:
            raise StrategyError(
                f"{table.name} has a gradient already: an optimiser may hold state for its {table.before} rows. Grow before training "
                "(or after model.zero_grad() with a new optimiser)"
            )


def _refuse_offloaded(model: Any, tables: tuple[Table, ...]) -> None:
    grown = {id(tensor) for table in tables for tensor in table.tensors}
    for path, module in model.named_modules():
        hook = getattr(module, "_hf_hook", None)
        hooks = (hook, *getattr(hook, "hooks", ()))
        if any(getattr(h, "offload", False) for h in hooks) and any(
            id(p) in grown for p in module._parameters.values()
        ):
            raise StrategyError(
                f"{path}.weight is offloaded by accelerate and cannot be grown; {_LOAD_FIRST}"
            )


def _refuse_left_behind(
    model: Any,
    found: Vocabulary,
    rows: Rows,
    tables: tuple[Table, ...],
    configs: tuple[tuple[Any, str, int], ...],
) -> None:
    """Refuse when a wanted matrix, or a table that ids index too, would keep its old rows."""
    grown = {id(tensor) for table in tables for tensor in table.tensors}
    names = {name for table in tables for name in table.names}
    ends = [(found.input, rows.input), (found.output, rows.output)]
    for matrix, after in ends:
        if matrix is not None and after is not None and after > matrix.rows and matrix.name not in names:
            raise StrategyError(
                f"{matrix.name} ({matrix.rows} rows) is not a plain parameter of {type(model).__name__} and cannot be grown to {after}: "
                "it is quantised, parametrised or packed. Use a strategy that adds no row ('auto', 'reserved', 'unk', 'eos')"
            )
    own = {m.name for m in found.matrices if m.role != "other"}
    heights = {table.before: table.after for table in tables}
    suspects = [
        (name, tuple(tensor.shape))
        for name, tensor in all_tensors(model)
        if id(tensor) not in grown and name not in own and _could_be_indexed(tensor, heights)
    ]
    if not suspects:
        return
    real = _indexed_by_vocabulary(model, configs, heights)
    left = next(((n, s) for n, s in suspects if real is None or real(n)), None)
    if left is not None:
        name, shape = left
        raise StrategyError(
            f"{name} {shape} is indexed by token ids too, and {type(model).__name__}.resize_token_embeddings leaves it at "
            f"{_height(shape, heights)} rows: a new id would be out of its range. Use a strategy that adds no row "
            "('auto', 'reserved', 'unk', 'eos')"
        )


def _refuse_unloadable(
    model: Any, found: Vocabulary, tables: tuple[Table, ...], configs: tuple[tuple[Any, str, int], ...]
) -> None:
    """Refuse when the weights would not fit the model that the changed config builds (Mllama's input has 8 more)."""
    rows = {m.name: (m.dim, m.rows, m.rows) for m in found.matrices if m.role != "other"}
    rows |= {name: (table.dim, table.before, table.after) for table in tables for name in table.names}
    sizes = {(vars(config)[key], value) for config, key, value in configs if "vocab" in key}
    if all((before, after) in sizes for _, before, after in rows.values()):
        return  # each table is exactly one vocabulary size high, before and after
    try:
        built = built_with(model, _changed(model, configs))
    except Exception:  # noqa: BLE001 - not every model can be built from its config alone; nothing is known then
        return
    for name, (dim, _, after) in rows.items():
        expected = built[name][dim] if name in built and len(built[name]) > dim else after
        if expected != after:
            raise StrategyError(
                f"{name} would have {after} rows, and {type(model).__name__} builds it with {expected} from the changed config: it could "
                "not be loaded again. Use a strategy that adds no row ('auto', 'reserved', 'unk', 'eos')"
            )


def _changed(model: Any, configs: Iterable[tuple[Any, str, int]]) -> Any:
    """A copy of the model's config with these keys changed."""
    copies: dict[int, Any] = {}
    config = copy.deepcopy(model.config, copies)
    for original, key, value in configs:
        if id(original) in copies:
            vars(copies[id(original)])[key] = value
    return config


def _could_be_indexed(tensor: Any, heights: dict[int, int]) -> bool:
    shape = tensor.shape
    return len(shape) > 0 and (
        int(shape[0]) in heights or (len(shape) == 2 and shape[0] == 1 and int(shape[1]) in heights)
    )


def _height(shape: tuple[int, ...], heights: dict[int, int]) -> int:
    return next(n for n in shape if n in heights)


def _indexed_by_vocabulary(
    model: Any, configs: tuple[tuple[Any, str, int], ...], heights: dict[int, int]
) -> Callable[[str], bool] | None:
    """Tell a table of ids from one that is as high by chance (a hidden size equal to the vocabulary's).

    The model is built twice without memory, once as its config says and once with every vocabulary size in it
    raised: what differs is indexed by ids. None where it cannot be built (every suspect counts then).
    """
    raised = [*configs]
    for config in configs_of(model):
        raised += [
            (config, key, heights[now])
            for key, now in vars(config).items()
            if type(now) is int and now in heights and "vocab" in key
        ]
    try:
        small, large = built_with(model, model.config), built_with(model, _changed(model, raised))
    except Exception:  # noqa: BLE001 - remote code and composite models may need more than a config
        return None
    return lambda name: name not in small or small[name] != large.get(name)


def _short(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 160 else f"{text[:157]}..."


# --- doing it ---------------------------------------------------------------------------------------


def _grown(table: Table) -> tuple[Any, Any]:
    """The grown memory, and the checksums of all its rows."""
    import torch

    old = table.tensors[0].detach()
    shape = list(old.shape)
    shape[table.dim] = table.after
    with (
        torch.inference_mode(False),
        torch.no_grad(),
        _one_thread(old),
    ):  # else the next backward fails on inference tensors
        data = torch.empty(shape, dtype=old.dtype, device=old.device)
        if table.dim == 0 and old.ndim == 2:
            total = _Sum(old)
            sums = torch.empty(table.after, dtype=torch.int64, device=old.device)
            for start, stop in total.chunks(table.before):
                rows = old[start:stop]
                data[start:stop].copy_(rows)
                total.add(rows)
                sums[start:stop] = row_sums(rows)
            data[table.before :] = 0 if table.fill == "zero" else _finite(total.mean(), old, table.name)
            sums[table.before :] = row_sums(data[table.before :])
        else:
            data.narrow(table.dim, 0, table.before).copy_(old)
            fill = (
                0
                if table.fill == "zero"
                else _mean(old.movedim(table.dim, 0), table.name).unsqueeze(table.dim)
            )
            data.narrow(table.dim, table.before, table.after - table.before).copy_(torch.as_tensor(fill))
            sums = row_sums(data.movedim(table.dim, 0))
        if old.device.type == "cpu" and table.tensors[0].is_shared():
            data.share_memory_()  # type: ignore[no-untyped-call]
    return data, sums


class _Sum:
    """The sum over dimension 0, a few rows at a time, in fp32 (fp64 for fp64)."""

    def __init__(self, matrix: Any) -> None:
        import torch

        wide = torch.float64 if matrix.dtype == torch.float64 else torch.float32
        self._rows = max(1, _CHUNK // max(1, matrix[:1].numel()))
        self._total = torch.zeros(matrix.shape[1:], dtype=wide, device=matrix.device)
        self._buffer = None
        if matrix.dtype != wide:
            self._buffer = torch.empty((self._rows, *matrix.shape[1:]), dtype=wide, device=matrix.device)
        self._count = 0

    def chunks(self, rows: int) -> Iterator[tuple[int, int]]:
        """The pieces of so many rows, as (start, stop)."""
        for start in range(0, rows, self._rows):
            yield start, min(start + self._rows, rows)

    def add(self, rows: Any) -> None:
        """Add one chunk."""
        if self._buffer is not None:
            rows = self._buffer[: len(rows)].copy_(rows)
        self._total.add_(rows.sum(0))
        self._count += len(rows)

    def mean(self) -> Any:
        """The mean of all rows so far."""
        return self._total / max(self._count, 1)


@contextlib.contextmanager
def _one_thread(tensor: Any) -> Iterator[None]:
    """Run CPU loops on one thread: the same sum on every rank whatever its cores, and hundreds of small parallel
    steps wait for each other on a busy machine (measured: 25 s instead of 0.2 s for 1 GiB)."""
    import torch

    threads = torch.get_num_threads()
    if tensor.device.type != "cpu" or threads == 1:
        yield
        return
    try:
        torch.set_num_threads(1)
        yield
    finally:
        torch.set_num_threads(threads)


def _mean(matrix: Any, name: str, skip: int | None = None) -> Any:
    """The mean over dimension 0, but for row ``skip``, in the matrix's dtype."""
    import torch

    total = _Sum(matrix)
    parts = [matrix] if skip is None else [matrix[:skip], matrix[skip + 1 :]]
    with _one_thread(matrix):
        for part in parts:
            for start, stop in total.chunks(len(part)):
                total.add(part[start:stop])
    mean = total.mean()
    if not bool(mean.isfinite().all()):
        mean = _finite(mean, torch.cat(parts), name)
    return mean.to(matrix.dtype)


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
    """A checksum per row of one tensor: exact, 8 bytes each, and independent of threads and device."""

    name: str
    tensor: Any
    dim: int
    sums: Any

    def changed(self) -> str | None:
        """What happened to the tensor since, in words, or None."""
        tensor = self.tensor.detach()
        rows = len(self.sums)
        if tensor.ndim <= self.dim or tensor.shape[self.dim] != rows:
            return f"{self.name} has the shape {tuple(tensor.shape)} now, and had {rows} rows"
        if tensor.device.type == "meta":
            return f"{self.name} has been moved to the meta device"
        different = int((row_sums(tensor.movedim(self.dim, 0)).cpu() != self.sums.cpu()).sum())
        return f"{different} of {rows} rows of {self.name} have changed" if different else None


def row_sums(rows: Any) -> Any:
    """For each entry along dimension 0, the sum of its bits as integers modulo 2**64.

    >>> import torch
    >>> row_sums(torch.tensor([[0.0, 0.0], [1.0, 0.0]]))
    tensor([         0, 1065353216])
    """
    import torch

    if rows.numel() == 0:
        return torch.zeros(len(rows), dtype=torch.int64)
    flat = rows.detach().reshape(len(rows), -1).contiguous()
    width = flat.shape[1] * flat.dtype.itemsize
    size = next(n for n in (8, 4, 2, 1) if width % n == 0)
    if flat.storage_offset() * flat.dtype.itemsize % size:
        flat = flat.clone()
    kind = {8: torch.int64, 4: torch.int32, 2: torch.int16, 1: torch.int8}[size]
    return flat.view(kind).sum(1, dtype=torch.int64)
