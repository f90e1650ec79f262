"""Layers that keep a state of fixed size, and stacks of Mamba-2 blocks (Nemotron-H)."""

from workloads.model.architectures.common import layer_count, plain_attention
from workloads.model.architectures.feedforward import read_experts
from workloads.model.architectures.fields import Fields
from workloads.model.architectures.finish import SILU, finish_model
from workloads.model.errors import ModelError
from workloads.model.layers import NO_ATTENTION, NO_MLP, Attention, Layer, Mlp
from workloads.model.shape import Model

STATE_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
BLOCKS = {"M": "mamba", "*": "attention", "-": "mlp", "E": "moe"}


def gated_delta(fields: Fields) -> Attention:
    """Gated delta rule, as in Qwen3-Next and Qwen3.5."""
    keys = fields.integer("linear_num_key_heads")
    values = fields.integer("linear_num_value_heads")
    if values % keys:
        raise ModelError(
            f"{fields.where}: linear_num_value_heads {values} is not divisible by "
            f"linear_num_key_heads {keys}"
        )
    return Attention(
        kind="linear",
        heads=values,
        kv_heads=keys,
        head_dim=fields.integer("linear_key_head_dim"),
        value_dim=fields.integer("linear_value_head_dim"),
        conv_kernel=fields.integer("linear_conv_kernel_dim"),
        state_element_bytes=_state_bytes(fields, "mamba_ssm_dtype"),
    )


def mamba_of_heads(fields: Fields) -> Attention:
    """Mamba-2 as Granite and Bamba spell it."""
    query, groups = fields.integer("mamba_n_heads"), fields.integer("mamba_n_groups", default=1)
    _divides(fields, query, groups)
    fields.ignore("mamba_chunk_size", "mamba_proj_bias", "mamba_expand")
    return Attention(
        kind="mamba",
        heads=query,
        kv_heads=groups,
        head_dim=fields.integer("mamba_d_state"),
        value_dim=fields.integer("mamba_d_head"),
        conv_kernel=fields.integer("mamba_d_conv"),
        qkv_bias=fields.flag("mamba_conv_bias", default=True),
    )


def hybrid(fields: Fields, name: str) -> Model:
    """Nemotron-H: each layer is one block, of Mamba-2, attention, an MLP or experts."""
    blocks = _blocks(fields)
    made = {
        block: Layer(
            attention=_mixer(fields, block) if block in ("mamba", "attention") else NO_ATTENTION,
            mlp=_mlp(fields, block) if block in ("mlp", "moe") else NO_MLP,
        )
        for block in dict.fromkeys(blocks)
    }
    fields.ignore(
        "intermediate_size", "moe_intermediate_size", "moe_latent_size", "mamba_hidden_act",
        "mlp_hidden_act", "chunk_size", "expand", "time_step_rank", "use_bias",
        "moe_shared_expert_overlap", "moe_shared_expert_intermediate_size", "n_shared_experts",
        "n_routed_experts", "num_experts_per_tok",
    )  # fmt: skip
    return finish_model(fields, name, [made[block] for block in blocks])


def _blocks(fields: Fields) -> tuple[str, ...]:
    count, words = layer_count(fields), tuple(BLOCKS.values())
    pattern = fields.config.get("hybrid_override_pattern")
    fields.ignore("hybrid_override_pattern")
    listed = fields.words("layers_block_type", words, count)
    if listed is not None:
        return listed
    if not isinstance(pattern, str) or len(pattern) != count or set(pattern) - set(BLOCKS):
        raise fields.wrong("hybrid_override_pattern", f"{count} letters of {' '.join(BLOCKS)}")
    return tuple(BLOCKS[letter] for letter in pattern)


def _mixer(fields: Fields, block: str) -> Attention:
    if block == "attention":
        bias = fields.flag("attention_bias", default=False)
        width = fields.integer("attention_head_dim", "head_dim")
        shaped = Fields({**fields.config, "head_dim": width}, fields.where)
        fields.ignore("num_attention_heads", "num_key_value_heads", "head_dim")
        return plain_attention(shaped, qkv_bias=bias, output_bias=bias)
    query, groups = fields.integer("mamba_num_heads"), fields.integer("n_groups", default=1)
    _divides(fields, query, groups)
    if fields.flag("mamba_proj_bias", default=False):
        raise fields.wrong("mamba_proj_bias", "false")
    return Attention(
        kind="mamba",
        heads=query,
        kv_heads=groups,
        head_dim=fields.integer("ssm_state_size"),
        value_dim=fields.integer("mamba_head_dim"),
        conv_kernel=fields.integer("conv_kernel"),
        qkv_bias=fields.flag("use_conv_bias", default=True),
        state_element_bytes=_state_bytes(fields, "mamba_ssm_cache_dtype"),
    )


def _mlp(fields: Fields, block: str) -> Mlp:
    activation = fields.word("mlp_hidden_act", ("relu2", *SILU), default="relu2")
    bias, gated = fields.flag("mlp_bias", default=False), activation != "relu2"
    if block == "mlp":
        width = fields.integer("intermediate_size")
        return Mlp(kind="dense", intermediate=width, bias=bias, gated=gated)
    experts = read_experts(fields, fields.integer("n_routed_experts"))
    return Mlp(
        kind="moe",
        intermediate=experts.intermediate,
        experts=experts.experts,
        experts_per_token=experts.experts_per_token,
        shared_intermediate=experts.shared_intermediate,
        router_bias=True,
        bias=bias,
        gated=gated,
        latent=fields.integer("moe_latent_size", default=0),
    )


def _divides(fields: Fields, query: int, groups: int) -> None:
    if query % groups:
        raise ModelError(f"{fields.where}: {query} Mamba heads do not divide over {groups} groups")


def _state_bytes(fields: Fields, key: str) -> int:
    return STATE_BYTES[fields.word(key, tuple(STATE_BYTES), default="bfloat16")]
