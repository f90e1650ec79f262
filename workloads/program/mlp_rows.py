"""The rest of a layer as rows of a program, in order, under the names of its prices.

Dense: all-reduce, residual+norm+quant, gate/up, activation x mul, down, all-reduce+residual and
residual (the additions of the dispatch before it). A mixture of experts adds router, router top-k
and expert combine, and shared experts theirs. With expert parallelism the all-reduces become
reduce-scatter, dispatch all-to-all, combine all-to-all and all-gather+residual. With norms that are
sharded by token, reduce-scatter, sharded residual+norm+quant and MLP gather replace all-reduce and
residual+norm+quant, and a layer ends with reduce-scatter+residual and sharded residual; with expert
parallelism with the latter alone.
"""

from workloads.model import Layer, Mlp
from workloads.program.rows import ProgramInputs, Row, Scope, exchange, input_norm, matmul, vector


def mlp_rows(
    inputs: ProgramInputs, layer: Layer, tokens: int, *, sharded: bool = False
) -> list[Row]:
    """All operations after O; a layer of one half has those that it needs."""
    mlp, hidden = layer.mlp, inputs.model.hidden
    parted = mlp.kind == "moe" and inputs.expert_ranks > 1
    own = -(-tokens // inputs.cards) if parted else tokens
    ends = _ends(inputs, tokens, parted=parted, sharded=sharded)
    if mlp.kind == "none":
        return ends
    if layer.attention.kind != "none":
        begins = _begins(inputs, tokens, parted=parted, sharded=sharded)
    elif parted:
        begins = input_norm(inputs, tokens, rows=own)
    else:
        begins = input_norm(inputs, tokens, "MLP gather" if sharded else "")
    if mlp.kind == "dense":
        middle = gated(inputs, "", "mlp", mlp.intermediate, tokens, gate=mlp.gated)
    else:
        middle = [
            *_router(inputs, mlp, own, tokens),
            *_shared(inputs, mlp, tokens, parted=parted),
            *_latent(inputs, "latent in", (hidden, mlp.latent), own, tokens),
            *(_parted(inputs, mlp, tokens) if parted else _experts(inputs, mlp, tokens)),
            *_latent(inputs, "latent out", (mlp.latent, hidden), own, tokens),
        ]
    return [*begins, *middle, *ends]


def _begins(inputs: ProgramInputs, tokens: int, *, parted: bool, sharded: bool) -> list[Row]:
    """Reduction of the attention's outputs, and the MLP's input."""
    hidden, formats = inputs.model.hidden, inputs.formats
    if not sharded:
        name = "reduce-scatter" if parted else "all-reduce"
        own = -(-tokens // inputs.cards) if parted else tokens
        whole = formats.wire.bytes_of(tokens * hidden)
        return [
            exchange(name, name.replace("-", "_"), tokens, whole, "stage"),
            vector("residual+norm+quant", tokens, m=own, n=hidden),
        ]
    spread = inputs.spread(tokens)
    elements = spread * hidden
    wide = formats.wire.bytes_of(elements)
    scatter = exchange("reduce-scatter", "reduce_scatter", tokens, wide, "stage")
    if parted:
        own = -(-tokens // inputs.cards)
        return [scatter, vector("residual+norm+quant", tokens, m=own, n=hidden)]
    gathered = formats.activations.bytes_of(elements)
    return [
        scatter,
        vector("sharded residual+norm+quant", tokens, m=spread // inputs.cards, n=hidden),
        exchange("MLP gather", "all_gather", tokens, gathered, "stage"),
    ]


def _ends(inputs: ProgramInputs, tokens: int, *, parted: bool, sharded: bool) -> list[Row]:
    """The last reduction and the additions of the residual stream."""
    hidden, wire = inputs.model.hidden, inputs.formats.wire
    if not sharded:
        name = "all-gather" if parted else "all-reduce"
        whole = wire.bytes_of(tokens * hidden)
        return [
            exchange(f"{name}+residual", name.replace("-", "_"), tokens, whole, "stage"),
            vector("residual", tokens, m=tokens, n=hidden),
        ]
    spread = inputs.spread(tokens)
    added = vector("sharded residual", tokens, m=spread // inputs.cards, n=hidden)
    if parted:
        return [added]
    wide = wire.bytes_of(spread * hidden)
    return [exchange("reduce-scatter+residual", "reduce_scatter", tokens, wide, "stage"), added]


def _latent(
    inputs: ProgramInputs, name: str, shape: tuple[int, int], own: int, tokens: int
) -> list[Row]:
    """A card's own tokens into the experts' latent space, or out of it, if there is one."""
    k, n = shape
    return [matmul(inputs, name, "router", tokens, m=own, k=k, n=n)] if k and n else []


def gated(
    inputs: ProgramInputs,
    prefix: str,
    weight_class: str,
    intermediate: int,
    tokens: int,
    *,
    gate: bool = True,
) -> list[Row]:
    """Gate and up by columns, their product, down by rows, over the cards of the stage."""
    width, hidden = inputs.width(intermediate), inputs.model.hidden
    up = {"m": tokens, "k": hidden, "n": (2 if gate else 1) * width}
    down = {"m": tokens, "k": width, "n": hidden}
    return [
        matmul(inputs, f"{prefix}gate/up", weight_class, tokens, **up),
        vector(f"{prefix}activation x mul", tokens, m=tokens, n=width),
        matmul(inputs, f"{prefix}down", weight_class, tokens, **down),
    ]


def _router(inputs: ProgramInputs, mlp: Mlp, own: int, tokens: int) -> list[Row]:
    sizes = {"m": own, "k": inputs.model.hidden, "n": mlp.experts}
    return [
        matmul(inputs, "router", "router", tokens, **sizes),
        vector("router top-k", tokens, m=own, n=mlp.experts),
    ]


def _shared(inputs: ProgramInputs, mlp: Mlp, tokens: int, *, parted: bool) -> list[Row]:
    if not mlp.shared_intermediate:
        return []
    width, gate = mlp.shared_intermediate, mlp.gated
    work = gated(inputs, "shared ", "shared_expert", width, tokens, gate=gate)
    if not parted:
        return work
    whole = inputs.formats.wire.bytes_of(tokens * inputs.model.hidden)
    return [
        exchange("shared gather", "all_gather", tokens, whole, "stage"),
        *work,
        exchange("shared reduce", "reduce_scatter", tokens, whole, "stage"),
    ]


def _parted(inputs: ProgramInputs, mlp: Mlp, tokens: int) -> list[Row]:
    """Tokens go to the ranks of their experts and back; an expert is sliced over its cards."""
    hidden, wire = mlp.latent or inputs.model.hidden, inputs.formats.wire
    table, copies = inputs.routed(mlp), min(mlp.experts_per_token, inputs.expert_ranks)
    chiplets = inputs.cards * inputs.chiplets
    sent = int(table.crossing(tokens, copies, inputs.expert_ranks))
    crossing = inputs.chiplets * wire.bytes_of(-(-sent // chiplets) * hidden)
    present = wire.bytes_of(min(tokens, int(table.rows[tokens])) * hidden)
    scope: Scope = "expert" if inputs.plan.cards_per_expert > 1 else "card"
    return [
        exchange("dispatch all-to-all", "all_to_all", tokens, crossing, "stage"),
        exchange("expert gather", "all_gather", tokens, present, scope),
        *_experts(inputs, mlp, tokens),
        exchange("expert reduce", "reduce_scatter", tokens, present, scope),
        exchange("combine all-to-all", "all_to_all", tokens, crossing, "stage"),
    ]


def _experts(inputs: ProgramInputs, mlp: Mlp, tokens: int) -> list[Row]:
    """The hottest rank's active experts, with the mean of their tokens as m."""
    table, hidden = inputs.routed(mlp), mlp.latent or inputs.model.hidden
    active, pairs = int(table.active[tokens]), int(table.rows[tokens])
    width = inputs.width(mlp.intermediate, inputs.plan.cards_per_expert)
    m = -(-pairs // max(1, active))

    def product(name: str, k: int, n: int) -> Row:
        sizes = {"m": m, "k": k, "n": n, "count": active, "rows": pairs}
        return matmul(inputs, name, "expert", tokens, **sizes)

    return [
        product("expert gate/up", hidden, (2 if mlp.gated else 1) * width),
        vector("expert activation x mul", tokens, m=pairs, n=width),
        product("expert down", width, hidden),
        vector("expert combine", tokens, m=pairs, n=hidden),
    ]
