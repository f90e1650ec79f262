"""The dispatches from the attention's reduction to the end of the layer, in order.

Dense: all-reduce, residual+norm+quant, gate/up, activation x mul, down, all-reduce+residual.

Mixture of experts adds: router, router top-k, and expert combine (the weighted sum of a token's
experts); shared experts add shared gate/up, shared activation x mul and shared down. With expert
parallelism the two all-reduces become reduce-scatter, dispatch all-to-all, combine all-to-all and
all-gather+residual, tokens being split over the chiplets in between; an expert is sliced over the
chiplets of its rank, so that its tokens are gathered there before it (expert gather) and its
partial sums reduced after it (expert reduce); shared experts, sliced over the whole group, add
shared gather and shared reduce. Biases and the shared expert's gate are part of their products.

With norms that are sharded by token, reduce-scatter, sharded residual+norm+quant and MLP gather
replace all-reduce and residual+norm+quant, and the layer ends with reduce-scatter+residual of each
chiplet's own tokens; with expert parallelism, where these are split as they are, with their sharded
residual.

A layer without an MLP ends with all-reduce+residual; one without attention begins with norm+quant
in place of a reduction. Norms on outputs are part of the dispatches that add the residual. An MLP
without a gate has up alone. Experts in a latent space have latent down and latent up around them.
"""

import math
from dataclasses import dataclass

import numpy as np

from cluster.perf_model.devices.protocol import Device
from cluster.perf_model.devices.work import UNIT, Operation, Product, StoredWeights, shard
from cluster.perf_model.memory.placement import LayerPlaces
from cluster.perf_model.prices.attention_layer import input_norm, own_tokens
from cluster.perf_model.prices.inputs import PriceInputs
from corsair_common.units import Integers
from workloads.model import Layer, Mlp
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
    """Active experts; None for a dense layer, or without an MLP."""
    if mlp.kind != "moe":
        return None
    routing = routing_of(inputs, device, mlp)
    per_rank = mlp.experts // device.expert_ranks
    table = expert_table(routing)
    if places.hot_experts >= per_rank:
        return Routed(table=table, cold=np.zeros_like(table.active))
    return Routed(table=table, cold=cold_table(routing, places.hot_experts))


def mlp_operations(
    device: Device,
    layer: Layer,
    hidden: int,
    tokens: Integers,
    found: Routed | None,
    places: LayerPlaces,
    *,
    sharded: bool = False,
) -> list[Operation]:
    """All dispatches after O."""
    mlp, plain = layer.mlp, device.holding(places.mlp)
    parted = found is not None and device.expert_ranks > 1
    own = own_tokens(device, tokens) if parted else tokens
    ends = {
        (False, False): "all-reduce+residual",
        (True, False): "all-gather+residual",
        (False, True): "reduce-scatter+residual",
        (True, True): "sharded residual",
    }
    rows = own_tokens(device, tokens) if sharded else tokens
    normed = {"normed": rows} if layer.output_norms else {}
    added = (rows * hidden, (*_output_norm(layer), "residual"))
    end = device.vector(ends[parted, sharded], added, **normed)
    if mlp.kind == "none":
        return [end]
    begin = _begin(device, layer, hidden, tokens, parted=parted, sharded=sharded)
    if found is None:
        middle = gated(plain, "", mlp.intermediate, hidden, tokens, gate=mlp.gated)
        return [*begin, *middle, end]
    shared = _shared(plain, mlp, hidden, tokens) if mlp.shared_intermediate else []
    experts = _experts(device, mlp, hidden, tokens, found)
    down, up = _latent(plain, mlp, hidden, own) if mlp.latent else ([], [])
    return [
        *begin,
        *_router(plain, mlp, hidden, own),
        *shared,
        *down,
        *([device.elsewhere("dispatch all-to-all", tokens)] if parted else []),
        *([device.elsewhere("expert gather", tokens)] if parted else []),
        *experts,
        *([device.elsewhere("expert reduce", tokens)] if parted else []),
        *([device.elsewhere("combine all-to-all", tokens)] if parted else []),
        *up,
        end,
    ]


def _output_norm(layer: Layer) -> tuple[str, ...]:
    return ("norm",) if layer.output_norms else ()


