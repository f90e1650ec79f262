"""Which layers have experts and which an MLP, by whatever words a config says it."""

from dataclasses import replace

from workloads.model.architectures.common import layer_count
from workloads.model.architectures.fields import Fields
from workloads.model.architectures.finish import is_of
from workloads.model.layers import Mlp

EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
CHOSEN = (
    "num_experts_per_tok",
    "num_experts_per_token",
    "experts_per_token",
    "moe_topk",
    "moe_top_k",
    "top_k_experts",
    "moe_k",
)
WIDTH = ("moe_intermediate_size", "expert_ffn_hidden_size")
SHARED_WIDTH = (
    "shared_expert_intermediate_size",
    "moe_shared_expert_intermediate_size",
    "share_expert_dim",
    "shared_intermediate_size",
)
SHARED_COUNT = (
    "n_shared_experts",
    "num_shared_experts",
    "moe_num_shared_experts",
    "num_shared_expert",
)


def read_mlps(fields: Fields, *, bias: bool = False, gated: bool = True) -> list[Mlp]:
    """Return the MLP of each layer."""
    count, experts = layer_count(fields), fields.integer(*EXPERTS, default=0, least=0)
    switched_off = not fields.flag("enable_moe_block", default=True)
    if not experts or switched_off:
        fields.ignore(*EXPERTS, *CHOSEN, *WIDTH, "decoder_sparse_step", "mlp_only_layers")
        dense = Mlp(
            kind="dense",
            intermediate=fields.integer("intermediate_size"),
            bias=bias,
            gated=gated,
        )
        return [dense] * count
    beside = fields.flag("enable_moe_block", default=False)
    routed = replace(read_experts(fields, experts, beside=beside), bias=bias, gated=gated)
    sparse = _sparse_layers(fields, count)
    if all(sparse):
        fields.ignore("intermediate_size", "dense_intermediate_size")
        return [routed] * count
    width = fields.integer("dense_intermediate_size", "intermediate_size")
    fields.ignore("intermediate_size")
    dense = Mlp(kind="dense", intermediate=width, bias=bias, gated=gated)
    return [routed if chosen else dense for chosen in sparse]


def read_experts(fields: Fields, experts: int, *, beside: bool = False) -> Mlp:
    """Return the experts of a layer; ``beside``: a dense MLP works beside them on every token."""
    chosen = _alike(fields, *CHOSEN)
    if chosen > experts:
        key = next(key for key in CHOSEN if fields.has(key))
        raise fields.wrong(key, f"at most the {experts} experts")
    width = _alike(fields, *WIDTH, "intermediate_size")
    count = _alike(fields, *SHARED_COUNT, default=1, least=0)
    fields.ignore("moe_gate", "moe_capacity", "moe_group_experts", "moe_layer_end_index")
    said = any(fields.has(key) for key in SHARED_COUNT)
    shared = fields.integer(*SHARED_WIDTH, default=width if said else 0, least=0) * count
    fields.ignore(*SHARED_WIDTH)
    gate = shared > 0 and is_of(fields, "qwen")
    if beside:
        shared = fields.integer("intermediate_size")
    switches = ("use_routing_bias", "use_moe_router_bias", "moe_router_enable_expert_bias")
    corrected = [fields.flag(key, default=False) for key in switches]
    method = fields.word(
        "topk_method",
        ("greedy", "group_limited_greedy", "noaux_tc"),
        default="noaux_tc" if fields.config.get("scoring_func") == "sigmoid" else "greedy",
    )
    return Mlp(
        kind="moe",
        intermediate=width,
        experts=experts,
        experts_per_token=chosen,
        shared_intermediate=shared,
        shared_gate=gate,
        router_bias=any(corrected) or method == "noaux_tc",
    )


def _alike(fields: Fields, *keys: str, default: int | None = None, least: int = 1) -> int:
    """Return a whole number, which some configs write once for every layer."""
    each = {key: fields.config.get(key) for key in keys}
    same = {
        key: value[0]
        for key, value in each.items()
        if isinstance(value, list) and value and all(item == value[0] for item in value)
    }
    fields.ignore(*keys)
    shaped = Fields({**fields.config, **same}, fields.where)
    return shaped.integer(*keys, default=default, least=least)


def _sparse_layers(fields: Fields, count: int) -> list[bool]:
    """Whether each layer has experts: by a list, by the first dense layers, or by a step."""
    words = fields.words("mlp_layer_types", ("dense", "sparse"), count)
    first = fields.integer("first_k_dense_replace", "moe_layer_start_index", default=0, least=0)
    listed = isinstance(fields.config.get("moe_layer_freq"), list)
    flags = fields.integers("moe_layer_freq", 2) if listed else None
    step = 1 if listed else fields.integer("moe_layer_freq", "moe_layer_interval", default=1)
    every = fields.integer("decoder_sparse_step", default=1)
    plain = fields.integers("mlp_only_layers", count) or ()
    named = _named(fields)
    if words is not None:
        return [word == "sparse" for word in words]
    if flags is not None:
        if len(flags) < count:
            raise fields.wrong("moe_layer_freq", f"a list of {count}, 1 where there are experts")
        return [flag == 1 for flag in flags[:count]]
    if named is not None:
        return [layer in named for layer in range(count)]
    return [
        layer >= first and layer % step == 0 and (layer + 1) % every == 0 and layer not in plain
        for layer in range(count)
    ]


def _named(fields: Fields) -> tuple[int, ...] | None:
    """Layers with experts as Step writes them: numbers in one word, between commas."""
    text = fields.config.get("moe_layers_enum")
    fields.ignore("moe_layers_enum")
    if not isinstance(text, str) or not text:
        return None
    parts = text.split(",")
    if not all(part.strip().isdecimal() and len(part) < 6 for part in parts):
        raise fields.wrong("moe_layers_enum", "numbers of layers between commas")
    return tuple(int(part) for part in parts)
