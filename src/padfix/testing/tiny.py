"""Tiny random models of every text architecture that the installed transformers knows.

A default configuration is shrunk by rules on the names of its fields (widths to 32, depths to 2, heads
to 4, vocabularies to 131 ...), plus a short table for architectures whose fields depend on one
another. 131 is prime, so no other dimension of the model is mistaken for the vocabulary's.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import inspect
from collections.abc import Iterator, Mapping
from typing import Any, Final

from padfix.errors import PadfixError
from padfix.testing.sizes import (
    BY_ARCHITECTURE,
    BY_ARCHITECTURE_4,
    CLASS_DEFAULT,
    DECODER_WHEN_CAUSAL,
    DEPTH,
    DEPTHS,
    HEADS,
    NONE_MEANS,
    PER_LAYER,
    SIZES,
    TOKEN_ID,
    VOCABULARIES,
)
from padfix.types import Head

VOCAB_SIZE: Final = 131
MAX_PARAMETERS: Final = 60_000_000  # a shrunk model has below 1 M; more means that a size was missed


class CannotBuildError(PadfixError, RuntimeError):
    """This architecture cannot be built tiny here; the message names the reason."""


_MAPPINGS: Final[dict[Head, str]] = {
    "causal": "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES",
    "masked": "MODEL_FOR_MASKED_LM_MAPPING_NAMES",
    "seq2seq": "MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES",
    "classifier": "MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES",
    "token-classifier": "MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES",
    "base": "MODEL_MAPPING_NAMES",
}


def architectures(head: Head = "causal") -> tuple[str, ...]:
    """Every ``model_type`` for which the installed transformers has this head, in its own order.

    ``"base"`` gives the architectures that have any of the other heads and a headless model too.

    >>> "llama" in architectures("causal") and "bert" in architectures("masked")
    True
    """
    from transformers.models.auto import modeling_auto

    names = tuple(getattr(modeling_auto, _mapping(head)))
    if head != "base":
        return names
    text = {name for other in _MAPPINGS if other != "base" for name in architectures(other)}
    return tuple(name for name in names if name in text)


def _mapping(head: Head) -> str:
    if head not in _MAPPINGS:
        raise ValueError(f"no head named {head!r}; there are {', '.join(_MAPPINGS)}")
    return _MAPPINGS[head]


def tiny_config(
    model_type: str, *, vocab_size: int = VOCAB_SIZE, tied: bool | None = None, **config_overrides: Any
) -> Any:
    """The default configuration of an architecture, shrunk (a ``PreTrainedConfig``).

    Token ids at or above ``vocab_size`` become the highest ids below it: the same for the same id,
    different for different ones. An override goes to every configuration, nested ones included, that
    has both the field and a vocabulary; a field that none of them has goes to the outermost.

    >>> tiny_config("gpt2").eos_token_id
    130
    """
    ids = _TokenIds(vocab_size)
    overrides = dict(config_overrides) if tied is None else {**config_overrides, "tie_word_embeddings": tied}
    cls = _config_class(model_type)
    try:
        arguments = {**_arguments(cls, model_type, ids, overrides), **overrides}
        try:
            config = cls(**arguments)
        except (TypeError, AttributeError):  # some of 4.57 take their parts as dictionaries only
            config = cls(**{k: v.to_dict() if hasattr(v, "to_dict") else v for k, v in arguments.items()})
    except _ANY_FAILURE as error:
        raise CannotBuildError(f"{model_type}: no tiny configuration: {_brief(error)}") from error
    for part in (config, *_nested(config)):
        _cut_layer_lists(part)
    return config


def tiny_model(
    model_type: str,
    head: Head = "causal",
    *,
    vocab_size: int = VOCAB_SIZE,
    tied: bool | None = None,
    dtype: Any = None,
    seed: int = 0,
    **config_overrides: Any,
) -> Any:
    """A tiny random model of an architecture, in eval mode (a ``PreTrainedModel``).

    ``tied=None`` keeps the architecture's own choice. ``dtype`` is a ``torch.dtype`` (default fp32).
    Other keywords are fields of its configuration. The global random state is left as it was.
    Raises `CannotBuildError` with the reason where it cannot be built.

    >>> model = tiny_model("llama", tied=True)
    >>> tuple(model.get_input_embeddings().weight.shape)
    (131, 32)
    """
    import torch

    config = tiny_config(model_type, vocab_size=vocab_size, tied=tied, **config_overrides)
    if head == "causal" and model_type in DECODER_WHEN_CAUSAL:
        config.is_decoder = True
    if model_type == "reformer":
        config.is_decoder = head == "causal"
    if model_type in ("t5", "mt5", "umt5") and getattr(config, "decoder_start_token_id", None) is None:
        config.decoder_start_token_id = 0
    cls = model_class(model_type, head)
    wanted = getattr(cls, "config_class", None)
    if isinstance(wanted, type) and not isinstance(config, wanted):
        config = next((part for part in _nested(config) if isinstance(part, wanted)), config)
    _refuse_large(cls, config, model_type)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            model = cls(config)
        except _ANY_FAILURE as error:
            raise CannotBuildError(f"{model_type} ({cls.__name__}): {_brief(error)}") from error
    model = model.to(torch.float32 if dtype is None else dtype).eval()
    if tied is not None and is_tied(model) != tied:
        raise CannotBuildError(f"{model_type} ({cls.__name__}) has no {'tied' if tied else 'untied'} form")
    return model


def model_class(model_type: str, head: Head = "causal") -> Any:
    """The transformers class of an architecture's head (the first, where it has several)."""
    import transformers
    from transformers.models.auto import modeling_auto

    names = getattr(modeling_auto, _mapping(head))
    if model_type not in names:
        raise CannotBuildError(f"{model_type} has no {head} head in transformers {transformers.__version__}")
    name = names[model_type]
    try:
        return getattr(transformers, name[0] if isinstance(name, (list, tuple)) else name)
    except (AttributeError, ImportError) as error:
        raise CannotBuildError(f"{model_type}: {_brief(error)}") from error


