"""The model under proof: the facts that its forward pass depends on, and a room where nothing sticks.

`Subject` reads them once. `quiet` is the room: evaluation mode, fixed seeds, no gradients, no autocast,
no cache; on the way out every mode, attribute, buffer entry, config value and random state is put back.
"""

from __future__ import annotations

import contextlib
import inspect
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from padfix.traits import table, traits_of
from padfix.types import Head

# Every name under which a config states the longest row that the model takes.
_LENGTHS = (
    "max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "max_seq_length", "max_sequence_length",
    "max_source_positions", "max_target_positions", "max_encoder_position_embeddings",
    "max_decoder_position_embeddings", "max_position_embedding", "context_length",
)  # fmt: skip

FORWARD_ERRORS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What a forward pass raises when it cannot run: reported, never swallowed. Out of memory is not among them."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A model with its tokenizer, and what the probes must know about the two."""

    model: Any
    tok: Any
    model_type: str
    traits: tuple[str, ...]
    takes: frozenset[str]  # parameters of forward()
    takes_any: bool  # forward() has **kwargs
    rows: int | None  # of the input matrix
    limit: int  # longest row, in tokens
    position_offset: int  # position id of the first token: 0, or pad + 1 in the RoBERTa family
    device: Any
    dtype: str
    pad_id: int | None
    eos_id: int | None
    side: str
    seq2seq: bool
    head: Head | None

    @property
    def takes_mask(self) -> bool:
        """True when forward() can be given an attention mask."""
        return "attention_mask" in self.takes or (self.takes_any and "input_ids" not in self.takes)

    @property
    def takes_positions(self) -> bool:
        """True when forward() can be given position ids."""
        return "position_ids" in self.takes

    @property
    def one_row_matters(self) -> bool:
        """True where a layer may skip the mask when the batch is a single row (state-space layers)."""
        return "recurrent" in self.traits and self.takes_positions and self.takes_mask

    @property
    def pools_on_pad(self) -> bool:
        """True for a classifier that pools before the first pad, or whose architecture is not known."""
        return self.head == "classifier" and ("pools-on-pad" in self.traits or self.model_type not in table())

    @property
    def low_precision(self) -> bool:
        """True for dtypes whose rounding alone moves logits visibly."""
        return self.dtype not in ("float32", "float64")


def subject_of(model: Any, tok: Any) -> Subject:
    """Read the facts of a model and its tokenizer; nothing is run and nothing changes."""
    from padfix.read.heads import head_of
    from padfix.read.live import text_configs, text_tokenizer, unwrap
    from padfix.read.vocabulary import vocabulary, weight_of

    (inner, _), text_tok = unwrap(model), text_tokenizer(tok)
    parameters = inspect.signature(inner.forward).parameters
    table = vocabulary(inner)
    weight = weight_of(table.input_module)
    reference = weight if weight is not None else next(inner.parameters(), None)
    offset = _position_offset(inner)
    lengths = [
        value
        for config in nested_configs(inner.config)
        for name in _LENGTHS
        if isinstance(value := vars(config).get(name), int) and value > 8
    ]
    model_type = getattr(inner.config, "model_type", "") or ""
    text_type = getattr(text_configs(inner.config)[0], "model_type", "")
    seq2seq = bool(getattr(inner.config, "is_encoder_decoder", False))
    return Subject(
        model=inner,
        tok=text_tok,
        model_type=model_type,
        traits=tuple(sorted({*traits_of(model_type), *traits_of(text_type)})),
        takes=frozenset(parameters),
        takes_any=any(p.kind is p.VAR_KEYWORD for p in parameters.values()),
        rows=table.input_rows,
        limit=max(8, min(lengths, default=1 << 20) - max(offset, 2)),
        position_offset=offset,
        device=_device(inner, reference),
        dtype=str(reference.dtype).removeprefix("torch.") if reference is not None else "float32",
        pad_id=_as_id(getattr(text_tok, "pad_token_id", None)),
        eos_id=_as_id(getattr(text_tok, "eos_token_id", None)),
        side=getattr(text_tok, "padding_side", "right"),
        seq2seq=seq2seq,
        head=head_of(type(inner).__name__, seq2seq),
    )


def _device(model: Any, reference: Any) -> Any:
    """Where inputs belong: beside the embedding, or where accelerate's hooks bring an offloaded one."""
    if reference is None:
        return "cpu"
    if reference.device.type != "meta":
        return reference.device
    import torch

    hooks = (getattr(module, "_hf_hook", None) for module in model.modules())
    places = (getattr(part, "execution_device", None) for hook in hooks for part in _parts(hook))
    place = next((place for place in places if place is not None), None)
    return reference.device if place is None else torch.device(place)


