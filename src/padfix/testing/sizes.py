"""The sizes of tiny models: rules by the names of a configuration's fields, and what no rule can know."""

from __future__ import annotations

import re
from typing import Any, Final

WIDTH, DEPTH, HEADS, KV_HEADS, HEAD, FFN, POSITIONS = 32, 2, 4, 2, 8, 64, 256

# Values by field name, for integer fields of a configuration and of the configurations inside it.
BY_VALUE: Final[tuple[tuple[int, str], ...]] = (
    (WIDTH, """hidden_size d_model n_embd dim emb_dim embed_dim hidden_dim width lru_width d_embed embedding_size
        input_embedding_size output_embedding_size embedding_dim d_embedding word_embed_proj_dim word_embed_size
        attention_hidden_size cross_attention_hidden_size encoder_hidden_size backbone_hidden_size text_hidden_size
        projection_dim projector_hidden_size rwkv_hidden_size out_hidden_size mamba_latent_size image_size
        hidden_size_global adapter_in_dim adapter_out_dim adapter_input_size audio_hidden_size"""),
    (DEPTH, """num_hidden_layers n_layer n_layers num_layers encoder_layers decoder_layers num_encoder_layers
        num_decoder_layers depth num_blocks num_encoder_blocks"""),
    (HEADS, """num_attention_heads n_head n_heads num_heads encoder_attention_heads decoder_attention_heads
        num_encoder_attention_heads num_decoder_attention_heads attention_heads swa_num_attention_heads"""),
    (KV_HEADS, """num_key_value_heads num_kv_heads n_kv_heads kv_n_heads multi_query_group_num
        num_global_key_value_heads swa_num_key_value_heads"""),
    (HEAD, """head_dim d_kv attention_head_dim global_head_dim swa_head_dim v_head_dim swa_v_head_dim
        attention_head_size linear_key_head_dim linear_value_head_dim kv_channels qk_nope_head_dim index_head_dim
        hidden_size_per_layer_input patch_size"""),
    (FFN, """intermediate_size n_inner ffn_dim encoder_ffn_dim decoder_ffn_dim d_ff mlp_dim dim_ff d_inner
        ffn_hidden_size hidden_ff feed_forward_size hidden_dim_ff inner_dim mlp_hidden_size dense_intermediate_size
        block_ff_dim intermediate_size_mlp feed_forward_proj_dim encoder_intermediate_size
        decoder_intermediate_size prefix_dense_intermediate_size"""),
    (POSITIONS, """max_position_embeddings n_positions n_ctx max_source_positions max_target_positions max_seq_len
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
SIZES: Final = {name: value for value, names in BY_VALUE for name in names.split()}
VOCABULARIES: Final = (
    "vocab_size", "text_vocab_size", "n_vocab", "decoder_vocab_size", "vocab_size_per_layer_input",
    "org_vocab_size", "vocab_size_override", "src_vocab_size", "tgt_vocab_size",
)  # fmt: skip
# None means "as many as the heads" or "width / heads": said outright, so that a shrunk width still divides.
NONE_MEANS: Final = {"num_key_value_heads": HEADS, "num_kv_heads": HEADS, "head_dim": HEAD}
TOKEN_ID: Final = re.compile(r"_(token_id|token_index|token_ids|idx|code_id|start_id|end_id)$")

# One entry per layer; kept to one layer of every kind.
PER_LAYER: Final = (
    "layer_types", "mlp_layer_types", "layers_block_type", "block_types", "attention_types", "attn_type_list",
    "no_rope_layers", "layer_type_list", "hybrid_layer_pattern", "moe_layer_freq",
)  # fmt: skip
DEPTHS: Final = ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "decoder_layers")

CLASS_DEFAULT: Final = object()  # leave this field to the class

# Fields that depend on one another, which no rule by name can know.
BY_ARCHITECTURE: Final[dict[str, dict[str, Any]]] = {
    "bamba": {"attn_layer_indices": [1]},
    "blt": {"encoder_hash_byte_group_vocab": 64, "use_cache": False},
    "bros": {"hidden_size": 64},
    "cohere_compass_text": {"rope_parameters": {
        "full_attention": {"rope_type": "default", "rope_theta": 10000.0},
        "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0}}},
    "dbrx": {"attn_config": {"kv_n_heads": 2, "rope_theta": 10000.0, "clip_qkv": 8.0},
             "ffn_config": {"ffn_hidden_size": 16, "moe_num_experts": 4, "moe_top_k": 2, "hidden_size": 32}},
    "dots3_note_text": {"per_layer_config": CLASS_DEFAULT, "swa_num_attention_heads": 4, "swa_num_key_value_heads": 4,
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
BY_ARCHITECTURE_4: Final[dict[str, dict[str, Any]]] = {
    "dbrx": {"ffn_config": {"ffn_hidden_size": 16, "moe_num_experts": 4, "moe_top_k": 2}},
    "granitemoehybrid": {"layer_types": ["mamba", "attention"]},
    "mllama_text_model": {"rope_scaling": {"rope_type": "default"}},
    "zamba": {"layers_block_type": ["mamba", "hybrid"] * 2},
}

# Encoders whose causal head needs to be told that it is a decoder.
DECODER_WHEN_CAUSAL: Final = (
    "bert", "bert-generation", "big_bird", "camembert", "data2vec-text", "electra", "ernie", "megatron-bert",
    "prophetnet", "qdqbert", "reformer", "rembert", "roberta", "roberta-prelayernorm", "roc_bert", "roformer",
    "xlm-roberta", "xlm-roberta-xl", "xmod",
)  # fmt: skip
