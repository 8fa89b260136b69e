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
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from padfix.errors import PadfixError
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

_WIDTH, _DEPTH, _HEADS, _KV_HEADS, _HEAD, _FFN, _POSITIONS = 32, 2, 4, 2, 8, 64, 256

# Values by field name, for integer fields of a configuration and of the configurations inside it.
_BY_VALUE: Final[tuple[tuple[int, str], ...]] = (
    (_WIDTH, """hidden_size d_model n_embd dim emb_dim embed_dim hidden_dim width lru_width d_embed embedding_size
        input_embedding_size output_embedding_size embedding_dim d_embedding word_embed_proj_dim word_embed_size
        attention_hidden_size cross_attention_hidden_size encoder_hidden_size backbone_hidden_size text_hidden_size
        projection_dim projector_hidden_size rwkv_hidden_size out_hidden_size mamba_latent_size image_size
        hidden_size_global adapter_in_dim adapter_out_dim adapter_input_size audio_hidden_size"""),
    (_DEPTH, """num_hidden_layers n_layer n_layers num_layers encoder_layers decoder_layers num_encoder_layers
        num_decoder_layers depth num_blocks num_encoder_blocks"""),
    (_HEADS, """num_attention_heads n_head n_heads num_heads encoder_attention_heads decoder_attention_heads
        num_encoder_attention_heads num_decoder_attention_heads attention_heads swa_num_attention_heads"""),
    (_KV_HEADS, """num_key_value_heads num_kv_heads n_kv_heads kv_n_heads multi_query_group_num
        num_global_key_value_heads swa_num_key_value_heads"""),
    (_HEAD, """head_dim d_kv attention_head_dim global_head_dim swa_head_dim v_head_dim swa_v_head_dim
        attention_head_size linear_key_head_dim linear_value_head_dim kv_channels qk_nope_head_dim index_head_dim
        hidden_size_per_layer_input patch_size"""),
    (_FFN, """intermediate_size n_inner ffn_dim encoder_ffn_dim decoder_ffn_dim d_ff mlp_dim dim_ff d_inner
        ffn_hidden_size hidden_ff feed_forward_size hidden_dim_ff inner_dim mlp_hidden_size dense_intermediate_size
        block_ff_dim intermediate_size_mlp feed_forward_proj_dim encoder_intermediate_size
        decoder_intermediate_size prefix_dense_intermediate_size"""),
    (_POSITIONS, """max_position_embeddings n_positions n_ctx max_source_positions max_target_positions max_seq_len
        max_sequence_length max_seq_length max_position_embedding max_encoder_position_embeddings
        max_decoder_position_embeddings context_length original_max_position_embeddings seq_length"""),
    (64, "audio_vocab_size mamba_d_ssm"),
    (16, """moe_intermediate_size expert_intermediate_size shared_intermediate_size
        shared_expert_intermediate_size moe_shared_expert_intermediate_size expert_ffn_hidden_size
        moe_ffn_hidden_size moe_latent_size q_lora_rank kv_lora_rank o_lora_rank swa_q_lora_rank sliding_window
        sliding_window_size attention_window_size window_size local_attention attention_chunk_size num_mel_bins
        num_buckets index_n_heads"""),  # with 2 index heads many scores are exactly 0, and top-k picks among ties
    (8, """mamba_n_heads mamba_d_head mamba_headdim mamba_d_state mamba_chunk_size mamba_num_heads mamba_head_dim
        ssm_state_size chunk_size state_size relative_attention_num_buckets bucket_size max_relative_positions"""),
    (4, """num_experts num_local_experts n_routed_experts moe_num_experts num_moe_experts n_experts qk_rope_head_dim
        index_topk mamba_d_conv mamba_dt_rank time_step_rank adapter_rank linear_num_value_heads linear_num_heads
        num_heads_linear rotary_dim num_query_tokens"""),
    (3, "conv_L_cache num_channels"),
    (2, """num_experts_per_tok moe_topk moe_k top_k_experts num_experts_per_token num_selected_experts moe_top_k
        num_experts_per_topk zero_expert_num o_groups n_mamba_heads linear_num_key_heads
        num_codebooks spatial_merge_size adapter_merge_size altup_num_inputs laurel_rank num_labels"""),
    (1, """num_hidden_groups n_group topk_group num_expert_group n_shared_experts moe_num_shared_experts
        num_shared_experts first_k_dense_replace num_dense_layers first_dense_layers mamba_n_groups mamba_ngroups
        n_groups num_memory_blocks num_mem_blocks"""),
    (0, "num_kv_shared_layers num_nextn_predict_layers"),
    (12, "qk_head_dim"),
)  # fmt: skip
_SIZES: Final = {name: value for value, names in _BY_VALUE for name in names.split()}
_VOCABULARIES: Final = (
    "vocab_size", "text_vocab_size", "n_vocab", "decoder_vocab_size", "vocab_size_per_layer_input",
    "org_vocab_size", "vocab_size_override", "src_vocab_size", "tgt_vocab_size",
)  # fmt: skip
# None means "as many as the heads" or "width / heads": said outright, so that a shrunk width still divides.
_NONE_MEANS: Final = {"num_key_value_heads": _HEADS, "num_kv_heads": _HEADS, "head_dim": _HEAD}
_TOKEN_ID: Final = re.compile(r"_(token_id|token_index|token_ids|idx|code_id|start_id|end_id)$")