def _parts(hook: Any) -> tuple[Any, ...]:
    return tuple(getattr(hook, "hooks", (hook,)))


def nested_configs(config: Any) -> Iterator[Any]:
    """The config and every config inside it, each once."""
    seen: set[int] = set()
    todo = [config]
    while todo:
        current = todo.pop(0)
        if id(current) in seen or not hasattr(current, "to_dict"):
            continue
        seen.add(id(current))
        yield current
        todo.extend(value for value in vars(current).values() if hasattr(value, "to_dict"))


def _as_id(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _position_offset(model: Any) -> int:
    """The position id of the first token: ``padding_idx + 1`` where positions are counted from the pad id (RoBERTa),
    what a buffer of ready-made ids starts with (MRA, YOSO: 2), else 0.

    The first share one function, ``create_position_ids_from_input_ids``, beside their embeddings.
    """
    name = "create_position_ids_from_input_ids"
    for module in model.modules():
        if not hasattr(module, "position_embeddings"):
            continue
        index = getattr(module, "padding_idx", None)
        home = sys.modules.get(type(module).__module__)
        if isinstance(index, int) and (hasattr(module, name) or hasattr(home, name)):
            return index + 1
        ready = module._buffers.get("position_ids")
        if ready is not None and ready.dim() == 2 and ready.numel() and ready.device.type != "meta":
            return int(ready[0, 0])
    return 0


_WANTED: Final = {
    "return_dict": True,
    "use_cache": False,
    "output_attentions": False,
    "output_hidden_states": False,
}


@contextlib.contextmanager
def quiet(subject: Subject) -> Iterator[None]:
    """Run probes inside: evaluation mode, no gradients, fixed seeds; everything is put back afterwards."""
    import torch
    from transformers.utils import logging

    model = subject.model
    configs = [(c, dict(vars(c))) for c in nested_configs(model.config)]
    settings = getattr(model, "generation_config", None)
    kept_settings = dict(vars(settings)) if settings is not None else {}
    verbosity = logging.get_verbosity()
    kind = getattr(subject.device, "type", "cpu")
    devices = sorted({p.device.index or 0 for p in model.parameters() if p.device.type == "cuda"})
    try:
        with contextlib.ExitStack() as stack:
            stack.enter_context(untouched(model))
            stack.enter_context(torch.no_grad())
            stack.enter_context(torch.random.fork_rng(devices=devices, device_type="cuda"))
            if torch.amp.is_autocast_available(kind):
                stack.enter_context(torch.autocast(device_type=kind, enabled=False))
            stack.enter_context(warnings.catch_warnings())
            warnings.simplefilter("ignore")
            logging.set_verbosity(logging.CRITICAL)
            model.eval()
            for config, values in configs:
                # Straight into the dictionary: some configs refuse or reinterpret a global attribute.
                vars(config).update({name: on for name, on in _WANTED.items() if name in values})
            yield
    finally:
        logging.set_verbosity(verbosity)
        for config, values in configs:
            _restore(vars(config), values)
        if settings is not None:
            _restore(vars(settings), kept_settings)


@contextlib.contextmanager
def untouched(model: Any) -> Iterator[None]:
    """Put every attribute, buffer entry, hook and submodule of a model back as it was.

    BigBird swaps its attention for another on short rows, recording attention leaves hooks, and RecurrentGemma
    keeps its state from one call to the next.
    """
    modules = [(vars(m), _plain(m), _tables(m)) for m in list(model.modules())]
    try:
        yield
    finally:
        for live, plain, tables in modules:
            _restore(live, {**plain, **{name: live[name] for name in tables}})
            for name, kept in tables.items():
                _restore(live[name], kept)


def _tables(module: Any) -> dict[str, dict[Any, Any]]:
    """A module's own registries: parameters, buffers, modules, hooks."""
    return {
        name: dict(value)
        for name, value in vars(module).items()
        if isinstance(value, dict) and (name in ("_parameters", "_buffers", "_modules") or "hooks" in name)
    }


def _plain(module: Any) -> dict[str, Any]:
    tables = _tables(module)
    return {name: value for name, value in vars(module).items() if name not in tables}


def _restore(live: dict[Any, Any], kept: dict[Any, Any]) -> None:
    for name in [name for name in live if name not in kept]:
        del live[name]
    for name, value in kept.items():
        if name not in live or live[name] is not value:
            live[name] = value
