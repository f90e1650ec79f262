"""The dispatches from the attention's reduction to the end of the layer, in order.

Dense: all-reduce, residual+norm+quant, gate/up, activation x mul, down, all-reduce+residual.

Mixture of experts adds: router, router top-k, and expert combine (the weighted sum of a token's
experts); shared experts add shared gate/up, shared activation x mul and shared down. With expert
parallelism the two all-reduces become reduce-scatter, dispatch all-to-all, combine all-to-all and
all-gather+residual, tokens being parted over the chiplets in between; an expert is sliced over the
chiplets of its rank, so that its tokens are gathered there before it (expert gather) and its
partial sums reduced after it (expert reduce); shared experts, sliced over the whole group, add
shared gather and shared reduce. Biases and the shared expert's gate ride on their products.
"""

import math
from dataclasses import dataclass

import numpy as np

from cluster.perf_model.chiplet import Product, ridge_rows, shard
from cluster.perf_model.memory.placement import LayerPlaces
from cluster.perf_model.prices.inputs import PriceInputs
from cluster.perf_model.prices.op_prices import (
    UNIT,
    Operation,
    OpPricer,
    StreamedWeights,
    elsewhere,
    matmul,
    vector,
)
from cluster.perf_model.tables import Integers
from workloads.model import Mlp
from workloads.plan import cut
from workloads.routing import ExpertTable, Routing, cold_table, expert_table


@dataclass(frozen=True, slots=True, kw_only=True)
class Routed:
    """Who wakes which experts, for every count of tokens."""

    table: ExpertTable
    cold: Integers
    """[m] experts awake that do not lie in SRAM."""


def routing_of(inputs: PriceInputs, bench: OpPricer, mlp: Mlp) -> Routing:
    """How tokens find the experts of this layer."""
    return Routing(
        experts=mlp.experts,
        top_k=mlp.experts_per_token,
        ranks=bench.expert_ranks,
        max_tokens=inputs.max_tokens,
        ridge=ridge_rows(bench.chiplet, bench.mode),
        skew=inputs.expert_skew,
        seed=inputs.seed,
    )


def routed(inputs: PriceInputs, bench: OpPricer, mlp: Mlp, places: LayerPlaces) -> Routed | None:
    """Who wakes which experts; nothing for a dense layer."""
    if mlp.kind == "dense":
        return None
    routing = routing_of(inputs, bench, mlp)
    per_rank = mlp.experts // bench.expert_ranks
    table = expert_table(routing)
    if places.hot_experts >= per_rank:
        return Routed(table=table, cold=np.zeros_like(table.active))
    return Routed(table=table, cold=cold_table(routing, places.hot_experts))


