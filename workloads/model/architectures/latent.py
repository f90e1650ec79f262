"""DeepSeek V2, V3, R1 and V3.2: latent attention, shared and routed experts, a sparse indexer."""

from workloads.model.architectures.common import (
    dense_mlp,
    experts_per_token,
    finish_model,
    layer_count,
)
from workloads.model.architectures.fields import Fields
from workloads.model.errors import ModelError
from workloads.model.layers import Attention, Layer, Mlp
from workloads.model.shape import Model


def deepseek(fields: Fields, name: str) -> Model:
    """DeepSeek V2 and V3: dense layers first, then mixtures."""
    return _deepseek(fields, name, _attention(fields, sparse=False))


def deepseek_sparse(fields: Fields, name: str) -> Model:
    """DeepSeek V3.2: as V3, and an indexer that picks the tokens that a query sees."""
    return _deepseek(fields, name, _attention(fields, sparse=True))


def _deepseek(fields: Fields, name: str, attention: Attention) -> Model:
    count = layer_count(fields)
    first = fields.integer("first_k_dense_replace", default=0, least=0)
    step = fields.integer("moe_layer_freq", default=1)
    dense, routed = dense_mlp(fields), _mixture(fields)
    layers = [
        Layer(
            attention=attention,
            mlp=routed if layer >= first and layer % step == 0 else dense,
        )
        for layer in range(count)
    ]
    ahead = fields.integer("num_nextn_predict_layers", default=0, least=0)
    notes = ("multi-token prediction layers are not counted",) if ahead else ()
    return finish_model(fields, name, layers, notes=notes, embedding_active=False)


def _attention(fields: Fields, *, sparse: bool) -> Attention:
    heads = fields.integer("num_attention_heads")
    if fields.integer("num_key_value_heads", default=heads) != heads:
        raise fields.wrong("num_key_value_heads", f"{heads}, one for each attention head")
    if fields.flag("attention_bias", default=False):
        raise fields.wrong("attention_bias", "false")
    nope, rope = fields.integer("qk_nope_head_dim"), fields.integer("qk_rope_head_dim")
    for key, width in (("head_dim", rope), ("qk_head_dim", nope + rope)):
        if fields.integer(key, default=width) != width:
            raise fields.wrong(key, f"{width}, as the other widths say")
    rank = fields.integer("q_lora_rank", default=0)
    if sparse and not rank:
        raise ModelError(f"{fields.where}: q_lora_rank is missing; the indexer reads it")
    return Attention(
        kind="mla",
        heads=heads,
        kv_heads=heads,
        head_dim=nope + rope,
        value_dim=fields.integer("v_head_dim"),
        q_lora_rank=rank,
        kv_lora_rank=fields.integer("kv_lora_rank"),
        rope_dim=rope,
        nope_dim=nope,
        index_heads=fields.integer("index_n_heads") if sparse else 0,
        index_dim=fields.integer("index_head_dim") if sparse else 0,
        index_tokens=fields.integer("index_topk") if sparse else 0,
    )


def _mixture(fields: Fields) -> Mlp:
    """Routed experts and all shared ones as one; a correction per expert where V3 routes."""
    experts, width = fields.integer("n_routed_experts"), fields.integer("moe_intermediate_size")
    method = fields.word("topk_method", ("greedy", "group_limited_greedy", "noaux_tc"))
    return Mlp(
        kind="moe",
        intermediate=width,
        experts=experts,
        experts_per_token=experts_per_token(fields, "num_experts_per_tok", experts),
        shared_intermediate=width * fields.integer("n_shared_experts", default=0, least=0),
        router_bias=method == "noaux_tc",
    )
