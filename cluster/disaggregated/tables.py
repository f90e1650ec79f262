"""Tables of a disaggregated run: those of its pools merged, and the transfers.

Functions have the names of those of ``cluster.serving.tables``. Replicas of the decode pool are
numbered after those of the prefill pool.
"""

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from cluster.disaggregated.energy import (
    energy_of,
    facility_power,
    link_bytes,
    messages_j,
    sender_shares,
    with_messages,
)
from cluster.disaggregated.placement import PooledMachine
from cluster.disaggregated.run import PooledOutcome
from cluster.perf_model.devices import module_of
from cluster.perf_model.link_loads import LinkLoad, link_loads, load_of
from cluster.perf_model.tco import Purchase, inventories_of
from cluster.scenario.pools import POOLS
from cluster.scenario.resolve import Resolved
from cluster.scenario.schema import Scenario
from cluster.serving import tables
from cluster.serving.tables import Columns
from corsair_common.units import Integers
from results.engine_columns import Latency
from results.summary import Machine as Measured
from topology.mixed import MixedHardware

map_tables = tables.map_tables
_ZERO = 0.0


def request_ps(resolved: Resolved, outcome: PooledOutcome) -> dict[str, Integers]:
    """The request columns of an undivided run, plus the transfer and the decode replica.

    The client waits for the slower of both pools' engines once a request.
    """
    return {
        **tables.request_ps(_slower(resolved), outcome),
        "decode_replica": outcome.decode_replica,
        "kv_transfer_ps": outcome.transfer_ps,
        "kv_transfer_bytes": outcome.transfer_bytes,
    }


def latency_of(resolved: Resolved, outcome: PooledOutcome) -> Latency | None:
    """Latencies by cause of the whole run."""
    return tables.latency_of(_slower(resolved), outcome)


def _slower(resolved: Resolved) -> Resolved:
    """The pool whose engine takes longer for a request."""
    pools = resolved.pools or (resolved,)
    return max(pools, key=lambda pool: module_of(pool.hardware).request_s(pool.hardware))


def measured(resolved: Resolved, machine: PooledMachine, outcome: PooledOutcome) -> Measured:
    """Both pools together; the peak KV is that of the fullest replica."""
    first, second = (
        tables.measured(*each)
        for each in zip(resolved.pools or (), machine.pools, outcome.pools, strict=True)
    )
    fullest = (pool.peak_kv_fraction or 0.0 for pool in (first, second))
    busy_ps = dict.fromkeys(machine.bounds, 0)
    for pool in (first, second):
        for name, busy in zip(pool.bounds, pool.busy_ps or (), strict=True):
            busy_ps[name] += busy
    energy = energy_of(machine, outcome)
    return replace(
        first,
        cards=len(machine.routes.card_id),
        bounds=machine.bounds,
        parts=machine.parts,
        mean_batch_size=outcome.members / outcome.steps if outcome.steps else None,
        peak_kv_fraction=max(fullest),
        prefix_caching=first.prefix_caching or second.prefix_caching,
        busy_ps=[*busy_ps.values()],
        useful=first.useful + second.useful if first.useful and second.useful else None,
        energy=tables.energy_measured(energy, _whole_facility(machine, outcome)),
        clock_hz=second.clock_hz if first.clock_hz is None else first.clock_hz,
    )


def _whole_facility(
    machine: PooledMachine, outcome: PooledOutcome
) -> tuple[dict[str, float], float] | None:
    """Mean watts by part and all together, of both kinds of servers."""
    power = facility_power(machine, outcome)
    if power is None:
        return None
    by_part = {name: math.fsum(parts[name] for parts, _ in power) for name in power[0][0]}
    return by_part, math.fsum(total for _, total in power)


def purchases(
    scenario: Scenario, mixed: MixedHardware, machine: PooledMachine, outcome: PooledOutcome
) -> list[Purchase]:
    """Servers of both kinds, each with the mean power of its own; cooling is in their PUE."""
    size, power = scenario.cluster, facility_power(machine, outcome)
    watts = [None, None] if power is None else [all_w - by["cooling"] for by, all_w in power]
    second = size.racks * size.servers_per_rack - mixed.first_servers
    kinds = ((mixed.first.figures, mixed.first_servers), (mixed.second.figures, second))
    bought = inventories_of(kinds, racks=size.racks, cards_per_server=size.cards_per_server)
    return [
        Purchase(figures=figures, bought=own, power_w=power_w)
        for (figures, _), own, power_w in zip(kinds, bought, watts, strict=True)
    ]


def card_parts(machine: PooledMachine, outcome: PooledOutcome) -> Iterator[Columns]:
    """One part per card, in card order, with its pool; 0 for bounds and parts of other devices."""
    replicas = machine.pools[0].prices.replicas
    pools = zip(machine.pools, outcome.pools, strict=True)
    joules = messages_j(machine, outcome)
    shares = sender_shares(machine, outcome)
    for parts in zip(*(tables.card_parts(*pool) for pool in pools), strict=True):
        spare = None, parts[machine.owner[parts[0]["card"]]]
        name, part = next(
            (each for each in zip(POOLS, parts, strict=True) if each[1]["replica"] is not None),
            spare,
        )
        if name == POOLS[0]:
            part = with_messages(part, shares.get(part["card"]), joules, machine.parts)
        elif name == POOLS[1]:
            part["replica"] += replicas
        yield {**dict.fromkeys(_lacking(machine, part), _ZERO), **part, "pool": name}


def _lacking(machine: PooledMachine, part: Columns) -> list[str]:
    """Columns of devices of the other pool."""
    names = [f"busy_{name}_s" for name in machine.bounds]
    names += [f"energy_{name}_j" for name in machine.parts]
    return [name for name in names if name not in part]


def link_parts(machine: PooledMachine, outcome: PooledOutcome) -> Iterator[Columns]:
    """One part per link with traffic: of the pools, and between them."""
    loads: dict[int, LinkLoad] = {}
    for load in _loads(machine, outcome):
        known = loads.get(load.link)
        loads[load.link] = load if known is None else _sum(known, load)
    yield from tables.link_parts_of((load for _, load in sorted(loads.items())), outcome.bins)


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
