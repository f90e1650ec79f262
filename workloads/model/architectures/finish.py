"""What lies outside a model's layers: embeddings, longest context, and how weights are stored."""

from collections.abc import Mapping, Sequence

from workloads.model.architectures.fields import Fields
from workloads.model.layers import Layer
from workloads.model.shape import ActiveRule, Model

SILU = ("silu", "swish", "swiglu", "swigluoai")
STRETCHED = ("linear", "dynamic")
"""Scalings of positions that multiply ``max_position_embeddings``; others are within it."""

MOST_STRETCH = 1e6

ACTIVE_RULES: Mapping[str, ActiveRule] = {
    "gptoss": "head",
    "deepseek": "head",
    "kimi": "head",
    "glm": "head",
    "nemotronh": "head",
    "mimo": "head",
    "minimax": "layers",
    "qwen3next": "layers",
}
"""How publishers of mixtures count a token's active parameters, by the family's name; ``all`` for
others."""


VECTORS = ("it makes a vector of each prompt: prompts are read, and no tokens are generated",)


def family(fields: Fields) -> str:
    """Return the names of the config's type and classes as one word, in lower case."""
    found = fields.config.get("architectures")
    names = found if isinstance(found, list) else []
    words = [fields.config.get("model_type"), *names]
    plain = [word.replace("_", "").replace("-", "").lower() for word in words if _is_word(word)]
    return " ".join(plain)


def is_of(fields: Fields, *prefixes: str) -> bool:
    """Whether the config's type or one of its classes begins so."""
    return any(word.startswith(prefixes) for word in family(fields).split())


def finish_model(
    fields: Fields,
    name: str,
    layers: Sequence[Layer],
    *,
    notes: Sequence[str] = (),
    activations: Sequence[str] = SILU,
) -> Model:
    """Read what lies outside the layers and close the config."""
    fields.word("hidden_act", activations, default=activations[0])
    quantization = stored_as(fields.config.get("quantization_config"))
    said = [f"published weights are stored as {quantization}; its scales are not parameters"]
    routed = any(layer.mlp.experts for layer in layers)
    rules = [rule for prefix, rule in ACTIVE_RULES.items() if routed and is_of(fields, prefix)]
    pooling = makes_vectors(fields)
    model = Model(
        name=name,
        architecture=_architecture(fields),
        hidden=fields.integer("hidden_size"),
        vocab=fields.integer("vocab_size"),
        layers=tuple(layers),
        tied_embeddings=fields.flag("tie_word_embeddings", default=is_of(fields, "gemma")),
        max_context=_context(fields),
        active_rule=rules[0] if rules else "all",
        quantization=quantization,
        pooling=pooling,
        notes=(*notes, *_ahead(fields), *(said if quantization else ()), *(VECTORS * pooling)),
    )
    fields.finish()
    return model


def makes_vectors(fields: Fields) -> bool:
    """Whether its class is that of the layers alone (``Qwen3Model``): an embedding model's."""
    found = fields.config.get("architectures")
    classes = [word for word in found if _is_word(word)] if isinstance(found, list) else []
    return any(word.endswith("Model") and not word.endswith("LMHeadModel") for word in classes)


def stored_as(found: object) -> str:
    """Return how published weights are stored, in a word or two; "" for 16-bit floats.

    Nothing in it is a reason to refuse a shape: what is not understood is called so.
    """
    if not found:
        return ""
    if not isinstance(found, Mapping):
        return "an unknown format"
    inner = found.get("quantization")
    source = {**found, **inner} if isinstance(inner, Mapping) else found
    producer = source.get("producer")
    maker = producer.get("name") if isinstance(producer, Mapping) else None
    method = source.get("quant_method") or maker
    words = [str(word) for word in (method, source.get("quant_algo")) if _is_word(word)]
    return " ".join(words) or "an unknown format"


def _architecture(fields: Fields) -> str:
    kind = fields.config.get("model_type")
    return kind if isinstance(kind, str) and kind else family(fields).split(" ")[0] or "unnamed"


def _context(fields: Fields) -> int:
    """Longest context; linear scaling multiplies what the config says, YaRN's is counted in it."""
    longest = fields.integer(
        "max_position_embeddings", "max_sequence_length", "max_seq_len", "seq_length"
    )
    scaling = fields.config.get("rope_scaling") or fields.config.get("rope_parameters")
    if not isinstance(scaling, Mapping) or is_of(fields, "gemma"):
        return longest
    kind, factor = scaling.get("rope_type") or scaling.get("type"), scaling.get("factor")
    if kind not in STRETCHED or isinstance(factor, bool) or not isinstance(factor, int | float):
        return longest
    return int(longest * factor) if 1 <= factor <= MOST_STRETCH else longest


def _ahead(fields: Fields) -> tuple[str, ...]:
    keys = ("num_nextn_predict_layers", "mtp_num_hidden_layers", "num_mtp_modules")
    counts = [fields.config.get(key) for key in keys]
    ahead = any(type(count) is int and count > 0 for count in counts)
    return ("multi-token prediction layers are not counted",) if ahead else ()


def _is_word(value: object) -> bool:
    return isinstance(value, str) and bool(value)
