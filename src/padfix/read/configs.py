"""The model half of a `PadState` from ``config.json``, ``generation_config.json`` and their kin.

A key that a file leaves out has the value that its configuration class gives it; those come from the
generated table, by ``model_type``, nested configurations included.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from padfix.read import defaults
from padfix.read.heads import head_of
from padfix.read.json_file import JsonFile
from padfix.traits import traits_of
from padfix.types import ABSENT, BadValue, ConfigId, Head

# what composite configurations call the one of a text model or of its halves, and of other modalities
_TEXT: Final = (
    "text_config", "text_encoder", "encoder", "decoder", "generator", "text_decoder",
    "llm_config", "language_config", "lm_config",
)  # fmt: skip
_MAIN: Final = ("text_encoder", "decoder", "generator", "text_config")
_ID_KEYS: Final = ("_token_id", "_token_index", "_token_ids", "_token_idx")
_OWN_IDS: Final = ("pad_token_id", "eos_token_id", "bos_token_id", "unk_token_id")
_MAX_DEPTH: Final = 4
_MAX_IDS: Final = 4096


@dataclass(frozen=True, slots=True)
class Config:
    """A configuration: what a file says over what its class starts with."""

    raw: Mapping[str, Any]
    base: Mapping[str, Any] = field(default_factory=dict)
    known: bool = False  # its class is one of transformers'

    def get(self, key: str) -> Any:
        """The value of a key, or ABSENT."""
        renamed = (self.base.get("attribute_map") or {}).get(key, key)
        for values in (self.raw, self.base):
            for name in (key, renamed):
                if name in values:
                    return values[name]
        return ABSENT

    def token_id(self, key: str) -> ConfigId:
        """An id key as it is: absent, null, an id, or something that is none."""
        return config_id(self.get(key))

    @property
    def model_type(self) -> str | None:
        """The model type, of the file or of the part's class."""
        value = self.raw.get("model_type", self.base.get("model_type"))
        return value if isinstance(value, str) and value else None

    def parts(self, major: str) -> Iterator[tuple[str, Config]]:
        """The nested configurations, in the order of the class."""
        own: Mapping[str, Any] = self.base.get("parts") or {}
        names = list(self.base.get("parts_order") or own)
        if not self.known:
            names += [k for k, v in self.raw.items() if isinstance(v, dict) and k in _TEXT and k not in names]
        for name in names:
            value = self.raw.get(name)
            base = own.get(name) or {}
            if isinstance(value, dict):
                yield name, configure(value, major, base)
            elif value is None and name not in self.raw:
                yield name, Config({}, base, True)


def configure(raw: Mapping[str, Any], major: str, base: Mapping[str, Any] | None = None) -> Config:
    """A configuration over the defaults of its model type, else over ``base``."""
    kind = raw.get("model_type")
    own = defaults.configs(major).get(kind) if isinstance(kind, str) else None
    if own is None:
        return Config(raw, base or {}, bool(base))
    if base and base.get("model_type") == kind:
        return Config(raw, base, True)  # a part's own defaults are more exact than its class's
    return Config(raw, own, True)


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """The fields of a `PadState` that configurations decide."""

    fields: dict[str, Any]
    config: Config
    main: Config
    head: Head | None
    tie: bool
    text_pad_id: ConfigId


def model_facts(config_file: JsonFile, generation: JsonFile, major: str) -> ModelFacts:
    """Everything that ``config.json`` and ``generation_config.json`` say."""
    raw = config_file.data
    if major == "5" and raw.get("model_type") == "mistral" and "layer_types" in raw:
        raw = {**raw, "model_type": "ministral"}
    config = configure(raw, major)
    path, main, others = text_configs(config, major)
    nested = ([(path, main)] if path else []) + others
    architectures = (
        tuple(a for a in raw.get("architectures") or () if isinstance(a, str))[:16]
        if isinstance(raw.get("architectures"), list)
        else ()
    )
    encoder_decoder = config.get("is_encoder_decoder") is True
    head = head_of(architectures[0] if architectures else None, encoder_decoder)
    model_type = config.model_type
    pads = tuple((p, c.token_id("pad_token_id")) for p, c in nested)
    has_generation = bool(generation)
    if has_generation:
        made = Config(generation.data)
        generation_pad, generation_eos = made.token_id("pad_token_id"), id_set([made.get("eos_token_id")])
    elif head in ("causal", "seq2seq") and architectures[0] not in config.base.get("cannot_generate", ()):
        generation_pad = _first_set(config, decoder_of(config, major), "pad_token_id")
        generation_eos = id_set([_first_raw(config, decoder_of(config, major), "eos_token_id")])
    else:
        generation_pad, generation_eos = ABSENT, ()
    config_pad = config.token_id("pad_token_id")
    facts = {
        "config_pad_id": config_pad,
        "text_config_pad_ids": pads,
        "generation_pad_id": generation_pad,
        "config_eos_ids": id_set(c.get("eos_token_id") for c in (config, *(c for _, c in nested))),
        "generation_eos_ids": generation_eos,
        "config_bos_id": main.token_id("bos_token_id"),
        "config_token_ids": tuple(_token_ids(config, major))[:_MAX_IDS],
        "vocab_size": as_int(main.get("vocab_size")),
        "has_generation_config": has_generation,
        "model_type": model_type,
        "architectures": architectures,
        "head": head,
        "is_encoder_decoder": encoder_decoder,
        "traits": tuple(sorted({*traits_of(model_type), *traits_of(main.model_type)})),
        "quantized": quantization(raw.get("quantization_config")),
    }
    tie = _ties(config, main)
    return ModelFacts(facts, config, main, head, tie, pads[0][1] if pads else config_pad)


