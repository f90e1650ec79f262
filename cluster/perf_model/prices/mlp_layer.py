"""The dispatches from the attention's reduction to the end of the layer, in order.

Dense: all-reduce, residual+norm+quant, gate/up, activation x mul, down, all-reduce+residual.

Mixture of experts adds: router, router top-k, and expert combine (the weighted sum of a token's
experts); shared experts add shared gate/up, shared activation x mul and shared down. With expert
parallelism the two all-reduces become reduce-scatter, dispatch all-to-all, combine all-to-all and
all-gather+residual, tokens being split over the chiplets in between; an expert is sliced over the
chiplets of its rank, so that its tokens are gathered there before it (expert gather) and its
partial sums reduced after it (expert reduce); shared experts, sliced over the whole group, add
shared gather and shared reduce. Biases and the shared expert's gate are part of their products.
"""

import math
from dataclasses import dataclass

import numpy as np

from cluster.perf_model.devices.protocol import Device
from cluster.perf_model.devices.work import UNIT, Operation, Product, StoredWeights, shard
from cluster.perf_model.memory.placement import LayerPlaces
from cluster.perf_model.prices.inputs import PriceInputs
from corsair_common.units import Integers
from workloads.model import Mlp
from workloads.plan import cut
from workloads.routing import ExpertTable, Routing, cold_table, expert_table


@dataclass(frozen=True, slots=True, kw_only=True)
class Routed:
    """Active experts, for every count of tokens."""

    table: ExpertTable
    cold: Integers
    """[m] active experts that are not in SRAM."""


def routing_of(inputs: PriceInputs, device: Device, mlp: Mlp) -> Routing:
    """Routing of tokens to the experts of this layer."""
    return Routing(
        experts=mlp.experts,
        top_k=mlp.experts_per_token,
        ranks=device.expert_ranks,
        max_tokens=inputs.max_tokens,
        ridge=device.ridge_rows,
        skew=inputs.expert_skew,
        seed=inputs.seed,
    )


def routed(inputs: PriceInputs, device: Device, mlp: Mlp, places: LayerPlaces) -> Routed | None:
    """Active experts; None for a dense layer."""
    if mlp.kind == "dense":
        return None
    routing = routing_of(inputs, device, mlp)
    per_rank = mlp.experts // device.expert_ranks
    table = expert_table(routing)
    if places.hot_experts >= per_rank:
        return Routed(table=table, cold=np.zeros_like(table.active))
    return Routed(table=table, cold=cold_table(routing, places.hot_experts))


def mlp_operations(
    device: Device,
    mlp: Mlp,
    hidden: int,
    tokens: Integers,
    found: Routed | None,
    places: LayerPlaces,
) -> list[Operation]:
    """All dispatches after O."""
    plain = device.holding(places.mlp)
    residual, settle = ("residual",), ("residual", "norm", "quantize")
    if found is None:
        return [
            device.elsewhere("all-reduce", tokens),
            device.vector("residual+norm+quant", (tokens * hidden, settle), normed=tokens),
            *gated(plain, "", mlp.intermediate, hidden, tokens),
            device.vector("all-reduce+residual", (tokens * hidden, residual)),
        ]
    parted = device.expert_ranks > 1
    own = -(-tokens // device.ranks) if parted else tokens
    shared = _shared(plain, mlp, hidden, tokens) if mlp.shared_intermediate else []
    experts = _experts(device, mlp, hidden, tokens, found)
    last = "all-gather+residual" if parted else "all-reduce+residual"
    return [
        device.elsewhere("reduce-scatter" if parted else "all-reduce", tokens),
        device.vector("residual+norm+quant", (own * hidden, settle), normed=own),
        *_router(plain, mlp, hidden, own),
        *shared,
        *([device.elsewhere("dispatch all-to-all", tokens)] if parted else []),
        *([device.elsewhere("expert gather", tokens)] if parted else []),
        *experts,
        *([device.elsewhere("expert reduce", tokens)] if parted else []),
        *([device.elsewhere("combine all-to-all", tokens)] if parted else []),
        device.vector(last, (tokens * hidden, residual)),
    ]


def gated(
    device: Device, prefix: str, intermediate: int, hidden: int, tokens: Integers
) -> list[Operation]:
    """Gate and up by columns, their product, down by rows, over all chiplets of the group."""
    width, card = device.of_group(intermediate), len(cut(intermediate, device.cards)[0])
    activate = ("activation", "quantize")
    up, down = _stored(hidden, card)
    return [
        device.matmul(prefix + "gate/up", Product(m=tokens, k=hidden, n=2 * width), up),
        device.vector(prefix + "activation x mul", (tokens * width, activate)),
        device.matmul(prefix + "down", Product(m=tokens, k=width, n=hidden), down),
    ]


def _stored(
    hidden: int, width: int, copies: Integers | int = 1
) -> tuple[StoredWeights, StoredWeights]:
    """Gate and up, and down, of ``width`` on a card."""
    shares = -(-width // UNIT)
    return (
        StoredWeights(k=hidden, n=2 * width, shares=shares, copies=copies),
        StoredWeights(k=width, n=hidden, shares=shares, copies=copies),
    )


def _router(device: Device, mlp: Mlp, hidden: int, rows: Integers) -> list[Operation]:
    """Every chiplet routes its own tokens; each score is compared in a heap of the top k."""
    depth = max(1, math.ceil(math.log2(mlp.experts_per_token)))
    return [
        device.matmul(
            "router",
            Product(m=rows, k=hidden, n=mlp.experts),
            StoredWeights(k=hidden, n=mlp.experts, shares=device.units),
        ),
        device.vector("router top-k", (rows * mlp.experts, ("compare",) * depth)),
    ]


def _experts(
    device: Device, mlp: Mlp, hidden: int, tokens: Integers, found: Routed
) -> list[Operation]:
    """The hottest rank's active experts, rounds running over the union of their tiles.

    Experts in LPDDR stream: those of the rank with most active ones.
    """
    table = found.table
    active, pairs = table.active[tokens], table.rows[tokens]
    awake = np.maximum(active, 1)
    width = shard(mlp.intermediate, device.ranks // device.expert_ranks)
    card = len(cut(mlp.intermediate, device.cards // device.expert_ranks)[0])
    up, down = _stored(hidden, card, found.cold[tokens])
    present = np.minimum(tokens, pairs)

    def product(name: str, k: int, n: int, x_rows: Integers, stored: StoredWeights) -> Operation:
        shape = Product(
            m=-(-pairs // awake),
            k=k,
            n=n,
            copies=active,
            x_rows=x_rows,
            vectors=pairs,
            held=table.busy[tokens],
        )
        return device.matmul(name, shape, stored)

    activate = ("activation", "quantize")
    return [
        product("expert gate/up", hidden, 2 * width, present, up),
        device.vector("expert activation x mul", (pairs * width, activate)),
        product("expert down", width, hidden, pairs, down),
        device.vector("expert combine", (pairs * hidden, ("residual",))),
    ]


def _shared(device: Device, mlp: Mlp, hidden: int, tokens: Integers) -> list[Operation]:
    work = gated(device, "shared ", mlp.shared_intermediate, hidden, tokens)
    if device.expert_ranks == 1:
        return work
    return [
        device.elsewhere("shared gather", tokens),
        *work,
        device.elsewhere("shared reduce", tokens),
    ]
