"""Tables of a disaggregated run: those of its pools merged, and the transfers.

Functions have the names of those of ``cluster.serving.tables``. Replicas of the decode pool are
numbered after those of the prefill pool.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from cluster.disaggregated.energy import (
    energy_of,
    link_bytes,
    messages_j,
    sender_shares,
    with_messages,
)
from cluster.disaggregated.placement import PooledMachine
from cluster.disaggregated.run import PooledOutcome
from cluster.perf_model.link_loads import LinkLoad, link_loads, load_of
from cluster.scenario.pools import POOLS
from cluster.scenario.resolve import Resolved
from cluster.serving import tables
from cluster.serving.tables import Columns, edges_ps
from corsair_common.units import Integers
from results.summary import Machine as Measured

map_tables = tables.map_tables


def request_ps(resolved: Resolved, outcome: PooledOutcome) -> dict[str, Integers]:
    """The request columns of an undivided run, plus the transfer and the decode replica."""
    return {
        **tables.request_ps(resolved, outcome),
        "decode_replica": outcome.decode_replica,
        "kv_transfer_ps": outcome.transfer_ps,
        "kv_transfer_bytes": outcome.transfer_bytes,
    }


def measured(resolved: Resolved, machine: PooledMachine, outcome: PooledOutcome) -> Measured:
    """Both pools together; the peak KV is that of the fullest replica."""
    first, second = (
        tables.measured(*each)
        for each in zip(resolved.pools or (), machine.pools, outcome.pools, strict=True)
    )
    fullest = (pool.peak_kv_fraction or 0.0 for pool in (first, second))
    busy_ps = zip(first.busy_ps or (), second.busy_ps or (), strict=True)
    return replace(
        first,
        mean_batch_size=outcome.members / outcome.steps if outcome.steps else None,
        peak_kv_fraction=max(fullest),
        prefix_caching=first.prefix_caching or second.prefix_caching,
        busy_ps=[sum(pair) for pair in busy_ps],
        energy=tables.energy_measured(energy_of(machine, outcome), machine.facility),
    )


def flags(machine: PooledMachine, outcome: PooledOutcome) -> list[str]:
    """Effects that the sequence of the three runs leaves out, if they could matter."""
    (blocks, units), peak = machine.pools[0].fit.pool, outcome.pools[0].peak_blocks
    if outcome.held_blocks + peak <= units:
        return []
    waiting, peak = (each * blocks // units for each in (outcome.held_blocks, peak))
    return [
        f"prefill blocks count as free when the prefill ends: up to {waiting:,} still "
        f"waited for their transfer, beside {peak:,} of {blocks:,} in use at most"
    ]


def card_parts(machine: PooledMachine, outcome: PooledOutcome) -> Iterator[Columns]:
    """One part per card, in card order, with its pool."""
    replicas = machine.pools[0].prices.replicas
    pools = zip(machine.pools, outcome.pools, strict=True)
    joules = messages_j(machine, outcome)
    shares = sender_shares(machine, outcome)
    for parts in zip(*(tables.card_parts(*pool) for pool in pools), strict=True):
        name, part = next(
            (each for each in zip(POOLS, parts, strict=True) if each[1]["replica"] is not None),
            (None, parts[0]),
        )
        if name == POOLS[0]:
            part = with_messages(part, shares.get(part["card"]), joules, machine.joules.parts)
        elif name == POOLS[1]:
            part["replica"] += replicas
        yield part | {"pool": name}


def link_parts(machine: PooledMachine, outcome: PooledOutcome) -> Iterator[Columns]:
    """One part per link with traffic: of the pools, and between them."""
    edges = edges_ps(outcome.bins)
    loads: dict[int, LinkLoad] = {}
    for load in _loads(machine, outcome):
        known = loads.get(load.link)
        loads[load.link] = load if known is None else _sum(known, load)
    for _, load in sorted(loads.items()):
        yield tables.link_part(load, edges)


def placement_table(machine: PooledMachine) -> Columns:
    """Memory placement of both pools."""
    first, second = (tables.placement_table(pool) for pool in machine.pools)
    second["replica"] = second["replica"] + machine.pools[0].prices.replicas
    return {name: np.concatenate([first[name], second[name]]) for name in first}


def _loads(machine: PooledMachine, outcome: PooledOutcome) -> Iterator[LinkLoad]:
    routes = machine.routes
    for pool, own in zip(machine.pools, outcome.pools, strict=True):
        yield from link_loads(routes, pool.cards, own.bins)
    sent = link_bytes(outcome)
    for link in np.flatnonzero(sent.any(axis=0)).tolist():
        yield load_of(routes, link, sent[:, link])


def _sum(one: LinkLoad, other: LinkLoad) -> LinkLoad:
    return replace(
        one,
        sent_bytes=one.sent_bytes + other.sent_bytes,
        busy_ps=one.busy_ps + other.busy_ps,
    )