def _begin(
    device: Device, layer: Layer, hidden: int, tokens: Integers, *, parted: bool, sharded: bool
) -> list[Operation]:
    """From the attention's partial outputs, or from the residual stream, to the MLP's input."""
    split = parted or sharded
    own = own_tokens(device, tokens) if split else tokens
    if layer.attention.kind == "none":
        return (
            input_norm(device, hidden, own, "")
            if parted
            else input_norm(device, hidden, tokens, "MLP gather" if sharded else "")
        )
    settle = (*_output_norm(layer), "residual", "norm", "quantize")
    rows = 2 * own if layer.output_norms else own
    prefix = "sharded " if sharded and not parted else ""
    gather = [device.elsewhere("MLP gather", tokens)] if prefix else []
    return [
        device.elsewhere("reduce-scatter" if split else "all-reduce", tokens),
        device.vector(f"{prefix}residual+norm+quant", (own * hidden, settle), normed=rows),
        *gather,
    ]


def _latent(
    device: Device, mlp: Mlp, hidden: int, rows: Integers
) -> tuple[list[Operation], list[Operation]]:
    """To the experts' latent space and back; every card has the weights.

    By columns over the chiplets of a card; with expert parallelism each has its own tokens.
    """
    parted = device.expert_ranks > 1

    def product(name: str, k: int, n: int) -> Operation:
        stored = StoredWeights(k=k, n=n, shares=-(-n // UNIT))
        own = Product(m=rows, k=k, n=n if parted else device.of_card(n))
        return device.matmul(name, own, stored)

    return [product("latent in", hidden, mlp.latent)], [product("latent out", mlp.latent, hidden)]


def gated(
    device: Device,
    prefix: str,
    intermediate: int,
    hidden: int,
    tokens: Integers,
    *,
    gate: bool = True,
) -> list[Operation]:
    """Gate and up by columns, their product, down by rows, over all chiplets of the group.

    Without a gate up alone."""
    width, card = device.of_group(intermediate), len(cut(intermediate, device.cards)[0])
    activate, sides = ("activation", "quantize"), 2 if gate else 1
    up, down = _stored(hidden, card, sides)
    return [
        device.matmul(prefix + "gate/up", Product(m=tokens, k=hidden, n=sides * width), up),
        device.vector(prefix + "activation x mul", (tokens * width, activate)),
        device.matmul(prefix + "down", Product(m=tokens, k=width, n=hidden), down),
    ]


def _stored(
    hidden: int, width: int, sides: int, copies: Integers | int = 1
) -> tuple[StoredWeights, StoredWeights]:
    """Gate and up (both ``sides``, or up alone), and down, of ``width`` on a card."""
    shares = -(-width // UNIT)
    return (
        StoredWeights(k=hidden, n=sides * width, shares=shares, copies=copies),
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
    table, sides = found.table, 2 if mlp.gated else 1
    hidden = mlp.latent or hidden
    active, pairs = table.active[tokens], table.rows[tokens]
    awake = np.maximum(active, 1)
    width = shard(mlp.intermediate, device.ranks // device.expert_ranks)
    card = len(cut(mlp.intermediate, device.cards // device.expert_ranks)[0])
    up, down = _stored(hidden, card, sides, found.cold[tokens])
    present = np.minimum(tokens, pairs)

    def product(name: str, k: int, n: int, x_rows: Integers, stored: StoredWeights) -> Operation:
        shape = Product(
            m=-(-pairs // awake),
            k=k,
            n=n,
            copies=active,
            x_rows=x_rows,
            vectors=pairs,
            held=table.held[tokens],
        )
        return device.matmul(name, shape, stored)

    activate = ("activation", "quantize")
    return [
        product("expert gate/up", hidden, sides * width, present, up),
        device.vector("expert activation x mul", (pairs * width, activate)),
        product("expert down", width, hidden, pairs, down),
        device.vector("expert combine", (pairs * hidden, ("residual",))),
    ]


def _shared(device: Device, mlp: Mlp, hidden: int, tokens: Integers) -> list[Operation]:
    width = mlp.shared_intermediate
    work = gated(device, "shared ", width, hidden, tokens, gate=mlp.gated)
    if device.expert_ranks == 1:
        return work
    return [
        device.elsewhere("shared gather", tokens),
        *work,
        device.elsewhere("shared reduce", tokens),
    ]
