"""Replay results as the columns of its tables."""

from collections.abc import Iterator, Sequence

import numpy as np

from cluster.perf_model.protocols import RouteTables
from cluster.replay.analysis import Measures
from cluster.replay.bottleneck_attribution import causes_after
from cluster.replay.op_durations import RECORDED
from cluster.replay.op_tables import CardOps, Columns, NamedCard, op_columns, template_of
from cluster.replay.run import ReplayMachine, ReplayOutcome
from corsair_common.units import PS_PER_S, Integers
from results.engine_columns import energy_columns, link_columns
from topology.tables import edge_records, node_records
from topology.types import LinkKind


def op_parts(machine: ReplayMachine, outcome: ReplayOutcome) -> Iterator[Columns]:
    """One part per card that has a rank, in card order."""
    cards = cards_of_ranks(machine)
    for rank in by_card(cards):
        yield op_columns(cards[rank], card_ops(machine, outcome, rank))


def card_ops(machine: ReplayMachine, outcome: ReplayOutcome, rank: int) -> CardOps:
    """The inputs of one card's part."""
    program = machine.program
    causes = causes_after(machine.work.bounds)
    recorded = causes.index("recorded")
    bound = np.where(machine.work.bound == RECORDED, recorded, machine.work.bound)
    template = template_of(program, rank, bound, causes)
    start_ps, begin_ps, end_ps = outcome.moments(template["row"], program)
    return CardOps(**template, start_ps=start_ps, begin_ps=begin_ps, end_ps=end_ps)


def by_card(cards: Sequence[NamedCard]) -> list[int]:
    """Ranks in the order of their cards."""
    return sorted(range(len(cards)), key=lambda rank: cards[rank].index)


def cards_of_ranks(machine: ReplayMachine) -> list[NamedCard]:
    """Card of each rank."""
    racks, ranks = machine.racks, range(machine.program.ranks)
    if racks is None:
        return [NamedCard(index=rank, name=str(rank), server=0) for rank in ranks]
    return named_cards(racks.routes, racks.card_of)


def named_cards(routes: RouteTables, cards: Integers) -> list[NamedCard]:
    """Names and positions of these cards."""
    return [
        NamedCard(index=card, name=str(routes.card_id[card]), server=int(routes.server[card]))
        for card in cards.tolist()
    ]


def step_columns(measures: Measures) -> Columns:
    """Columns of step_times."""
    end = measures.step_end_ps
    return {
        "step": np.arange(len(end)),
        "start_s": measures.step_start_ps / PS_PER_S,
        "end_s": end / PS_PER_S,
        "step_s": np.diff(end, prepend=0) / PS_PER_S,
    }


def card_time_columns(
    machine: ReplayMachine, outcome: ReplayOutcome, measures: Measures
) -> Columns:
    """Columns of card_times, rank by rank."""
    usage, racks = measures.usage, machine.racks
    cards = cards_of_ranks(machine)
    stage = np.full(len(cards), -1) if racks is None else racks.stage_of
    stages = max(1, racks.stages if racks else 0)
    return {
        "rank": np.arange(len(cards)),
        "card": [card.index for card in cards],
        "card_name": [card.name for card in cards],
        "server": [card.server for card in cards],
        "replica": np.ma.masked_array(stage // stages, stage < 0),
        "stage": np.ma.masked_array(stage % stages, stage < 0),
        "compute_s": usage.compute_ps / PS_PER_S,
        "communication_s": usage.communication_ps / PS_PER_S,
        "overlap_s": usage.overlap_ps / PS_PER_S,
        "idle_s": usage.idle_ps / PS_PER_S,
        **_energy_columns(machine, outcome),
    }


def _energy_columns(machine: ReplayMachine, outcome: ReplayOutcome) -> Columns:
    """Energy of each rank's card; empty if unknown."""
    energy = machine.energy
    if energy is None:
        return {}
    spent_j = energy.ranks_j.copy()
    static_j = energy.static_w * outcome.replayed.makespan_ps / PS_PER_S
    spent_j[:, energy.parts.index("static")] += static_j
    return dict(energy_columns(spent_j, energy.parts))


def critical_columns(machine: ReplayMachine, outcome: ReplayOutcome, measures: Measures) -> Columns:
    """Columns of critical."""
    causes = measures.causes
    names = np.append(np.asarray(machine.resources.name, np.str_), "")
    makespan = max(1, outcome.replayed.makespan_ps)
    return {
        "step": causes.step,
        "cause": causes.cause,
        "link_name": names[causes.resource],
        "time_s": causes.elapsed_ps / PS_PER_S,
        "share": causes.elapsed_ps / makespan,
    }


def load_parts(machine: ReplayMachine, outcome: ReplayOutcome) -> Iterator[Columns]:
    """One part per link with traffic, in link order; then resources inside cards."""
    replayed, resources = outcome.replayed, machine.resources
    edges = np.arange(len(replayed.load_bytes) + 1) * np.int64(replayed.bin_ps)
    kinds = _kinds(machine)
    for link in np.flatnonzero(replayed.load_bytes.any(axis=0)).tolist():
        sent = replayed.load_bytes[:, link]
        busy_ps = np.rint(sent / resources.capacity_bytes_per_s[link] * PS_PER_S).astype(np.int64)
        yield {
            "link": link,
            "link_name": str(resources.name[link]),
            "kind": kinds[link],
            **link_columns(edges, sent, busy_ps),
        }


def _kinds(machine: ReplayMachine) -> list[str]:
    """[r] kind of each resource's link."""
    if machine.racks is not None:
        known = [LinkKind(int(kind)).name.lower() for kind in machine.racks.routes.link_kind]
    elif machine.network is not None:
        shapes = [dimension.shape.lower() for dimension in machine.network.dimensions]
        known = [shapes[number] for number in machine.network.link_dimension]
    names = machine.resources.name[machine.resources.links :]
    return [*known, *(str(name).split(" ", 1)[1].replace(" ", "_") for name in names)]


def replay_map(machine: ReplayMachine) -> dict[str, Columns]:
    """Nodes and edges of the racks; a plain network has none."""
    if machine.racks is None:
        return {}
    routes = machine.racks.routes
    ids = {name: card for card, name in enumerate(routes.card_id.tolist())}
    nodes = node_records(machine.racks.graph)
    card = np.array([ids.get(name, -1) for name in nodes["name"]])
    nodes["card"] = np.ma.masked_less(card, 0)
    nodes["server"] = np.ma.masked_less(np.where(card >= 0, routes.server[card], -1), 0)
    nodes["rack"] = np.ma.masked_less(np.where(card >= 0, routes.rack[card], -1), 0)
    return {"nodes": nodes, "edges": edge_records(machine.racks.graph)}