def _ties(config: Config, main: Config) -> bool:
    """Does the model share its input and output matrix? The top level says, else the text config."""
    for source in (config, main):
        value = source.raw.get("tie_word_embeddings")
        if isinstance(value, bool):
            return value
    for source in (config, main):
        value = source.base.get("tie_word_embeddings")
        if isinstance(value, bool):
            return value
    return True


def text_configs(config: Config, major: str) -> tuple[str, Config, list[tuple[str, Config]]]:
    """The path and configuration of the text model ("" when it is the top), and others of its vocabulary."""
    nested = [(p, c) for p, c in _nested(config, major) if as_int(c.get("vocab_size")) is not None]
    named = [(p, c) for p, c in nested if p.rpartition(".")[2] in _TEXT]
    path, main = "", config
    chosen = config.base.get("text_path")
    direct = dict(config.parts(major))
    present = [n for n in _MAIN if n in direct]
    if isinstance(chosen, str) and chosen:
        path = chosen
    elif config.base.get("text_path") == "" and not present:
        path = ""
    elif len(present) == 1:
        path = present[0]
    elif len(present) > 1 and named:
        path = named[0][0]
    if path:
        main = next((c for p, c in _nested(config, major) if p == path), config)
        path = path if main is not config else ""
    size = main.get("vocab_size")
    others = [
        (p, c) for p, c in named if p != path and c.get("vocab_size") == size and not _other_modality(p)
    ]
    return path, main, others


def decoder_of(config: Config, major: str) -> Config:
    """The part whose ids a generation config takes over where the top level has none."""
    direct = dict(config.parts(major))
    present = [n for n in ("decoder", "generator", "text_config") if n in direct]
    return direct[present[0]] if len(present) == 1 else config


def _first_set(top: Config, inner: Config, key: str) -> ConfigId:
    value = top.token_id(key)
    return inner.token_id(key) if value is None or value is ABSENT else value


def _first_raw(top: Config, inner: Config, key: str) -> Any:
    value = top.get(key)
    return inner.get(key) if value is None or value is ABSENT else value


def _nested(config: Config, major: str, prefix: str = "", depth: int = 0) -> Iterator[tuple[str, Config]]:
    if depth >= _MAX_DEPTH:
        return
    for name, part in config.parts(major):
        yield f"{prefix}{name}", part
        yield from _nested(part, major, f"{prefix}{name}.", depth + 1)


_MODALITY: Final = (
    "vision",
    "audio",
    "image",
    "video",
    "codec",
    "depth",
    "speech",
    "qformer",
    "vq",
    "talker",
)


def _other_modality(path: str) -> bool:
    return any(word in path.lower() for word in _MODALITY)


def _token_ids(config: Config, major: str, prefix: str = "", depth: int = 0) -> Iterator[tuple[str, int]]:
    """Every other ``*_token_id`` that a configuration gives a meaning, as (dotted key, id)."""
    parts = dict(config.parts(major))
    hidden = ("parts", "attribute_map", "parts_order", "text_path", "model_type")
    keys = dict.fromkeys((*config.raw, *(k for k in config.base if k not in hidden), *parts))
    for key in keys:
        if key in parts:
            if depth < _MAX_DEPTH:
                yield from _token_ids(parts[key], major, f"{prefix}{key}.", depth + 1)
            continue
        value = config.raw[key] if key in config.raw else config.base.get(key)
        if isinstance(value, dict) and depth < _MAX_DEPTH:
            yield from _token_ids(Config(value), major, f"{prefix}{key}.", depth + 1)
        elif key.endswith(_ID_KEYS) and key not in _OWN_IDS:
            for item in value if isinstance(value, (list, tuple)) else [value]:
                if (number := as_int(item)) is not None:
                    yield f"{prefix}{key}"[:200], number


def config_id(value: Any) -> ConfigId:
    """Any value of an id key, told apart by what it is."""
    if value is None or value is ABSENT or as_int(value) is not None:
        result: ConfigId = value
        return result
    return BadValue(type(value).__name__, repr(value)[:80])


def as_int(value: Any) -> int | None:
    """A whole number that is not a boolean."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def id_set(values: Iterable[Any]) -> tuple[int, ...]:
    """All ids in a list of ids and lists of ids, sorted."""
    found: set[int] = set()
    for value in values:
        items = value if isinstance(value, (list, tuple)) else [value]
        found.update(v for v in items if as_int(v) is not None)
    return tuple(sorted(found))


def quantization(value: Any) -> str | None:
    """The quantisation method of a ``quantization_config``."""
    if not isinstance(value, dict):
        return None
    return str(value.get("quant_method") or "unknown")[:40]
