"""Which tensors of a live model are indexed by token ids, and how many rows each has.

Everything here looks and touches nothing: no weight is copied, no module is called.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

Role = Literal["input", "output", "bias", "other"]


@dataclass(frozen=True, slots=True)
class Matrix:
    """One tensor with an entry per token id.

    ``name`` is its dotted name in the model; ``rows`` its size along ``dim``, the dimension that ids
    index (0 almost everywhere; BART's ``final_logits_bias`` is ``(1, rows)``).
    """

    name: str
    rows: int
    role: Role
    dim: int = 0


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The vocabulary-sized tensors of a model; all rows are counts, None where there is no such matrix.

    ``input_module`` is the input embedding and ``output_module`` the head, as the model's own getters give
    them; ``tied`` is None where one of the two is missing.
    """

    input: Matrix | None = None
    output: Matrix | None = None
    biases: tuple[Matrix, ...] = ()
    others: tuple[Matrix, ...] = ()
    tied: bool | None = None
    padding_idx: int | None = None
    input_module: Any = field(default=None, repr=False, compare=False)
    output_module: Any = field(default=None, repr=False, compare=False)

    @property
    def input_rows(self) -> int | None:
        """Rows of the input embedding."""
        return None if self.input is None else self.input.rows

    @property
    def output_rows(self) -> int | None:
        """Rows of the output head."""
        return None if self.output is None else self.output.rows

    @property
    def output_bias_rows(self) -> int | None:
        """Entries of the head's bias; the smallest where a model has several."""
        return min((b.rows for b in self.biases), default=None)

    @property
    def other_rows(self) -> tuple[tuple[str, int], ...]:
        """The other tables, as (tensor name, rows)."""
        return tuple((m.name, m.rows) for m in self.others)

    @property
    def matrices(self) -> tuple[Matrix, ...]:
        """All of them: input, output, biases, others."""
        ends = (self.input, self.output)
        return (*(m for m in ends if m is not None), *self.biases, *self.others)


def vocabulary(model: Any) -> Vocabulary:
    """Find the vocabulary-sized tensors of an unwrapped ``PreTrainedModel``.

    The input and output matrices are what ``get_input_embeddings`` and ``get_output_embeddings`` name; a
    bias belongs to the head when its module is the head or holds it (ESM and ALBERT keep it one level up,
    BART in the model itself). ``others`` are tensors, tied ones once, whose first dimension is the row
    count of the input or the output: per-layer tables, a decoder's own embedding. Row counts are those of
    the whole matrix where DeepSpeed or FSDP holds only a part here, and of ``num_embeddings`` or
    ``out_features`` where a quantised weight is packed.
    """
    source, head = _module(model, "get_input_embeddings"), _module(model, "get_output_embeddings")
    names = {id(module): name for name, module in model.named_modules()}
    entry = _matrix(source, names, "input", "num_embeddings")
    out = _matrix(head, names, "output", "out_features")
    if out is None:
        head = None
    biases = tuple(_biases(model, head, out.rows)) if out is not None else ()
    tied = None if entry is None or out is None else same_tensor(weight_of(source), weight_of(head))
    taken = {id(tensor) for tensor in (weight_of(source), weight_of(head)) if tensor is not None}
    taken |= {id(_tensor(model, bias.name)) for bias in biases}
    rows = {m.rows for m in (entry, out) if m is not None}
    padding_idx = getattr(source, "padding_idx", None) if entry is not None else None
    return Vocabulary(
        input=entry,
        output=out,
        biases=biases,
        others=tuple(_others(model, rows, taken)),
        tied=tied,
        padding_idx=padding_idx if isinstance(padding_idx, int) else None,
        input_module=source if entry is not None else None,
        output_module=head,
    )


def named_tensors(model: Any) -> Iterator[tuple[str, Any]]:
    """Every parameter and buffer with its dotted name; tied ones appear under each of their names."""
    yield from model.named_parameters(remove_duplicate=False)
    yield from model.named_buffers(remove_duplicate=False)


def same_tensor(left: Any, right: Any) -> bool:
    """True when two weights are one: the same object, or the same memory in the same shape."""
    if left is None or right is None:
        return False
    if left is right:
        return True
    if left.shape != right.shape or left.device != right.device or left.device.type == "meta":
        return False
    try:
        here, there = left.data_ptr(), right.data_ptr()
    except RuntimeError:  # a tensor subclass without storage
        return False
    return bool(here == there != 0)


def rows_of(module: Any, attribute: str) -> int | None:
    """Rows of an embedding or head: of its weight, or what ``attribute`` says where that is packed or partial."""
    weight = weight_of(module)
    declared = getattr(module, attribute, None)
    if weight is not None:
        shape = getattr(
            weight, "ds_shape", weight.shape
        )  # ZeRO-3 leaves an empty tensor and keeps the shape beside it
        if len(shape) == 2 and weight.dtype.is_floating_point and weight.numel() == shape[0] * shape[1] > 0:
            return int(shape[0])
        if hasattr(weight, "ds_shape"):
            return int(shape[0])
    return declared if isinstance(declared, int) and not isinstance(declared, bool) else None


def _module(model: Any, getter: str) -> Any:
    try:
        module = getattr(model, getter)()
    except (NotImplementedError, AttributeError):  # vision, audio and composite models without one
        return None
    if isinstance(
        module, (list, tuple)
    ):  # PoolFormer and others give several; none of them is indexed by text
        return None
    return module


def weight_of(module: Any) -> Any:
    """The module's weight, or None: torch's own quantised layers have a method of that name."""
    import torch

    weight = getattr(module, "weight", None)
    return weight if isinstance(weight, torch.Tensor) else None


def _matrix(module: Any, names: dict[int, str], role: Role, attribute: str) -> Matrix | None:
    if module is None:
        return None
    if attribute == "out_features" and hasattr(module, "num_embeddings"):
        attribute = "num_embeddings"  # a head that is an embedding (FSMT)
    rows = rows_of(module, attribute)
    if rows is None:
        return None
    name = names.get(id(module), "")
    return Matrix(f"{name}.weight" if name else "weight", rows, role)


def _tensor(model: Any, name: str) -> Any:
    path, _, last = name.rpartition(".")
    return getattr(model.get_submodule(path), last)


def _biases(model: Any, head: Any, rows: int) -> Iterator[Matrix]:
    """The head's own bias, one kept by a module around it, and BART's ``final_logits_bias``."""
    seen: set[int] = set()
    for path, module in model.named_modules():
        if module is not head and not any(child is head for child in module.modules()):
            continue
        for kind in (module._parameters, module._buffers):
            for name, tensor in kind.items():
                if tensor is None or id(tensor) in seen or "bias" not in name:
                    continue
                shape = tuple(tensor.shape)
                if shape in ((rows,), (1, rows)):
                    seen.add(id(tensor))
                    yield Matrix(f"{path}.{name}" if path else name, rows, "bias", len(shape) - 1)
    bias = getattr(head, "bias", None)
    if bias is not None and id(bias) not in seen and getattr(bias, "ndim", 0) == 1:
        # not as long as the head: a table that somebody resized by hand
        path = next(name for name, module in model.named_modules() if module is head)
        yield Matrix(f"{path}.bias" if path else "bias", int(bias.shape[0]), "bias")


def _others(model: Any, rows: set[int], taken: set[int]) -> Iterator[Matrix]:
    """Other tables whose first dimension is a vocabulary's row count."""
    seen = set(taken)
    for name, tensor in named_tensors(model):
        if id(tensor) in seen:
            continue
        seen.add(id(tensor))
        shape = getattr(tensor, "ds_shape", tensor.shape)
        if len(shape) == 2 and shape[0] in rows:
            yield Matrix(name, int(shape[0]), "other")
