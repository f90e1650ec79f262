"""What every family's config says in the same words."""

from workloads.model.architectures.fields import Fields
from workloads.model.errors import ModelError
from workloads.model.layers import Attention, Mlp

MOST_LAYERS = 4096
FULL, SLIDING, CHUNKED, LINEAR, MAMBA = (
    "full_attention",
    "sliding_attention",
    "chunked_attention",
    "linear_attention",
    "mamba",
)


def layer_count(fields: Fields) -> int:
    """Return ``num_hidden_layers``, refused where it cannot be meant."""
    layers = fields.integer("num_hidden_layers")
    if layers > MOST_LAYERS:
        raise fields.wrong("num_hidden_layers", f"at most {MOST_LAYERS}")
    return layers


def heads(fields: Fields) -> tuple[int, int, int]:
    """Return query heads, KV heads and the head's width, which must divide."""
    query = fields.integer("num_attention_heads")
    shared = fields.integer("num_key_value_heads", "num_attention_groups", default=query)
    if query % shared:
        raise ModelError(
            f"{fields.where}: num_attention_heads {query} is not divisible by "
            f"num_key_value_heads {shared}"
        )
    if fields.has("head_dim"):
        return query, shared, fields.integer("head_dim")
    hidden = fields.integer("hidden_size")
    fields.integer("head_dim", default=0)
    if hidden % query:
        raise ModelError(
            f"{fields.where}: hidden_size {hidden} is not divisible by num_attention_heads {query}"
        )
    return query, shared, hidden // query


def plain_attention(fields: Fields, **traits: bool) -> Attention:
    """Return full grouped-query attention with the given traits."""
    query, shared, width = heads(fields)
    return Attention(
        kind="gqa", heads=query, kv_heads=shared, head_dim=width, value_dim=width, **traits
    )


def dense_mlp(fields: Fields, *, key: str = "intermediate_size", bias: bool = False) -> Mlp:
    """Return a gated MLP."""
    return Mlp(kind="dense", intermediate=fields.integer(key), bias=bias)


def experts_per_token(fields: Fields, key: str, experts: int, *aliases: str) -> int:
    """Return how many experts a token takes, at most those that there are."""
    chosen = fields.integer(key, *aliases)
    if chosen > experts:
        raise fields.wrong(key, f"at most the {experts} experts")
    return chosen
