"""Llama, Mistral, Qwen2, Qwen3 and their mixtures of experts: grouped-query attention."""

from dataclasses import replace

from workloads.model.architectures.common import (
    FULL,
    SLIDING,
    dense_mlp,
    experts_per_token,
    finish_model,
    layer_count,
    plain_attention,
)
from workloads.model.architectures.fields import Fields
from workloads.model.layers import Attention, Layer, Mlp
from workloads.model.shape import Model


def llama(fields: Fields, name: str) -> Model:
    """Llama 1 to 3.3: no norms on queries and keys, biases only where the config says so."""
    bias = fields.flag("attention_bias", default=False)
    attention = plain_attention(fields, qkv_bias=bias, output_bias=bias)
    mlp = dense_mlp(fields, bias=fields.flag("mlp_bias", default=False))
    layers = [Layer(attention=attention, mlp=mlp)] * layer_count(fields)
    return finish_model(fields, name, layers)


def mistral(fields: Fields, name: str) -> Model:
    """Mistral: every layer slides where there is a window."""
    attention = _windowed(plain_attention(fields), fields)
    layers = [Layer(attention=attention, mlp=dense_mlp(fields))] * layer_count(fields)
    return finish_model(fields, name, layers)


def mixtral(fields: Fields, name: str) -> Model:
    """Mistral's attention over routed experts only."""
    attention = _windowed(plain_attention(fields), fields)
    experts = fields.integer("num_local_experts")
    mlp = Mlp(
        kind="moe",
        intermediate=fields.integer("intermediate_size"),
        experts=experts,
        experts_per_token=experts_per_token(fields, "num_experts_per_tok", experts),
    )
    return finish_model(fields, name, [Layer(attention=attention, mlp=mlp)] * layer_count(fields))


def qwen2(fields: Fields, name: str) -> Model:
    """Qwen2 and 2.5: biases on queries, keys and values, always."""
    return _qwen(fields, name, plain_attention(fields, qkv_bias=True))


def qwen3(fields: Fields, name: str) -> Model:
    """Qwen3: weighted norms on queries and keys."""
    return _qwen(fields, name, _qwen3_attention(fields))


def qwen3_moe(fields: Fields, name: str) -> Model:
    """Qwen3 mixtures: experts in every ``decoder_sparse_step``-th layer, none shared."""
    if fields.flag("use_sliding_window", default=False):
        raise fields.wrong("use_sliding_window", "false (which layers slide is not published)")
    fields.integer("sliding_window", default=0)
    attention = _qwen3_attention(fields)
    layers = [Layer(attention=attention, mlp=mlp) for mlp in qwen_mlps(fields)]
    return finish_model(fields, name, layers)


def qwen_mlps(fields: Fields, *, shared: int = 0) -> list[Mlp]:
    """Return the MLP of each layer of a Qwen mixture; ``shared`` is the shared expert's width."""
    layers, experts = layer_count(fields), fields.integer("num_experts")
    step = fields.integer("decoder_sparse_step", default=1)
    plain = fields.integers("mlp_only_layers", layers) or ()
    dense = dense_mlp(fields)
    routed = Mlp(
        kind="moe",
        intermediate=fields.integer("moe_intermediate_size"),
        experts=experts,
        experts_per_token=experts_per_token(fields, "num_experts_per_tok", experts),
        shared_intermediate=shared,
        shared_gate=shared > 0,
    )
    return [
        routed if layer not in plain and (layer + 1) % step == 0 else dense
        for layer in range(layers)
    ]


def _qwen3_attention(fields: Fields) -> Attention:
    bias = fields.flag("attention_bias", default=False)
    return plain_attention(fields, qkv_bias=bias, output_bias=bias, qk_norm=True)


def _qwen(fields: Fields, name: str, full: Attention) -> Model:
    mlp = dense_mlp(fields)
    kinds = _qwen_kinds(fields, layer_count(fields))
    window = fields.integer("sliding_window", default=0)
    if SLIDING in kinds and not window:
        raise fields.wrong("sliding_window", "the width of the window that layers slide over")
    sliding = replace(full, window=window)
    layers = [Layer(attention=sliding if kind == SLIDING else full, mlp=mlp) for kind in kinds]
    return finish_model(fields, name, layers)


def _qwen_kinds(fields: Fields, layers: int) -> tuple[str, ...]:
    """Kinds by ``layer_types``, or full layers first and ``max_window_layers`` of them."""
    slides = fields.flag("use_sliding_window", default=False)
    kinds = fields.words("layer_types", (FULL, SLIDING), layers)
    if kinds is not None:
        return kinds
    first = fields.integer("max_window_layers", default=layers, least=0) if slides else layers
    return tuple(FULL if layer < first else SLIDING for layer in range(layers))


def _windowed(attention: Attention, fields: Fields) -> Attention:
    return replace(attention, window=fields.integer("sliding_window", default=0))
