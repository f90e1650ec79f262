"""What every family's config says in the same words."""

from collections.abc import Sequence

from workloads.model.architectures.fields import Fields
from workloads.model.errors import ModelError
from workloads.model.layers import Attention, Layer, Mlp
from workloads.model.shape import Model

MOST_LAYERS = 4096
FULL, SLIDING, CHUNKED, LINEAR = (
    "full_attention",
    "sliding_attention",
    "chunked_attention",
    "linear_attention",
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
    shared = fields.integer("num_key_value_heads", default=query)
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


def finish_model(
    fields: Fields,
    name: str,
    layers: Sequence[Layer],
    *,
    notes: Sequence[str] = (),
    embedding_active: bool = True,
) -> Model:
    """Read what lies outside the layers and close the config."""
    fields.word("hidden_act", ("silu", "swish"), default="silu")
    quantization, said = _quantization(fields)
    model = Model(
        name=name,
        architecture=fields.word("model_type", (str(fields.config.get("model_type")),)),
        hidden=fields.integer("hidden_size"),
        vocab=fields.integer("vocab_size"),
        layers=tuple(layers),
        tied_embeddings=fields.flag("tie_word_embeddings", default=False),
        max_context=fields.integer("max_position_embeddings"),
        embedding_active=embedding_active,
        quantization=quantization,
        notes=(*notes, *said),
    )
    fields.finish()
    return model


def _quantization(fields: Fields) -> tuple[str, tuple[str, ...]]:
    if not fields.has("quantization_config"):
        return "", ()
    method = fields.section("quantization_config").config.get("quant_method")
    if not isinstance(method, str):
        raise ModelError(
            f"{fields.where}: quantization_config.quant_method is {method!r}; allowed: a word"
        )
    return method, (f"published weights are stored as {method}; its scales are not parameters",)
