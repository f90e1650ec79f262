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

import numpy as np

from cluster.machine.chiplet import Product, ridge_rows, shard
from cluster.machine.price.inputs import PriceInputs
from cluster.machine.price.operations import Bench, Operation, elsewhere, matmul, vector
from cluster.machine.tables import Integers
from workloads.model import Mlp
from workloads.routing import ExpertTable, Routing, expert_table


def routed(inputs: PriceInputs, bench: Bench, mlp: Mlp) -> ExpertTable | None:
    """Who wakes which experts; nothing for a dense layer."""
    if mlp.kind == "dense":
        return None
    return expert_table(
        Routing(
            experts=mlp.experts,
            top_k=mlp.experts_per_token,
            ranks=bench.expert_ranks,
            max_tokens=inputs.max_tokens,
            ridge=ridge_rows(bench.chiplet, bench.mode),
            skew=inputs.expert_skew,
            seed=inputs.seed,
        )
    )


def mlp_operations(
    bench: Bench, mlp: Mlp, hidden: int, tokens: Integers, table: ExpertTable | None
) -> list[Operation]:
    """All dispatches after O."""
    residual = bench.simd("residual")
    settle = bench.simd("residual", "norm", "quantize")
    if table is None:
        return [
            elsewhere("all-reduce", tokens),
            vector(bench, "residual+norm+quant", (tokens * hidden, settle), normed=tokens),
            *gated(bench, "", mlp.intermediate, hidden, tokens),
            vector(bench, "all-reduce+residual", (tokens * hidden, residual)),
        ]
    parted = bench.expert_ranks > 1
    own = -(-tokens // bench.ranks) if parted else tokens
    shared = _shared(bench, mlp, hidden, tokens) if mlp.shared_intermediate else []
    experts = _experts(bench, mlp, hidden, tokens, table)
    last = "all-gather+residual" if parted else "all-reduce+residual"
    return [
        elsewhere("reduce-scatter" if parted else "all-reduce", tokens),
        vector(bench, "residual+norm+quant", (own * hidden, settle), normed=own),
        *_router(bench, mlp, hidden, own),
        *shared,
        *([elsewhere("dispatch all-to-all", tokens)] if parted else []),
        *([elsewhere("expert gather", tokens)] if parted else []),
        *experts,
        *([elsewhere("expert reduce", tokens)] if parted else []),
        *([elsewhere("combine all-to-all", tokens)] if parted else []),
        vector(bench, last, (tokens * hidden, residual)),
    ]


def gated(
    bench: Bench, prefix: str, intermediate: int, hidden: int, tokens: Integers
) -> list[Operation]:
    """Gate and up by columns, their product, down by rows, over all chiplets of the group."""
    width = bench.of_group(intermediate)
    activate = bench.simd("activation", "quantize")
    return [
        matmul(bench, prefix + "gate/up", Product(m=tokens, k=hidden, n=2 * width)),
        vector(bench, prefix + "activation x mul", (tokens * width, activate)),
        matmul(bench, prefix + "down", Product(m=tokens, k=width, n=hidden)),
    ]


def _router(bench: Bench, mlp: Mlp, hidden: int, rows: Integers) -> list[Operation]:
    """Every chiplet routes its tokens itself; each score sinks through a heap of the top k."""
    depth = max(1, math.ceil(math.log2(mlp.experts_per_token)))
    return [
        matmul(bench, "router", Product(m=rows, k=hidden, n=mlp.experts)),
        vector(bench, "router top-k", (rows * mlp.experts, bench.simd("compare", times=depth))),
    ]


def _experts(
    bench: Bench, mlp: Mlp, hidden: int, tokens: Integers, table: ExpertTable
) -> list[Operation]:
    """The hottest rank's active experts, rounds running over the union of their tiles."""
    active, pairs = table.active[tokens], table.rows[tokens]
    awake = np.maximum(active, 1)
    width = shard(mlp.intermediate, bench.ranks // bench.expert_ranks)
    held = table.busy[tokens] * float(bench.mode.clocks_per_vector) / awake
    present = np.minimum(tokens, pairs)

    def product(name: str, k: int, n: int, x_rows: Integers) -> Operation:
        shape = Product(
            m=-(-pairs // awake),
            k=k,
            n=n,
            copies=active,
            x_rows=x_rows,
            vectors=pairs,
            tile_clocks=held,
        )
        return matmul(bench, name, shape)

    activate = bench.simd("activation", "quantize")
    return [
        product("expert gate/up", hidden, 2 * width, present),
        vector(bench, "expert activation x mul", (pairs * width, activate)),
        product("expert down", width, hidden, pairs),
        vector(bench, "expert combine", (pairs * hidden, bench.simd("residual"))),
    ]


def _shared(bench: Bench, mlp: Mlp, hidden: int, tokens: Integers) -> list[Operation]:
    work = gated(bench, "shared ", mlp.shared_intermediate, hidden, tokens)
    if bench.expert_ranks == 1:
        return work
    return [elsewhere("shared gather", tokens), *work, elsewhere("shared reduce", tokens)]
