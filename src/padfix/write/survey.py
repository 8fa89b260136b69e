"""What must grow for a new token id, and what may not: `survey` decides before anything is touched.

It asks a weightless twin what the model's own ``resize_token_embeddings`` changes, corrects what that is known
to get wrong (an input matrix cut to the size of a smaller head, vocabulary sizes of nested configs), and
refuses, with the recipe, what cannot be grown safely or completely.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from padfix.errors import StrategyError
from padfix.read.vocabulary import Vocabulary, same_tensor, vocabulary
from padfix.write.twin import all_tensors, built_with, resized_twin

Init = Literal["mean", "zero"]

LOAD_FIRST = "give the pad to the unsharded model first (load it on one device, ensure_pad, save_pretrained)"


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
    _refuse_ends(model, found, rows)
    try:
        twin, copies = resized_twin(model, rows.most)
    except MemoryError:
        raise
    except Exception as error:
        raise StrategyError(
            f"{type(model).__name__} cannot be grown: its own resize_token_embeddings({rows.most}) raises "
            f"{type(error).__name__}: {_short(error)}. Use a strategy that adds no row: 'auto', 'reserved', 'unk' or 'eos'"
        ) from error
    tables = tuple(_tables(model, twin, found, rows, init))
    for table in tables:
        for tensor in table.tensors:
            _refuse_tensor(table.name, tensor, table.before, table.after)
    _refuse_offloaded(model, tables)
    configs = tuple(_config_changes(model, copies, tables))
    _refuse_left_behind(model, found, rows, tables, configs)
    _refuse_unloadable(model, found, tables, configs)
    return Growth(tables, tuple(_attribute_changes(model, twin, tables)), configs)


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
            groups.append(([tensor], [], dim, wanted))
        else:
            groups[at] = (*groups[at][:3], max(groups[at][3], wanted))
    for name, tensor in all_tensors(
        model
    ):  # also ties that the model's own resize forgets (FSMT's projection)
        for tensors, names, *_ in groups:
            if same_tensor(tensors[0], tensor):
                names.append(name)
                if all(tensor is not known for known in tensors):
                    tensors.append(tensor)
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


def unwritable(tensor: Any) -> str | None:
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


def _refuse_ends(model: Any, found: Vocabulary, rows: Rows) -> None:
    """Refuse when the input or output matrix that must grow is not plain memory of a plain module."""
    ends = ((found.input, found.input_module, rows.input), (found.output, found.output_module, rows.output))
    for matrix, module, after in ends:
        if matrix is None or after is None or after <= matrix.rows:
            continue
        weight = getattr(module, "weight", None)
        if weight is None or all(weight is not own for own in module._parameters.values()):
            raise StrategyError(
                f"{matrix.name} ({matrix.rows} rows) is not a plain parameter of {type(module).__name__} and cannot be grown to {after}: it is "
                "quantised, parametrised or packed. Use a strategy that adds no row ('auto', 'reserved', 'unk', 'eos')"
            )
        _refuse_tensor(matrix.name, weight, matrix.rows, after)


def _refuse_tensor(name: str, tensor: Any, before: int, after: int) -> None:
    reason = unwritable(tensor)
    if reason is not None:
        raise StrategyError(
            f"{name} {tuple(tensor.shape)} {reason} and cannot be grown to {after} rows. Use a strategy that "
            f"adds no row ('auto', 'reserved', 'unk', 'eos'), or {LOAD_FIRST}"
        )
    if tensor.grad is not None:
        raise StrategyError(
            f"{name} has a gradient already: an optimiser may hold state for its {before} rows. Grow before training "
            "(or after model.zero_grad(), and make the optimiser anew)"
        )


def _refuse_offloaded(model: Any, tables: tuple[Table, ...]) -> None:
    grown = {id(tensor) for table in tables for tensor in table.tensors}
    for path, module in model.named_modules():
        hook = getattr(module, "_hf_hook", None)
        hooks = (hook, *getattr(hook, "hooks", ()))
        if any(getattr(h, "offload", False) for h in hooks) and any(
            id(p) in grown for p in module._parameters.values()
        ):
            raise StrategyError(f"{path}.weight is offloaded by accelerate and cannot be grown; {LOAD_FIRST}")


def _refuse_left_behind(
    model: Any,
    found: Vocabulary,
    rows: Rows,
    tables: tuple[Table, ...],
    configs: tuple[tuple[Any, str, int], ...],
) -> None:
    """Refuse when a table that ids index too would keep its old rows."""
    grown = {id(tensor) for table in tables for tensor in table.tensors}
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