# One entry per layer; kept to one layer of every kind.
_PER_LAYER: Final = (
    "layer_types", "mlp_layer_types", "layers_block_type", "block_types", "attention_types", "attn_type_list",
    "no_rope_layers", "layer_type_list", "hybrid_layer_pattern", "moe_layer_freq",
)  # fmt: skip
_DEPTHS: Final = ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "decoder_layers")

_CLASS_DEFAULT: Final = object()  # leave this field to the class

# Fields that depend on one another, which no rule by name can know.
_BY_ARCHITECTURE: Final[dict[str, dict[str, Any]]] = {
    "bamba": {"attn_layer_indices": [1]},
    "blt": {"encoder_hash_byte_group_vocab": 64, "use_cache": False},
    "bros": {"hidden_size": 64},
    "cohere_compass_text": {"rope_parameters": {
        "full_attention": {"rope_type": "default", "rope_theta": 10000.0},
        "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0}}},
    "dbrx": {"attn_config": {"kv_n_heads": 2, "rope_theta": 10000.0, "clip_qkv": 8.0},
             "ffn_config": {"ffn_hidden_size": 16, "moe_num_experts": 4, "moe_top_k": 2, "hidden_size": 32}},
    "dots3_note_text": {"per_layer_config": _CLASS_DEFAULT, "swa_num_attention_heads": 4, "swa_num_key_value_heads": 4,
                        "swa_q_lora_rank": 16, "swa_kv_lora_rank": 16, "swa_head_dim": 12,
                        "swa_qk_nope_head_dim": 8, "swa_v_head_dim": 8},
    "deepseek_v2": {"num_experts_per_tok": 2},
    "dots1": {"n_routed_experts": 4, "n_shared_experts": 1, "num_experts_per_tok": 2},
    "esm": {"mask_token_id": 5, "pad_token_id": 1},
    "esmc": {"num_key_value_heads": 4, "pad_token_id": 1},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "granitemoehybrid": {"layer_types": ["linear_attention", "full_attention"]},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1, "use_mamba_kernels": False},
    "layoutlmv3": {"coordinate_size": 5, "shape_size": 6},
    "led": {"attention_window": 8},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"]},
    "lilt": {"hidden_size": 48, "intermediate_size": 96},
    "longcat_flash": {"head_dim": 4},
    "luke": {"entity_vocab_size": 64, "entity_emb_size": 32},
    "mamba2": {"num_heads": 8, "expand": 2},
    "mluke": {"entity_vocab_size": 64, "entity_emb_size": 32},
    "mpnet": {"relative_attention_num_buckets": 32},
    "neomme": {"head_dim": 16, "hidden_size": 64},
    "perceiver": {"num_latents": 8, "d_latents": 32, "num_self_attends_per_block": 2,
                  "num_self_attention_heads": 4, "num_cross_attention_heads": 4, "qk_channels": 32, "v_channels": 32},
    "qwen4_exp_text": {"indexer_n_heads": 2, "indexer_kv_heads": 1, "indexer_head_dim": 8, "indexer_budget": 16,
                       "indexer_compress_ratio": 4, "hc_lowrank": 8},
    "reformer": {"axial_pos_shape": [8, 32], "axial_pos_embds_dim": [16, 16], "attn_layers": ["local", "lsh"],
                 "num_buckets": 4, "local_attn_chunk_length": 8, "lsh_attn_chunk_length": 8},
    "xlstm": {"hidden_size": 64, "embedding_dim": 64, "qk_dim_factor": 1.0, "ffn_round_up_to_multiple_of": 8},
    "xmod": {"default_language": "en_XX"},
    "zamba": {"num_hidden_layers": 4, "layers_block_type": ["linear_attention", "hybrid"] * 2,
              "use_mamba_kernels": False, "attention_hidden_size": 64, "attention_head_dim": 16,
              "num_key_value_heads": 4},
    "zaya": {"num_experts_per_tok": 1, "router_hidden_size": 16},
}  # fmt: skip

# The same where transformers 4.57 spells it otherwise.
_BY_ARCHITECTURE_4: Final[dict[str, dict[str, Any]]] = {
    "dbrx": {"ffn_config": {"ffn_hidden_size": 16, "moe_num_experts": 4, "moe_top_k": 2}},
    "granitemoehybrid": {"layer_types": ["mamba", "attention"]},
    "mllama_text_model": {"rope_scaling": {"rope_type": "default"}},
    "zamba": {"layers_block_type": ["mamba", "hybrid"] * 2},
}

# Encoders whose causal head needs to be told that it is a decoder.
_DECODER_WHEN_CAUSAL: Final = (
    "bert", "bert-generation", "big_bird", "camembert", "data2vec-text", "electra", "ernie", "megatron-bert",
    "prophetnet", "qdqbert", "reformer", "rembert", "roberta", "roberta-prelayernorm", "roc_bert", "roformer",
    "xlm-roberta", "xlm-roberta-xl", "xmod",
)  # fmt: skip


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
    if head == "causal" and model_type in _DECODER_WHEN_CAUSAL:
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
        small["num_key_value_heads"] = _HEADS  # latent attention has one key head per query head
    if "per_layer_config" in _as_dict(default):
        small["per_layer_config"] = {}
    small.update(_short_lists(default, fields))
    return small


def _arguments(
    cls: Any, model_type: str, ids: _TokenIds, overrides: Mapping[str, Any], depth: int = 0
) -> dict[str, Any]:
    import transformers

    known = {**_shrink(cls, ids, overrides, depth), **_BY_ARCHITECTURE.get(model_type, {})}
    if transformers.__version__.startswith("4."):
        known.update(_BY_ARCHITECTURE_4.get(model_type, {}))
    return {name: value for name, value in known.items() if value is not _CLASS_DEFAULT}


def _nested_config(part: Any, ids: _TokenIds, overrides: Mapping[str, Any], depth: int) -> Any:
    arguments = _arguments(part, getattr(part, "model_type", ""), ids, overrides, depth + 1)
    names = {*_fields(part), *(getattr(part, "attribute_map", None) or {})}
    if names.intersection(_VOCABULARIES):
        arguments.update({name: value for name, value in overrides.items() if name in names})
    return part(**arguments)


def _small_value(rule: str, name: str, value: Any, default: Any, ids: _TokenIds) -> dict[str, Any]:
    """The small value of field ``name`` by the rule named ``rule``; empty where it stays."""
    if rule in _VOCABULARIES and (_is_int(value) or (rule == "vocab_size" and value is None)):
        return {name: ids.vocab_size}
    if rule in _SIZES and _is_int(value):
        return {name: _SIZES[rule]}
    if rule in _NONE_MEANS and value is None and default is not None:
        return {name: _NONE_MEANS[rule]}
    if _TOKEN_ID.search(rule) and ids.fit(value) != value:
        return {name: ids.fit(value)}
    return {}


def _short_lists(default: Any, fields: tuple[str, ...]) -> dict[str, Any]:
    """Per-layer lists cut to one layer of every kind, and the depth that fits them."""
    lists = {name: _get(default, name) for name in _PER_LAYER if name in fields}
    kinds = {k: _kinds(v) for k, v in lists.items() if isinstance(v, list) and len(v) > _DEPTH}
    if not kinds:
        return {}
    depth = max(_DEPTH, *(len(v) for v in kinds.values()))
    short: dict[str, Any] = {name: (values * depth)[:depth] for name, values in kinds.items()}
    short.update({name: depth for name in _DEPTHS if name in fields and _is_int(_get(default, name))})
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
        if name in _PER_LAYER and isinstance(values, list) and len(values) > depth:
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