def mlp_operations(
    bench: OpPricer,
    mlp: Mlp,
    hidden: int,
    tokens: Integers,
    found: Routed | None,
    places: LayerPlaces,
) -> list[Operation]:
    """All dispatches after O."""
    plain = bench.holding(places.mlp)
    residual = bench.simd("residual")
    settle = bench.simd("residual", "norm", "quantize")
    if found is None:
        return [
            elsewhere("all-reduce", tokens),
            vector(bench, "residual+norm+quant", (tokens * hidden, settle), normed=tokens),
            *gated(plain, "", mlp.intermediate, hidden, tokens),
            vector(bench, "all-reduce+residual", (tokens * hidden, residual)),
        ]
    parted = bench.expert_ranks > 1
    own = -(-tokens // bench.ranks) if parted else tokens
    shared = _shared(plain, mlp, hidden, tokens) if mlp.shared_intermediate else []
    experts = _experts(bench, mlp, hidden, tokens, found)
    last = "all-gather+residual" if parted else "all-reduce+residual"
    return [
        elsewhere("reduce-scatter" if parted else "all-reduce", tokens),
        vector(bench, "residual+norm+quant", (own * hidden, settle), normed=own),
        *_router(plain, mlp, hidden, own),
        *shared,
        *([elsewhere("dispatch all-to-all", tokens)] if parted else []),
        *([elsewhere("expert gather", tokens)] if parted else []),
        *experts,
        *([elsewhere("expert reduce", tokens)] if parted else []),
        *([elsewhere("combine all-to-all", tokens)] if parted else []),
        vector(bench, last, (tokens * hidden, residual)),
    ]


def gated(
    bench: OpPricer, prefix: str, intermediate: int, hidden: int, tokens: Integers
) -> list[Operation]:
    """Gate and up by columns, their product, down by rows, over all chiplets of the group."""
    width, card = bench.of_group(intermediate), len(cut(intermediate, bench.cards)[0])
    activate = bench.simd("activation", "quantize")
    up, down = _kept(hidden, card)
    return [
        matmul(bench, prefix + "gate/up", Product(m=tokens, k=hidden, n=2 * width), up),
        vector(bench, prefix + "activation x mul", (tokens * width, activate)),
        matmul(bench, prefix + "down", Product(m=tokens, k=width, n=hidden), down),
    ]


def _kept(
    hidden: int, width: int, copies: Integers | int = 1
) -> tuple[StreamedWeights, StreamedWeights]:
    """Gate and up, and down, of ``width`` on a card."""
    units = -(-width // UNIT)
    return (
        StreamedWeights(k=hidden, n=2 * width, units=units, copies=copies),
        StreamedWeights(k=width, n=hidden, units=units, copies=copies),
    )


def _router(bench: OpPricer, mlp: Mlp, hidden: int, rows: Integers) -> list[Operation]:
    """Every chiplet routes its tokens itself; each score sinks through a heap of the top k."""
    depth = max(1, math.ceil(math.log2(mlp.experts_per_token)))
    return [
        matmul(
            bench,
            "router",
            Product(m=rows, k=hidden, n=mlp.experts),
            StreamedWeights(k=hidden, n=mlp.experts, units=bench.chiplets),
        ),
        vector(bench, "router top-k", (rows * mlp.experts, bench.simd("compare", times=depth))),
    ]


def _experts(
    bench: OpPricer, mlp: Mlp, hidden: int, tokens: Integers, found: Routed
) -> list[Operation]:
    """The hottest rank's active experts, rounds running over the union of their tiles.

    Those that lie in LPDDR stream: of the rank with most of them awake.
    """
    table = found.table
    active, pairs = table.active[tokens], table.rows[tokens]
    awake = np.maximum(active, 1)
    width = shard(mlp.intermediate, bench.ranks // bench.expert_ranks)
    card = len(cut(mlp.intermediate, bench.cards // bench.expert_ranks)[0])
    up, down = _kept(hidden, card, found.cold[tokens])
    held = table.busy[tokens] * float(bench.mode.clocks_per_vector) / awake
    present = np.minimum(tokens, pairs)

    def product(name: str, k: int, n: int, x_rows: Integers, kept: StreamedWeights) -> Operation:
        shape = Product(
            m=-(-pairs // awake),
            k=k,
            n=n,
            copies=active,
            x_rows=x_rows,
            vectors=pairs,
            tile_clocks=held,
        )
        return matmul(bench, name, shape, kept)

    activate = bench.simd("activation", "quantize")
    return [
        product("expert gate/up", hidden, 2 * width, present, up),
        vector(bench, "expert activation x mul", (pairs * width, activate)),
        product("expert down", width, hidden, pairs, down),
        vector(bench, "expert combine", (pairs * hidden, bench.simd("residual"))),
    ]


def _shared(bench: OpPricer, mlp: Mlp, hidden: int, tokens: Integers) -> list[Operation]:
    work = gated(bench, "shared ", mlp.shared_intermediate, hidden, tokens)
    if bench.expert_ranks == 1:
        return work
    return [elsewhere("shared gather", tokens), *work, elsewhere("shared reduce", tokens)]