def is_tied(model: Any) -> bool:
    """True when the output matrix is the input embedding itself.

    >>> is_tied(tiny_model("gpt2"))
    True
    """
    # vision, audio and composite models have no embedding by that name, so nothing is tied
    with contextlib.suppress(NotImplementedError, AttributeError):
        inputs, outputs = model.get_input_embeddings(), model.get_output_embeddings()
        return outputs is not None and getattr(outputs, "weight", None) is getattr(inputs, "weight", 0)
    return False


# transformers' own code, run on sizes nobody tried before, fails in any way it likes.
_ANY_FAILURE: Final = (Exception,)


def _brief(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


class _TokenIds:
    """Ids below the vocabulary size for ids above it: equal for equal, distinct for distinct."""

    def __init__(self, vocab_size: int) -> None:
        self.vocab_size = vocab_size
        self._given: dict[int, int] = {}

    def fit(self, value: Any) -> Any:
        if isinstance(value, (list, tuple)):
            return [self.fit(item) for item in value]
        if isinstance(value, bool) or not isinstance(value, int) or value < self.vocab_size:
            return value
        return self._given.setdefault(value, self.vocab_size - 1 - len(self._given) % self.vocab_size)


def _config_class(model_type: str) -> Any:
    import transformers
    from transformers.models.auto import configuration_auto as auto

    name = auto.CONFIG_MAPPING_NAMES.get(model_type)
    if name is None:
        raise CannotBuildError(f"transformers {transformers.__version__} knows no model type {model_type!r}")
    found = getattr(transformers, name, None)
    if found is None:
        module = auto.model_type_to_module_name(model_type)
        found = getattr(importlib.import_module(f"transformers.models.{module}"), name)
    return found


def _fields(cls: Any) -> tuple[str, ...]:
    if dataclasses.is_dataclass(cls):
        return tuple(f.name for f in dataclasses.fields(cls))
    return tuple(
        name for name in inspect.signature(cls.__init__).parameters if name not in ("self", "kwargs")
    )


def _get(config: Any, name: str) -> Any:
    """A field of a configuration, or None; some refuse to answer before they are told per layer."""
    try:
        return getattr(config, name, None)
    except _ANY_FAILURE:
        object.__setattr__(config, "allow_global_per_layer_attribute_access", True)
        return getattr(config, name, None)


def _default(cls: Any) -> Any:
    try:
        return cls()
    except _ANY_FAILURE:
        return None  # needs arguments: shrunk by what its class declares


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _shrink(cls: Any, ids: _TokenIds, overrides: Mapping[str, Any], depth: int = 0) -> dict[str, Any]:
    """Keyword arguments that make a small configuration of this class."""
    from transformers import PretrainedConfig

    default = _default(cls)
    fields = _fields(cls)
    aliases = getattr(cls, "attribute_map", None) or {}
    parts = getattr(cls, "sub_configs", None) or {}
    small: dict[str, Any] = {}
    for name in fields:
        value = _get(default, name)
        if isinstance(value, PretrainedConfig) or name in parts:
            part = type(value) if isinstance(value, PretrainedConfig) else parts[name]
            if isinstance(part, type) and part.__name__ != "AutoConfig" and depth < 4:
                small[name] = _nested_config(part, ids, overrides, depth)
        elif name not in aliases:
            small.update(_small_value(name, name, value, default, ids))
    for alias, name in aliases.items():
        if name in fields and name not in small:
            small.update(_small_value(alias, name, _get(default, name), default, ids))
    if "kv_lora_rank" in fields and "num_key_value_heads" in fields:
        small["num_key_value_heads"] = HEADS  # latent attention has one key head per query head
    if "per_layer_config" in _as_dict(default):
        small["per_layer_config"] = {}
    small.update(_short_lists(default, fields))
    return small


def _arguments(
    cls: Any, model_type: str, ids: _TokenIds, overrides: Mapping[str, Any], depth: int = 0
) -> dict[str, Any]:
    import transformers

    known = {**_shrink(cls, ids, overrides, depth), **BY_ARCHITECTURE.get(model_type, {})}
    if transformers.__version__.startswith("4."):
        known.update(BY_ARCHITECTURE_4.get(model_type, {}))
    return {name: value for name, value in known.items() if value is not CLASS_DEFAULT}


def _nested_config(part: Any, ids: _TokenIds, overrides: Mapping[str, Any], depth: int) -> Any:
    arguments = _arguments(part, getattr(part, "model_type", ""), ids, overrides, depth + 1)
    names = {*_fields(part), *(getattr(part, "attribute_map", None) or {})}
    if names.intersection(VOCABULARIES):
        arguments.update({name: value for name, value in overrides.items() if name in names})
    return part(**arguments)


def _small_value(rule: str, name: str, value: Any, default: Any, ids: _TokenIds) -> dict[str, Any]:
    """The small value of field ``name`` by the rule named ``rule``; empty where it stays."""
    if rule in VOCABULARIES and (_is_int(value) or (rule == "vocab_size" and value is None)):
        return {name: ids.vocab_size}
    if rule in SIZES and _is_int(value):
        return {name: SIZES[rule]}
    if rule in NONE_MEANS and value is None and default is not None:
        return {name: NONE_MEANS[rule]}
    if TOKEN_ID.search(rule) and ids.fit(value) != value:
        return {name: ids.fit(value)}
    return {}


def _short_lists(default: Any, fields: tuple[str, ...]) -> dict[str, Any]:
    """Per-layer lists cut to one layer of every kind, and the depth that fits them."""
    lists = {name: _get(default, name) for name in PER_LAYER if name in fields}
    kinds = {k: _kinds(v) for k, v in lists.items() if isinstance(v, list) and len(v) > DEPTH}
    if not kinds:
        return {}
    depth = max(DEPTH, *(len(v) for v in kinds.values()))
    short: dict[str, Any] = {name: (values * depth)[:depth] for name, values in kinds.items()}
    short.update({name: depth for name in DEPTHS if name in fields and _is_int(_get(default, name))})
    return short


def _kinds(values: list[Any]) -> list[Any]:
    first: dict[str, Any] = {}
    for value in values:
        first.setdefault(str(value), value)
    return list(first.values())


def _cut_layer_lists(config: Any) -> None:
    depth = _get(config, "num_hidden_layers")
    if not _is_int(depth):
        return
    for name, values in list(vars(config).items()):
        if name in PER_LAYER and isinstance(values, list) and len(values) > depth:
            kinds = _kinds(values)
            setattr(config, name, (kinds + values)[:depth])


def _nested(config: Any) -> Iterator[Any]:
    from transformers import PretrainedConfig

    for value in list(vars(config).values()):
        if isinstance(value, PretrainedConfig):
            yield value
            yield from _nested(value)


def _as_dict(config: Any) -> dict[str, Any]:
    try:
        return dict(config.to_dict())
    except _ANY_FAILURE:
        return {}


def _refuse_large(cls: Any, config: Any, model_type: str) -> None:
    import torch

    try:
        with torch.device("meta"):
            n = sum(p.numel() for p in cls(config).parameters())
    except _ANY_FAILURE:
        return  # cannot be built without memory; the real build says why
    if n > MAX_PARAMETERS:
        raise CannotBuildError(f"{model_type}: {n / 1e6:.0f} million parameters after shrinking")
