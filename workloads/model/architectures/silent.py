"""Which names of unknown fields may say something of a model's shape, and which surely do not."""

SHAPELESS = frozenset(
    [
        "attn_implementation",
        "chunk_size_feed_forward",
        "ep_size",
        "eos_token_id",
        "head_dtype",
        "initial_context_length",
        "max_window_layers",
        "n_group",
        "n_groups_per_token",
        "norm_topk_prob",
        "norm_type",
        "num_beam_groups",
        "num_beams",
        "need_fp32_gate",
        "norm_expert_weight",
        "num_expert_group",
        "num_hash_layers",
        "org_vocab_size",
        "num_return_sequences",
        "output_attentions",
        "output_hidden_states",
        "quantization_config",
        "rescale_prenorm_residual",
        "residual_in_fp32",
        "sliding_window_size",
        "topk_group",
        "use_bidirectional_attention",
        "use_gemma_norm",
        "use_mixed_mlp_moe",
        "vocab_size_per_layer_input",
    ]
)
"""Fields whose names sound like shape but do not affect it (training, sampling, routing)."""

SILENT = (
    "_attn_implementation",
    "_name_or_path",
    "aux",
    "dropout",
    "dtype",
    "eps",
    "image",
    "init",
    "kernels",
    "limit",
    "logit",
    "loss",
    "moe_router_activation",
    "mtp",
    "nextn",
    "normalization",
    "pretraining",
    "quantization",
    "rmsnorm",
    "rope",
    "rotary",
    "scal",
    "scoring",
    "temperature",
    "token_i",
    "tokenizer",
    "video",
    "vision",
)
"""Parts of a name that say of it: training, positions, other media, numerics, or layers ahead."""

SHAPELY = (
    "attention",
    "attn",
    "bias",
    "channel",
    "chunk",
    "conv",
    "depth",
    "dim",
    "expert",
    "gate",
    "head",
    "hidden",
    "index",
    "intermediate",
    "interleave",
    "interval",
    "kernel",
    "kv",
    "layer",
    "lora",
    "mamba",
    "mlp",
    "moe",
    "norm",
    "num_",
    "rank",
    "shared",
    "size",
    "sliding",
    "sparse",
    "ssm",
    "state",
    "use_cla",
    "window",
)
"""Parts of a name by which an unknown field might well say something of the shape."""


def may_be_shape(key: str) -> bool:
    """Whether an unread field of this name may change the shape."""
    if key in SHAPELESS or any(part in key for part in SILENT):
        return False
    return key.startswith("n_") or any(part in key for part in SHAPELY)
