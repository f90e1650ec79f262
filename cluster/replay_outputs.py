"""From what a replay measured to the columns of its tables."""

from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np

from cluster.machine.tables import Integers
from cluster.replay.causes import GIVEN
from cluster.replay.translate import repeated
from cluster.replay.work import RECORDED
from cluster.replay_assembly import ReplayMachine, ReplayOutcome
from cluster.replay_measures import Measures
from results.columns import PS_PER_S, Coded, link_columns
from topology.parts import LinkKind
from topology.records import edge_records, node_records
from workloads.program.words import KINDS, PHASES, VARYING

Columns: TypeAlias = dict[str, Any]


def op_parts(machine: ReplayMachine, outcome: ReplayOutcome) -> Iterator[Columns]:
    """One part per card that has a rank, in card order."""
    program, replayed = machine.program, outcome.replayed
    own, rows = program.operations, len(program.operations)
    meeting = replayed.meeting[outcome.exit]
    names = program.words["name"]
    for rank, where in sorted(_seats(machine).items(), key=lambda seat: seat[1]["card"]):
        row = np.flatnonzero(own.rank == rank)
        op = (np.arange(program.repeats)[:, None] * rows + row).ravel()
        step = own.step[row] + np.arange(program.repeats)[:, None] * program.steps_per_repeat
        met = meeting[op]
        values = program.varying if program.varying.shape[1] else None
        begin_ps = np.where(met >= 0, np.append(replayed.begin_ps, 0)[met], 0)
        bound = np.where(machine.work.bound == RECORDED, GIVEN, machine.work.bound)

        def tiled(column: Any, row: Any = row) -> Any:
            return repeated(column[row], program.repeats)

        layer = tiled(own.layer)
        yield {
            "op": op,
            **where,
            "rank": rank,
            "stream": tiled(own.stream),
            "name": Coded(codes=tiled(own.name), words=names),
            "kind": Coded(codes=tiled(own.kind), words=KINDS),
            "phase": Coded(codes=tiled(own.phase), words=PHASES),
            "step": step.ravel(),
            "layer": np.ma.masked_less(layer, 0),
            "microbatch": tiled(own.microbatch),
            "bound": tiled(bound),
            "start_s": replayed.start_ps[outcome.entry[op]] / PS_PER_S,
            "begin_s": np.ma.masked_array(begin_ps / PS_PER_S, met < 0),
            "end_s": replayed.end_ps[outcome.exit[op]] / PS_PER_S,
            "flop": _varied(machine, row, "flop", values),
            "read_bytes": _varied(machine, row, "read_bytes", values),
            "write_bytes": tiled(own.write_bytes),
            "payload_bytes": tiled(own.payload_bytes),
        }


def _varied(machine: ReplayMachine, row: Integers, name: str, values: Any) -> Integers:
    """A column of the rows of one rank over all repeats."""
    program = machine.program
    column = repeated(getattr(program.operations, name)[row], program.repeats)
    column = column.reshape(program.repeats, -1).copy()
    varies = program.operations.varies[row]
    if values is not None and (varies >= 0).any():
        column[:, varies >= 0] = values[:, varies[varies >= 0], VARYING.index(name)]
    return column.ravel()


def _seats(machine: ReplayMachine) -> dict[int, Columns]:
    """Where each rank sits: its card, the card's name and its server."""
    racks, ranks = machine.racks, range(machine.program.ranks)
    if racks is None:
        return {rank: {"card": rank, "card_name": str(rank), "server": 0} for rank in ranks}
    routes = racks.routes
    return {
        rank: {
            "card": int(card),
            "card_name": str(routes.card_id[card]),
            "server": int(routes.server[card]),
        }
        for rank, card in zip(ranks, racks.card_of, strict=True)
    }


def step_columns(measures: Measures) -> Columns:
    """Columns of step_times."""
    end = measures.step_end_ps
    return {
        "step": np.arange(len(end)),
        "start_s": measures.step_start_ps / PS_PER_S,
        "end_s": end / PS_PER_S,
        "step_s": np.diff(end, prepend=0) / PS_PER_S,
    }


def card_time_columns(machine: ReplayMachine, measures: Measures) -> Columns:
    """Columns of card_times, rank by rank."""
    usage, racks = measures.usage, machine.racks
    seats = _seats(machine)
    stage = np.full(len(seats), -1) if racks is None else racks.stage_of
    stages = max(1, racks.stages if racks else 0)
    return {
        "rank": np.arange(len(seats)),
        "card": [seat["card"] for seat in seats.values()],
        "card_name": [seat["card_name"] for seat in seats.values()],
        "server": [seat["server"] for seat in seats.values()],
        "replica": np.ma.masked_array(stage // stages, stage < 0),
        "stage": np.ma.masked_array(stage % stages, stage < 0),
        "compute_s": usage.compute_ps / PS_PER_S,
        "communication_s": usage.communication_ps / PS_PER_S,
        "overlap_s": usage.overlap_ps / PS_PER_S,
        "idle_s": usage.idle_ps / PS_PER_S,
    }


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
    """One part per link that carried anything, in link order; then what lies inside cards."""
    replayed, resources = outcome.replayed, machine.resources
    edges = np.arange(len(replayed.load_bytes) + 1) * np.int64(replayed.bin_ps)
    kinds = _kinds(machine)
    for link in np.flatnonzero(replayed.load_bytes.any(axis=0)).tolist():
        sent = replayed.load_bytes[:, link]
        busy_ps = np.rint(sent / resources.capacity_bytes_per_s[link] * 1e12).astype(np.int64)
        yield {
            "link": link,
            "link_name": str(resources.name[link]),
            "kind": kinds[link],
            **link_columns(edges, sent, busy_ps),
        }


def _kinds(machine: ReplayMachine) -> list[str]:
    """[r] what kind of link each resource is."""
    if machine.racks is not None:
        known = [LinkKind(int(kind)).name.lower() for kind in machine.racks.routes.link_kind]
    elif machine.network is not None:
        shapes = [dimension.shape.lower() for dimension in machine.network.dimensions]
        known = [shapes[number] for number in machine.network.link_dimension]
    names = machine.resources.name[machine.resources.links :]
    return [*known, *(str(name).split(" ", 1)[1].replace(" ", "_") for name in names)]


def replay_map(machine: ReplayMachine) -> dict[str, Columns]:
    """Nodes and edges of the racks; a plain network has no picture."""
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
