"""Nemotron-NAS: layers of their own, as a search found them."""

from collections.abc import Mapping

from workloads.model.architectures.common import layer_count
from workloads.model.architectures.fields import Fields
from workloads.model.architectures.finish import finish_model
from workloads.model.errors import ModelError
from workloads.model.layers import NO_ATTENTION, NO_MLP, Attention, Layer, Mlp
from workloads.model.shape import Model

WIDTH_UNIT = 256
"""Widths of MLPs are rounded up to such a multiple."""


def searched(fields: Fields, name: str) -> Model:
    """Each block says its heads per group and its MLP's width, or that it has none."""
    count, blocks = layer_count(fields), fields.config.get("block_configs")
    fields.ignore("block_configs", "num_key_value_heads", "intermediate_size", "head_dim")
    if not isinstance(blocks, list) or len(blocks) != count:
        raise ModelError(f"{fields.where}: block_configs is no list of {count} blocks, one a layer")
    layers = []
    for number, block in enumerate(blocks):
        if not isinstance(block, Mapping):
            raise ModelError(f"{fields.where}: block_configs[{number}] is no object")
        own = Fields(block, f"{fields.where}: block_configs[{number}]")
        layers.append(Layer(attention=_attention(fields, own), mlp=_mlp(fields, own)))
    fields.flag("mlp_bias", default=False)
    return finish_model(fields, name, layers)


def _attention(fields: Fields, block: Fields) -> Attention:
    own = block.section("attention")
    if own.flag("no_op", default=False):
        return NO_ATTENTION
    _refuse(own, "replace_with_linear", "sparsify", "num_sink_tokens", "unshifted_sink")
    heads, hidden = fields.integer("num_attention_heads"), fields.integer("hidden_size")
    if hidden % heads and not fields.has("head_dim"):
        raise fields.wrong("num_attention_heads", f"a divisor of hidden_size {hidden}")
    shared = own.integer("num_key_value_heads", default=0, least=0)
    shared = shared or heads // own.integer("n_heads_in_group")
    width = fields.integer("head_dim", default=hidden // heads)
    bias = fields.flag("attention_bias", default=False)
    return Attention(
        kind="gqa",
        heads=heads,
        kv_heads=shared,
        head_dim=width,
        value_dim=width,
        window=own.integer("window_length", default=0),
        qkv_bias=bias,
        output_bias=bias,
    )


def _mlp(fields: Fields, block: Fields) -> Mlp:
    own = block.section("ffn")
    if own.flag("no_op", default=False):
        return NO_MLP
    _refuse(own, "replace_with_linear", "sparsify", "moe")
    bias = fields.flag("mlp_bias", default=False)
    if own.has("intermediate_size"):
        return Mlp(kind="dense", intermediate=own.integer("intermediate_size"), bias=bias)
    times = own.config.get("ffn_mult")
    if isinstance(times, bool) or not isinstance(times, int | float) or not 0 < times < 1e6:
        raise own.wrong("ffn_mult", "a positive number")
    width = int(2 * times * fields.integer("hidden_size") / 3)
    width = -(-width // WIDTH_UNIT) * WIDTH_UNIT
    return Mlp(kind="dense", intermediate=width, bias=bias)


def _refuse(own: Fields, *keys: str) -> None:
    for key in keys:
        if own.config.get(key):
            raise own.wrong(key, "null or false: such blocks are not understood")
