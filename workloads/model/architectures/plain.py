"""Grouped-query attention, with windows, states or an indexer in some layers, over any MLP.

The config's fields decide. What no field says but the family's code has (biases of Qwen2, norms on
the queries and keys of Qwen3) is known by the beginning of the type's or the class's name.
"""

from dataclasses import replace

from workloads.model.architectures.common import (
    FULL,
    LINEAR,
    MAMBA,
    SLIDING,
    heads,
    layer_count,
)
from workloads.model.architectures.feedforward import read_mlps
from workloads.model.architectures.fields import Fields
from workloads.model.architectures.finish import SILU, finish_model, is_of
from workloads.model.architectures.recurrent import gated_delta, mamba_of_heads
from workloads.model.errors import ModelError
from workloads.model.layers import Attention, Layer
from workloads.model.shape import Model

NO_INDEXER = (0, 0, 0)
UNGATED = ("relu2", "relu_squared")
GELU = ("gelu_pytorch_tanh", "gelu", "gelu_new", "geglu")
FAMILIES = (
    "llama",
    "mistral",
    "ministral",
    "mixtral",
    "qwen",
    "gemma",
    "minimax",
    "mimo",
    "step",
    "glm",
    "phi3",
    "cohere",
    "olmo",
    "granite",
    "nemotron",
    "gptoss",
    "internlm",
    "seed",
    "exaone",
    "smollm",
    "hunyuan",
    "ernie",
)
"""Beginnings of names whose traits beyond the fields are known, or known to be none."""


def plain(fields: Fields, name: str) -> Model:
    """Any decoder of grouped-query attention, its layers alike or taking turns."""
    activations, notes = _activations(fields)
    gated = fields.config.get("hidden_act", fields.config.get("hidden_activation")) not in UNGATED
    kinds = layer_kinds(fields)
    mlps = read_mlps(fields, bias=fields.flag("mlp_bias", default=False), gated=gated)
    full = _full(fields)
    made: dict[str, Attention] = {FULL: full}
    if SLIDING in kinds:
        made[SLIDING] = _sliding(fields, full)
        made[FULL] = _global(fields, full)
    else:
        _no_window(fields)
    if LINEAR in kinds:
        made[LINEAR] = gated_delta(fields)
    if MAMBA in kinds:
        made[MAMBA] = mamba_of_heads(fields)
    sparse = _indexed(fields, len(kinds))
    layers = [
        Layer(
            attention=_with_indexer(made[kind], indexer),
            mlp=mlp,
            output_norms=is_of(fields, "gemma2", "gemma3", "gemma4"),
        )
        for kind, mlp, indexer in zip(kinds, mlps, sparse, strict=True)
    ]
    if full.qk_norm_whole:
        notes += ("norms over all heads are priced without what cards exchange for them",)
    if not is_of(fields, *FAMILIES):
        notes += ("read by its fields alone: biases and norms that none names are not counted",)
    return finish_model(fields, name, layers, notes=notes, activations=activations)


