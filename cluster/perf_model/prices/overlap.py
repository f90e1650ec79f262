"""Collectives beside the products next to them, in chunks of tokens (``overlap: chunked``).

A product and the collective of its result, or of its input, are cut into c chunks of
``ceil(tokens / c)`` tokens; the product of one chunk runs beside the collective of another:

    time = p + q + (c - 1) * max(p, q)

with p and q the product and the collective of a chunk, each priced at its own size and with a
dispatch of its own. c is the cheapest of CHUNKS; 1 is no overlap, so nothing is ever slower. The
longer of the two counts whole, the shorter with the one chunk that nothing hides; so the parts by
bound sum to the time. Bytes and energy are those of all chunks: each streams its weights again.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from cluster.perf_model.collectives import Cost, reduce_scatter
from cluster.perf_model.devices.protocol import Device
from cluster.perf_model.devices.work import Operation
from cluster.perf_model.prices.stage_collectives import StageGroups, sharded_halves
from corsair_common.units import Integers
from workloads.model import Layer

CHUNKS = (2, 4, 8)
"""The chunk counts that are tried beside 1."""

Operations: TypeAlias = Callable[[Integers], Sequence[Operation]]
"""The operations of a layer with these counts of tokens."""

Exchange: TypeAlias = Callable[[Integers], Cost]
"""A collective with these counts of tokens."""

INPUT_PRODUCTS = ("QKV", "latent down", "mixer inputs")
"""First products of a layer, by the kind of its attention."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hidden:
    """What overlap adds to a layer's price, mostly less than nothing."""

    linear: Integers
    """[t, bound]"""
    counts: Integers
    """[t, COUNTS]"""
    ps: Integers
    """[t, tier] of collectives"""
    tier_bytes: Integers
    """[t, tier]"""


def overlapped(
    device: Device,
    pairs: Sequence[tuple[str, Exchange]],
    operations: Operations,
    tokens: Integers,
    bounds: Sequence[str],
) -> list[Hidden]:
    """The change by each pair of a product, by its name, and the collective beside it."""
    whole = _by_name(operations(tokens))
    parts = {c: _by_name(operations(-(-tokens // c))) for c in CHUNKS}
    return [
        _pair(device, name, exchange, (whole, parts), tokens, bounds)
        for name, exchange in pairs
        if name in whole and not whole[name].far_ps.any()  # weights of the near memory alone
    ]


def pairs_of(
    device: Device, groups: StageGroups, layer: Layer, hidden: int, *, sharded: bool
) -> Iterator[tuple[str, Exchange]]:
    """Products of a layer and the collectives beside them: of their results, and of the inputs
    where norms are sharded. Experts' products have none."""
    attends, dense = layer.attention.kind != "none", layer.mlp.kind == "dense"
    parted = layer.mlp.kind == "moe" and device.expert_ranks > 1

    def reduced(tokens: Integers) -> Cost:
        whole = device.wire.bytes_of(tokens * hidden)
        if sharded:
            return sharded_halves(device, groups, hidden, tokens)[1]
        return reduce_scatter(groups.stage, whole) if parted else groups.reduce_all(whole)

    def gathered(tokens: Integers) -> Cost:
        return sharded_halves(device, groups, hidden, tokens)[0]

    if attends:
        yield "O", reduced
    if dense:
        yield "down", reduced
    if sharded and attends:
        yield from ((name, gathered) for name in INPUT_PRODUCTS)
    if sharded and dense:
        yield "gate/up", gathered


def _by_name(operations: Sequence[Operation]) -> dict[str, Operation]:
    return {each.name: each for each in operations}


def _pair(
    device: Device,
    name: str,
    exchange: Exchange,
    operations: tuple[dict[str, Operation], dict[int, dict[str, Operation]]],
    tokens: Integers,
    bounds: Sequence[str],
) -> Hidden:
    whole, parts = operations
    product, cost = whole[name], exchange(tokens)
    found = _nothing(product, cost, len(bounds))
    best_ps = product.ps + cost.ps + 2 * device.dispatch_ps
    for chunks in CHUNKS:
        each, part = parts[chunks][name], exchange(-(-tokens // chunks))
        p, q = each.ps + device.dispatch_ps, part.ps + device.dispatch_ps
        time_ps = p + q + (chunks - 1) * np.maximum(p, q)
        better = (time_ps < best_ps) & (tokens >= chunks)
        best_ps = np.where(better, time_ps, best_ps)
        change = _change(device, (product, cost), (each, part), chunks, len(bounds))
        found = Hidden(
            linear=np.where(better[:, None], change.linear, found.linear),
            counts=np.where(better[:, None], change.counts, found.counts),
            ps=np.where(better[:, None], change.ps, found.ps),
            tier_bytes=np.where(better[:, None], change.tier_bytes, found.tier_bytes),
        )
    return found


def _nothing(product: Operation, cost: Cost, bounds: int) -> Hidden:
    return Hidden(
        linear=np.zeros((len(product.ps), bounds), np.int64),
        counts=np.zeros_like(product.counts),
        ps=np.zeros_like(cost.tier_ps),
        tier_bytes=np.zeros_like(cost.tier_bytes),
    )


def _change(
    device: Device,
    whole: tuple[Operation, Cost],
    chunk: tuple[Operation, Cost],
    chunks: int,
    bounds: int,
) -> Hidden:
    """From a product and a collective in sequence to both in chunks, whichever is the longer."""
    (product, cost), (each, part) = whole, chunk
    computes = each.ps >= part.ps
    row, linear = np.arange(len(product.ps)), np.zeros((len(product.ps), bounds), np.int64)
    linear[row, each.bound] += np.where(computes, chunks, 1) * each.ps
    linear[row, product.bound] -= product.ps
    linear[:, -1] += (chunks + 1 - 2) * device.dispatch_ps
    return Hidden(
        linear=linear,
        counts=chunks * each.counts - product.counts,
        ps=np.where(computes, 1, chunks)[:, None] * part.tier_ps - cost.tier_ps,
        tier_bytes=chunks * part.tier_bytes - cost.tier_bytes,
    )
