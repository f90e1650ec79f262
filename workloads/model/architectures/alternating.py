"""Families with alternating kinds of layers: gpt-oss, Llama 4."""

from dataclasses import replace

from workloads.model.architectures.common import (
    CHUNKED,
    FULL,
    SLIDING,
    dense_mlp,
    experts_per_token,
    layer_count,
    plain_attention,
)
from workloads.model.architectures.fields import Fields
from workloads.model.architectures.finish import finish_model
from workloads.model.layers import Layer, Mlp
from workloads.model.shape import Model


def gpt_oss(fields: Fields, name: str) -> Model:
    """gpt-oss: windowed and full layers, sinks, experts with biases."""
    count, experts = layer_count(fields), fields.integer("num_local_experts")
    bias = fields.flag("attention_bias", default=True)
    full = plain_attention(fields, qkv_bias=bias, output_bias=bias, sinks=True)
    sliding = replace(full, window=fields.integer("sliding_window"))
    kinds = fields.words("layer_types", (FULL, SLIDING), count)
    if kinds is None:
        kinds = tuple((SLIDING, FULL)[layer % 2] for layer in range(count))
    mlp = Mlp(
        kind="moe",
        intermediate=fields.integer("intermediate_size"),
        experts=experts,
        experts_per_token=experts_per_token(
            fields, "num_experts_per_tok", experts, "experts_per_token"
        ),
        bias=True,
        router_bias=True,
    )
    layers = [Layer(attention=sliding if kind == SLIDING else full, mlp=mlp) for kind in kinds]
    return finish_model(fields, name, layers)


def llama4(fields: Fields, name: str) -> Model:
    """Llama 4: chunked layers with rotary positions, full ones without; one shared expert."""
    kinds = _llama4_kinds(fields)
    bias = fields.flag("attention_bias", default=False)
    full = plain_attention(fields, qkv_bias=bias, output_bias=bias)
    chunk = fields.integer("attention_chunk_size", default=None if CHUNKED in kinds else 0)
    chunked = replace(full, chunk=chunk)
    mlps = _llama4_mlps(fields)
    layers = [
        Layer(attention=chunked if kind == CHUNKED else full, mlp=mlp)
        for kind, mlp in zip(kinds, mlps, strict=True)
    ]
    fields.ignore("attn_temperature_tuning", "use_qk_norm")
    return finish_model(fields, name, layers)


def _llama4_kinds(fields: Fields) -> tuple[str, ...]:
    """Every fourth layer has no rotary positions and sees everything, unless listed otherwise."""
    count = layer_count(fields)
    step = fields.integer("no_rope_layer_interval", default=4)
    rotary = fields.integers("no_rope_layers", 2)
    kinds = fields.words("layer_types", (FULL, CHUNKED), count)
    if rotary is None:
        rotary = tuple(int((layer + 1) % step != 0) for layer in range(count))
    if len(rotary) != count:
        raise fields.wrong("no_rope_layers", f"a list of {count}, 1 where positions rotate")
    return kinds or tuple(CHUNKED if rotates else FULL for rotates in rotary)


def _llama4_mlps(fields: Fields) -> list[Mlp]:
    count, experts = layer_count(fields), fields.integer("num_local_experts")
    step = fields.integer("interleave_moe_layer_step", default=1)
    routed_layers = fields.integers("moe_layers", count)
    if routed_layers is None:
        routed_layers = tuple(range(step - 1, count, step))
    width = fields.integer("intermediate_size")
    routed = Mlp(
        kind="moe",
        intermediate=width,
        experts=experts,
        experts_per_token=experts_per_token(fields, "num_experts_per_tok", experts),
        shared_intermediate=width,
    )
    dense = dense_mlp(fields, key="intermediate_size_mlp")
    return [routed if layer in routed_layers else dense for layer in range(count)]