def _activations(fields: Fields) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of activations that are understood here, and what is to be said of the one found."""
    allowed = (*SILU, *UNGATED)
    found = fields.word("hidden_activation", (*allowed, *GELU), default="silu")
    if not is_of(fields, "gemma"):
        return allowed, ()
    found = str(fields.config.get("hidden_act") or found)
    return (*allowed, *GELU), (f"{found} is priced as SiLU is",) if found in GELU else ()


def _full(fields: Fields) -> Attention:
    query, shared, width = heads(fields)
    bias = fields.flag("attention_bias", default=fields.flag("use_bias", default=False))
    inputs = fields.flag("qkv_bias", default=fields.flag("use_qkv_bias", default=bias))
    if not fields.flag("use_cla", default=False):
        fields.ignore("cla_share_factor", "attention_head_dim")
    outputs = bias and not is_of(fields, "glm4")
    wide = fields.word("qk_norm_type", ("per_layer", "per_head"), default="per_head") == "per_layer"
    normed = fields.flag("use_qk_norm", default=is_of(fields, "qwen3", "gemma3", "gemma4"))
    gate = is_of(fields, "qwen3next", "qwen35")
    gate = fields.flag("attn_output_gate", default=gate)
    fields.word("output_gate_type", ("sigmoid", "swish", "silu"), default="sigmoid")
    return Attention(
        kind="gqa",
        heads=query,
        kv_heads=shared,
        head_dim=width,
        value_dim=fields.integer("v_head_dim", default=width),
        qkv_bias=inputs or is_of(fields, "qwen2"),
        output_bias=fields.flag("attention_out_bias", default=outputs),
        qk_norm=normed and not wide,
        qk_norm_whole=normed and wide,
        output_gate=fields.flag("attention_output_gate", default=gate),
        head_gate=fields.flag("use_head_wise_attn_gate", default=is_of(fields, "step3p7")),
        sinks=fields.flag("add_full_attention_sink_bias", default=False),
    )


def _sliding(fields: Fields, full: Attention) -> Attention:
    """Return the attention of windowed layers, which may have heads of their own."""
    other: Fields | None = None
    if fields.has("attention_other_setting"):
        other = fields.section("attention_other_setting")
        other.ignore("attention_type", "head_dim", "true_head_dim")
    query, shared = full.heads, full.kv_heads
    if other is not None:
        query = other.integer("num_attention_heads", default=query)
        shared = other.integer("num_attention_groups", default=shared)
        other.finish()
    query = fields.integer("swa_num_attention_heads", default=query)
    shared = fields.integer("swa_num_key_value_heads", default=shared)
    if query % shared:
        raise ModelError(
            f"{fields.where}: {query} heads of windowed layers are not divisible by {shared}"
        )
    fields.ignore("attention_chunk_size")
    return replace(
        full,
        heads=query,
        kv_heads=shared,
        head_dim=fields.integer("swa_head_dim", default=full.head_dim),
        value_dim=fields.integer("swa_v_head_dim", default=full.value_dim),
        window=fields.integer("sliding_window"),
        sinks=fields.flag("add_swa_attention_sink_bias", default=full.sinks),
    )


def _global(fields: Fields, full: Attention) -> Attention:
    """Return the full layers beside windowed ones, which may be the ones with other heads."""
    width = fields.integer("global_head_dim", default=full.head_dim)
    shared = fields.integer("num_global_key_value_heads", default=full.kv_heads)
    if full.heads % shared:
        raise fields.wrong("num_global_key_value_heads", f"a divisor of the {full.heads} heads")
    return replace(
        full,
        kv_heads=shared,
        head_dim=width,
        value_dim=width if fields.has("global_head_dim") else full.value_dim,
        keys_are_values=fields.flag("attention_k_eq_v", default=False),
    )


def _no_window(fields: Fields) -> None:
    """A width without layers that slide is none where the config says that none slides."""
    if any(fields.has(key) for key in ("layer_types", "use_sliding_window", "max_window_layers")):
        fields.integer("sliding_window", default=0)


def _with_indexer(attention: Attention, sizes: tuple[int, int, int]) -> Attention:
    heads, width, tokens = sizes
    return replace(attention, index_heads=heads, index_dim=width, index_tokens=tokens)


def _indexed(fields: Fields, count: int) -> list[tuple[int, int, int]]:
    """Heads, width and tokens picked of each layer's indexer of blocks; zeros for none."""
    if not fields.has("sparse_attention_config"):
        return [NO_INDEXER] * count
    section = fields.section("sparse_attention_config")
    on = section.flag("use_sparse_attention", default=True)
    flags = section.integers("sparse_attention_freq", 2) or (1,) * layer_count(fields)
    silent = section.integers("sparse_disable_index_value", 2) or (1,) * len(flags)
    if len(flags) < count or any(f and not s for f, s in zip(flags, silent, strict=False)):
        raise section.wrong(
            "sparse_disable_index_value", "1 in sparse layers: an indexer's values are not known"
        )
    sizes = (
        section.integer("sparse_num_index_heads"),
        section.integer("sparse_index_dim"),
        section.integer("sparse_topk_blocks") * section.integer("sparse_block_size"),
    )
    section.ignore("sparse_local_block", "sparse_init_block", "sparse_score_type")
    section.finish()
    return [sizes if on and flag else NO_INDEXER for flag in flags[:count]]


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
