"""Which kind of attention each layer has, by whatever words a config says it."""

from workloads.model.architectures.common import FULL, LINEAR, MAMBA, SLIDING, layer_count
from workloads.model.architectures.fields import Fields
from workloads.model.architectures.finish import is_of

ALIASES = {"attention": FULL, "global_attention": FULL, "local_attention": SLIDING}
ALL_SLIDE = ("mistral", "ministral", "mixtral", "phi3", "starcoder2")
"""Families whose window, where the config has one and no list, is that of every layer."""
GLOBAL_EVERY = {"gemma2": 2, "gemma3": 6, "cohere2": 4}
"""Families of which every so many-th layer is full, unless the config says otherwise."""


def layer_kinds(fields: Fields) -> tuple[str, ...]:
    """Return FULL, SLIDING, LINEAR or MAMBA for each layer."""
    count = layer_count(fields)
    _softmax_only(fields)
    found = _listed(fields, count) or _pattern(fields, count)
    every = fields.integer("full_attention_interval", default=4)
    if found is None and fields.has("linear_num_value_heads"):
        found = _each(count, every, LINEAR)
    return found or _windows(fields, count)


def _listed(fields: Fields, count: int) -> tuple[str, ...] | None:
    words = (FULL, SLIDING, LINEAR, MAMBA, *ALIASES)
    found = fields.config.get("layer_types")
    length = count
    if isinstance(found, list) and len(found) > count:
        ahead = fields.config.get("num_nextn_predict_layers")
        length = len(found) if isinstance(ahead, int) and len(found) - count <= ahead else count
    kinds = fields.words("layer_types", words, length)
    if kinds is not None:
        fields.ignore("sliding_window_pattern", "no_rope_layer_interval", "no_rope_layers")
    return kinds and tuple(ALIASES.get(kind, kind) for kind in kinds[:count])


def _pattern(fields: Fields, count: int) -> tuple[str, ...] | None:
    slides = fields.integers("hybrid_layer_pattern", 2)
    if slides is None:
        return None
    if len(slides) != count:
        raise fields.wrong("hybrid_layer_pattern", f"a list of {count}, 1 where layers slide")
    return tuple(SLIDING if slide else FULL for slide in slides)


def _windows(fields: Fields, count: int) -> tuple[str, ...]:
    """Windows by a switch and a first layer (Qwen), by a step (Gemma, Cohere), or everywhere."""
    if isinstance(fields.config.get("sliding_window_pattern"), str):
        raise fields.wrong("sliding_window_pattern", "a number, or layer_types beside it")
    default = next((n for word, n in GLOBAL_EVERY.items() if is_of(fields, word)), 0)
    step = fields.integer("sliding_window_pattern", "_sliding_window_pattern", default=default or 1)
    if fields.has("sliding_window") and (default or fields.has("sliding_window_pattern")):
        return _each(count, step, SLIDING)
    if is_of(fields, *ALL_SLIDE):
        return (SLIDING if fields.has("sliding_window") else FULL,) * count
    slides = fields.flag("use_sliding_window", default=False)
    if not slides:
        return (FULL,) * count
    if not fields.has("max_window_layers"):
        raise fields.wrong(
            "use_sliding_window", "false, unless layer_types or max_window_layers says which slide"
        )
    first = fields.integer("max_window_layers", least=0)
    return tuple(FULL if layer < first else SLIDING for layer in range(count))


def _each(count: int, step: int, between: str) -> tuple[str, ...]:
    return tuple(FULL if (layer + 1) % step == 0 else between for layer in range(count))


def _softmax_only(fields: Fields) -> None:
    """MiniMax marks softmax attention by 1; its older models have lightning attention, too."""
    marks = fields.integers("attn_type_list", 2)
    if marks is not None and not all(marks):
        raise fields.wrong("attn_type_list", "1 everywhere: lightning attention is not understood")
