"""Facts from live objects: a tokenizer or processor, and a model or None. Reading changes nothing."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from padfix.candidates import assess, emits_unk
from padfix.errors import PadfixError
from padfix.read.heads import head_of
from padfix.read.live_tokenizer import is_fast, tokenizer_facts, tokens_of
from padfix.read.tables import backend_table, python_table, template_ends_with
from padfix.read.uses import live_uses
from padfix.read.vocabulary import Vocabulary, vocabulary, weight_of
from padfix.traits import traits_of
from padfix.types import ABSENT, BadValue, ConfigId, PadRow, PadState, Token

_MODALITY_CONFIGS = (
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
# what composite configs call the config of a text model or of its halves
_TEXT_CONFIGS = (
    "text_config", "text_encoder", "encoder", "decoder", "generator", "text_decoder",
    "llm_config", "language_config", "lm_config",
)  # fmt: skip
_ID_KEYS = ("_token_id", "_token_index", "_token_ids", "_token_idx")
_OWN_IDS = ("pad_token_id", "eos_token_id", "bos_token_id", "unk_token_id")
_MAX_DEPTH = 4


def inspect(
    model: Any,
    tok: Any,
    *,
    wanted: str | None = None,
    measure_mean: bool = False,
    tokens: Mapping[str, int] | None = None,
) -> PadState:
    """Every fact about padding that live objects hold. Nothing is changed.

    ``model`` may be None, ``tok`` a tokenizer or a processor. ``wanted`` is a token string to look up as
    well, ``measure_mean`` compares the pad's row with the mean of all others (one pass over the matrix),
    ``tokens`` is what `tokens_of` gave where that was read already.
    Raises `PadfixError` where the objects are not what they should be.
    """
    tokenizer = text_tokenizer(tok)
    vocab = tokens_of(tokenizer) if tokens is None else tokens
    fast = is_fast(tokenizer)
    state = tokenizer_facts(tokenizer, vocab)
    declared: Token | None = None
    if model is not None:
        inner, wrappers = unwrap(model)
        state = _model_facts(state, model, inner, wrappers, measure_mean)
        value = state.text_pad_id
        if isinstance(value, int) and value >= 0 and (state.pad is None or state.pad.id != value):
            declared = next((Token(text, i) for text, i in vocab.items() if i == value), None)
    table = backend_table(tokenizer, vocab) if fast else python_table(tokenizer, vocab)
    end = template_ends_with(tokenizer)
    return dataclasses.replace(
        state,
        unk_emitted=None if state.unk is None else emits_unk(table),
        appends_eos=None if end is None or state.eos is None else end == state.eos.id,
        pad_uses=live_uses(tokenizer, table, state.pad)
        if state.pad is not None and state.pad.id is not None and fast
        else None,
        candidates=assess(
            table,
            unk=state.unk,
            eos=state.eos,
            declared=declared,
            wanted=Token(wanted, vocab[wanted]) if wanted is not None and wanted in vocab else None,
        ),
    )


def text_tokenizer(tok: Any) -> Any:
    """The tokenizer that a processor holds, or the tokenizer itself."""
    from transformers import PreTrainedTokenizerBase

    if isinstance(tok, type):
        raise PadfixError(
            f"expected a tokenizer, found the class {tok.__qualname__}; load one with {tok.__qualname__}.from_pretrained(...)"
        )
    for candidate in (tok, getattr(tok, "tokenizer", None)):
        if isinstance(candidate, PreTrainedTokenizerBase):
            return candidate
    if tok is not None and hasattr(tok, "get_vocab") and hasattr(tok, "special_tokens_map"):
        return tok
    raise PadfixError(
        f"expected a transformers tokenizer or a processor that holds one, found {type(tok).__module__}.{type(tok).__qualname__}; "
        "pass AutoTokenizer.from_pretrained(...) or a processor with a .tokenizer"
    )


def unwrap(model: Any) -> tuple[Any, tuple[str, ...]]:
    """The ``PreTrainedModel`` inside DDP, ``torch.compile``, FSDP or PEFT, and the wrappers from outside in."""
    from transformers import PreTrainedModel

    if isinstance(model, type):
        raise PadfixError(
            f"expected a model, found the class {model.__qualname__}; load one with {model.__qualname__}.from_pretrained(...)"
        )

    wrappers: list[str] = []
    inner = model
    for _ in range(8):
        if isinstance(inner, PreTrainedModel):
            return inner, tuple(wrappers)
        wrappers.append(type(inner).__name__)
        if hasattr(inner, "get_base_model"):
            inner = inner.get_base_model()
        elif hasattr(inner, "_orig_mod"):
            inner = inner._orig_mod
        elif hasattr(inner, "module"):
            inner = inner.module
        elif hasattr(inner, "pretrained_model"):  # TRL's models with a value head
            inner = inner.pretrained_model
        else:
            break
    raise PadfixError(
        f"expected a transformers PreTrainedModel (or one inside PEFT, torch.compile or DDP), found "
        f"{type(model).__module__}.{type(model).__qualname__}; pass the model itself, or None for the tokenizer alone"
    )


# --- the model --------------------------------------------------------------------------------------


def _model_facts(
    state: PadState, model: Any, inner: Any, wrappers: tuple[str, ...], measure_mean: bool
) -> PadState:
    config = inner.config
    main, paths = text_configs(config)
    generation = getattr(inner, "generation_config", None)
    table = vocabulary(inner)
    model_type = _read(config, "model_type") or None
    quantization = _read(config, "quantization_config")
    pad_id = state.pad.id if state.pad is not None else None
    encoder_decoder = bool(_read(config, "is_encoder_decoder"))
    configs = [config, *(c for _, c in paths)]
    return dataclasses.replace(
        state,
        has_model=True,
        config_pad_id=_config_id(config, "pad_token_id"),
        text_config_pad_ids=tuple((path, _config_id(c, "pad_token_id")) for path, c in paths),
        generation_pad_id=ABSENT if generation is None else _config_id(generation, "pad_token_id"),
        config_eos_ids=_id_set(_read(c, "eos_token_id") for c in configs),
        generation_eos_ids=() if generation is None else _id_set([_read(generation, "eos_token_id")]),
        config_bos_id=_config_id(main, "bos_token_id"),
        config_token_ids=tuple(token_ids(config.to_dict())),
        vocab_size=_int(_read(main, "vocab_size")),
        has_generation_config=generation is not None,
        model_type=model_type if isinstance(model_type, str) else None,
        architectures=(type(inner).__name__,),
        head=head_of(type(inner).__name__, encoder_decoder),
        is_encoder_decoder=encoder_decoder,
        traits=tuple(sorted({*traits_of(model_type), *traits_of(_read(main, "model_type"))})),
        input_rows=table.input_rows,
        output_rows=table.output_rows,
        output_bias_rows=table.output_bias_rows,
        other_rows=table.other_rows,
        tied=table.tied,
        quantized=_quantization(quantization),
        adapter=_adapter(model),
        padding_idx=table.padding_idx,
        pad_row=_pad_row(table, pad_id, measure_mean),
        dtype=str(getattr(inner, "dtype", "")).removeprefix("torch.") or None,
        device=str(getattr(inner, "device", "")) or None,
        sharded=_sharded(table) or any("FSDP" in w or "FullySharded" in w for w in wrappers),
        offloaded=_offloaded(inner, table),
        wrappers=wrappers,
    )


def text_configs(config: Any) -> tuple[Any, tuple[tuple[str, Any], ...]]:
    """The text config, and every nested config with the same vocabulary as ``(dotted path, config)``.

    The first path is the text config's own when it is nested. Configs of other modalities (an audio
    codec has a vocabulary too) are left out.
    """
    nested = [(path, c) for path, c in _nested(config) if _int(_read(c, "vocab_size")) is not None]
    named = [(path, c) for path, c in nested if path.rpartition(".")[2] in _TEXT_CONFIGS]
    try:
        main = config.get_text_config()
    except ValueError:  # musicgen: "Multiple valid text configs were found"
        main = named[0][1] if named else config
    size = _read(main, "vocab_size")
    found = [(p, c) for p, c in nested if c is main]
    found += [
        (p, c)
        for p, c in named
        if c is not main and _read(c, "vocab_size") == size and not _other_modality(p)
    ]
    return main, tuple(found)


def _nested(config: Any, prefix: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    from transformers import PretrainedConfig

    if depth >= _MAX_DEPTH:
        return
    for name, value in vars(config).items():
        if isinstance(value, PretrainedConfig) and not name.startswith("_"):
            path = f"{prefix}{name}"
            yield path, value
            yield from _nested(value, f"{path}.", depth + 1)


def _other_modality(path: str) -> bool:
    return any(word in path.lower() for word in _MODALITY_CONFIGS)


def token_ids(raw: Mapping[Any, Any], prefix: str = "", depth: int = 0) -> Iterator[tuple[str, int]]:
    """Every other ``*_token_id`` that a config gives a meaning, as (dotted key, id), from its dictionary."""
    for key, value in raw.items():
        if isinstance(value, Mapping) and depth < _MAX_DEPTH:
            yield from token_ids(value, f"{prefix}{key}.", depth + 1)
        elif isinstance(key, str) and key.endswith(_ID_KEYS) and key not in _OWN_IDS:
            values = value if isinstance(value, (list, tuple)) else [value]
            yield from ((f"{prefix}{key}", v) for v in values if _int(v) is not None)


def _read(config: Any, name: str) -> Any:
    """An attribute that transformers 5 may not have at all; a per-layer config raises for ambiguous ones."""
    try:
        return getattr(config, name, None)
    except (AttributeError, ValueError, KeyError):
        return None


def _config_id(config: Any, name: str) -> ConfigId:
    try:
        value = getattr(config, name, ABSENT)
    except (AttributeError, ValueError, KeyError):
        return ABSENT
    if value is None or value is ABSENT or _int(value) is not None:
        return value
    return BadValue(type(value).__name__, repr(value)[:80])


def _int(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _id_set(values: Iterable[Any]) -> tuple[int, ...]:
    found: set[int] = set()
    for value in values:
        items = value if isinstance(value, (list, tuple)) else [value]
        found.update(v for v in items if _int(v) is not None)
    return tuple(sorted(found))


def _quantization(value: Any) -> str | None:
    if value is None:
        return None
    method = value.get("quant_method") if isinstance(value, Mapping) else getattr(value, "quant_method", None)
    return str(getattr(method, "value", method) or "unknown")


def _adapter(model: Any) -> str | None:
    for _ in range(8):
        configs = getattr(model, "peft_config", None)
        if isinstance(configs, Mapping) and configs:
            kind = getattr(next(iter(configs.values())), "peft_type", "unknown")
            return str(getattr(kind, "value", kind)).lower()
        inner = getattr(model, "_orig_mod", None) or getattr(model, "module", None)
        if inner is None:
            return None
        model = inner
    return None


def _sharded(table: Vocabulary) -> bool:
    for module in (table.input_module, table.output_module):
        weight = weight_of(module)
        if weight is not None and (
            hasattr(weight, "ds_id") or hasattr(weight, "device_mesh") or weight.numel() == 0
        ):
            return True
    return False


def _offloaded(inner: Any, table: Vocabulary) -> bool:
    placed = getattr(inner, "hf_device_map", None) or {}
    if any(str(device) in ("disk", "meta") for device in placed.values()):
        return True
    weights = (weight_of(m) for m in (table.input_module, table.output_module))
    return any(w is not None and getattr(w, "is_meta", False) for w in weights)


def _pad_row(table: Vocabulary, pad_id: int | None, measure_mean: bool) -> PadRow | None:
    """The pad's own input row against its neighbours; None where it cannot be read."""
    import torch

    weight = weight_of(table.input_module)
    if (
        weight is None
        or pad_id is None
        or weight.dim() != 2
        or weight.is_meta
        or not weight.is_floating_point()
    ):
        return None
    if hasattr(weight, "ds_id") or hasattr(weight, "device_mesh") or not 0 <= pad_id < weight.shape[0]:
        return None
    with torch.no_grad():
        row = weight.detach()[pad_id]
        sample = weight.detach()[:: max(1, weight.shape[0] // 512)].float().norm(dim=-1)
        same = (weight.detach()[:, 0] == row[0]).nonzero().flatten().tolist()  # one column first: cheap
        twin = next((i for i in same if i != pad_id and bool(torch.equal(weight.detach()[i], row))), None)
        return PadRow(
            norm=float(row.float().norm()),
            median_norm=float(sample[torch.isfinite(sample)].median())
            if bool(torch.isfinite(sample).any())
            else None,
            zero=not bool(row.any()),
            finite=bool(torch.isfinite(row).all()),
            duplicate_of=twin,
            mean=_is_mean(weight.detach(), pad_id) if measure_mean else None,
        )


def _is_mean(weight: Any, row: int) -> bool:
    """True when a row equals the mean of all others up to rounding, read in chunks of 1024 rows."""
    import torch

    total = torch.zeros(weight.shape[1], dtype=torch.float64, device=weight.device)
    for chunk in weight.split(1024):
        total += chunk.sum(0, dtype=torch.float64)
    mean = (total - weight[row].double()) / max(1, weight.shape[0] - 1)
    error = (weight[row].double() - mean).norm()
    return bool(error <= 0.01 * mean.norm())
