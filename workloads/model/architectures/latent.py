"""Latent attention (DeepSeek V2 to V3.2, Kimi K2, GLM-5) and compressed attention (DeepSeek V4)."""

from dataclasses import replace

from workloads.model.architectures.common import layer_count
from workloads.model.architectures.feedforward import read_experts, read_mlps
from workloads.model.architectures.fields import Fields
from workloads.model.architectures.finish import finish_model
from workloads.model.errors import ModelError
from workloads.model.layers import Attention, Layer
from workloads.model.shape import Model

FULL_INDEXER, SHARED_INDEXER = "full", "shared"


def latent(fields: Fields, name: str) -> Model:
    """Latent attention over dense layers first, then mixtures; sparse where there is an indexer."""
    if fields.has("linear_attn_config"):
        raise ModelError(
            f"{fields.where}: linear_attn_config describes layers of Kimi delta attention beside"
            " latent ones, which are not understood; a state of fixed size per sequence and the"
            " sizes of its gates would be needed"
        )
    sparse = fields.has("index_topk")
    attention = _attention(fields, sparse=sparse)
    follower = replace(attention, index_heads=0, index_dim=0)
    kinds = fields.words("indexer_types", (FULL_INDEXER, SHARED_INDEXER), layer_count(fields))
    shared = [kind == SHARED_INDEXER for kind in kinds or (FULL_INDEXER,) * layer_count(fields)]
    if kinds is not None:
        fields.ignore("index_topk_freq", "index_skip_topk_offset", "index_topk_pattern")
    fields.ignore("index_share_for_mtp_iteration")
    layers = [
        Layer(attention=follower if follows else attention, mlp=mlp)
        for follows, mlp in zip(shared, read_mlps(fields), strict=True)
    ]
    return finish_model(fields, name, layers)


def _attention(fields: Fields, *, sparse: bool) -> Attention:
    heads = fields.integer("num_attention_heads")
    if fields.integer("num_key_value_heads", default=heads) != heads:
        raise fields.wrong("num_key_value_heads", f"{heads}, one for each attention head")
    if fields.flag("attention_bias", default=False):
        raise fields.wrong("attention_bias", "false")
    nope, rope = fields.integer("qk_nope_head_dim"), fields.integer("qk_rope_head_dim")
    if fields.integer("qk_head_dim", default=nope + rope) != nope + rope:
        raise fields.wrong("qk_head_dim", f"{nope + rope}, as the other widths say")
    if fields.integer("head_dim", default=rope) not in (rope, nope, nope + rope):
        raise fields.wrong("head_dim", f"{rope}, {nope} or {nope + rope}, as the other widths say")
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


def compressed(fields: Fields, name: str) -> Model:
    """DeepSeek V4: a window in every layer, beside it entries of 4 (picked) or 128 tokens."""
    count = layer_count(fields)
    ratios = fields.integers("compress_ratios", 2**20)
    if ratios is None or len(ratios) < count:
        raise fields.wrong("compress_ratios", f"a list of at least {count}, one per layer")
    if fields.integer("num_key_value_heads", default=1) != 1:
        raise fields.wrong("num_key_value_heads", "1, shared by all heads")
    streams = fields.integer("hc_mult", default=1)
    fields.ignore("hc_sinkhorn_iters", "compress_rope_theta", "qk_rope_head_dim", "attention_bias")
    made = {ratio: _compressed(fields, ratio) for ratio in dict.fromkeys(ratios[:count])}
    mlp = read_experts(fields, fields.integer("n_routed_experts"))
    layers = [Layer(attention=made[ratio], mlp=mlp, streams=streams) for ratio in ratios[:count]]
    return finish_model(fields, name, layers)


def _compressed(fields: Fields, ratio: int) -> Attention:
    """Return a layer's attention; entries of few tokens are picked by an indexer."""
    picked = 0 < ratio <= MOST_PICKED
    heads, groups = fields.integer("num_attention_heads"), fields.integer("o_groups")
    if heads % groups:
        raise fields.wrong("o_groups", f"a divisor of the {heads} heads")
    width = fields.integer("head_dim")
    fields.ignore("index_n_heads", "index_head_dim", "index_topk")
    return Attention(
        kind="compressed",
        heads=heads,
        kv_heads=1,
        head_dim=width,
        value_dim=width,
        window=fields.integer("sliding_window"),
        q_lora_rank=fields.integer("q_lora_rank"),
        index_heads=fields.integer("index_n_heads") if picked else 0,
        index_dim=fields.integer("index_head_dim") if picked else 0,
        index_tokens=fields.integer("index_topk") if picked else 0,
        compress=ratio,
        output_groups=groups,
        output_rank=fields.integer("o_lora_rank"),
        sinks=True,
    )


MOST_PICKED = 16
"""Layers that compress more than so many tokens into one entry attend to all entries."""
