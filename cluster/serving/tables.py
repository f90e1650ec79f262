"""Engine results as the columns of a run's tables."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from cluster.perf_model.card import Card, cards_of
from cluster.perf_model.devices import module_of
from cluster.perf_model.devices.useful import USEFUL, USEFUL_BYTES, USEFUL_FLOP
from cluster.perf_model.energy.coefficients import bin_seconds, card_joules, idle_joules
from cluster.perf_model.energy.operations import clock_of
from cluster.perf_model.energy.totals import Spent, facility_w, spent
from cluster.perf_model.link_loads import LinkLoad, link_loads
from cluster.perf_model.tables import KINDS, MEASURED, STEP, Records
from cluster.perf_model.timeline import Bins
from corsair_common.lru import LruCache, Same
from corsair_common.units import NEVER, PS_PER_S, Integers
from results.causes import HOST
from results.drafts import Drafts
from results.engine_columns import (
    Latency,
    bin_columns,
    busy_columns,
    card_columns,
    energy_columns,
    load_columns,
)
from results.summary import Energy, Useful
from results.summary import Machine as Measured
from topology.tables import edge_records, node_records
from workloads.sessions import turns_of

if TYPE_CHECKING:  # actors need columns of cards, not the assembly of a run
    from cluster.scenario.resolve import Resolved
    from cluster.serving.outcome import Outcome
    from cluster.serving.run import Machine

Columns: TypeAlias = dict[str, Any]

PS_PER_NS = 1000

STAGES_HELD = 64
"""Stages whose columns are kept, since their cards follow one another."""


def request_ps(resolved: "Resolved", outcome: "Outcome") -> dict[str, Any]:
    """The requests' columns in integer picoseconds, the inputs of ``results.engine_columns``."""
    served = outcome.served
    client_ps = round(PS_PER_S * module_of(resolved.hardware).request_s(resolved.hardware))
    return {
        "arrival_ps": served.arrival_ps,
        "first_scheduled_ps": served.first_scheduled_ps,
        "first_token_ps": _later(served.first_token_ps, client_ps),
        "finish_ps": _later(served.finish_ps, client_ps),
        "prompt_tokens": resolved.requests.prompt_tokens,
        "output_tokens": resolved.requests.output_tokens,
        "replica": served.replica,
        "preemptions": served.preemptions,
        "cached_tokens": served.cached_tokens,
        "status": served.status,
        "energy_j": outcome.request_j,
        **_turns(resolved),
    }


def latency_of(resolved: "Resolved", outcome: "Outcome") -> Latency | None:
    """Latencies by cause, with the time for which the client waits once a request."""
    client_ps = round(PS_PER_S * module_of(resolved.hardware).request_s(resolved.hardware))
    return outcome.latency and outcome.latency.later(HOST, client_ps)


def _turns(resolved: "Resolved") -> dict[str, Integers]:
    """Session and turn of each request, if there are sessions."""
    requests = resolved.requests
    if requests.session is None or requests.previous is None:
        return {}
    return {"session": requests.session, "turn": turns_of(requests.previous)}


def _later(times_ps: Integers, by_ps: int) -> Integers:
    """Times that the client observes, later by ``by_ps``; steps do not wait for it."""
    if by_ps == 0:
        return times_ps
    return np.where(times_ps == NEVER, NEVER, times_ps + by_ps)


def measured(resolved: "Resolved", machine: "Machine", outcome: "Outcome") -> Measured:
    """The machine's part of the summary: all cards, including idle ones."""
    bins = outcome.bins
    cards_per_stage = machine.cards.shape[2]
    by_bound = bins.busy_ps.sum(
        axis=2, dtype=np.int64
    )  # a stage's busy time fits int64: it is at most the elapsed time
    busy = [
        cards_per_stage * sum(int(stage) for stage in by_bound[..., bound].ravel())
        for bound in range(by_bound.shape[-1])
    ]
    return Measured(
        cards=len(machine.routes.card_id),
        bounds=machine.prices.bounds,
        parts=machine.joules.parts,
        mean_batch_size=outcome.members / outcome.steps if outcome.steps else None,
        peak_kv_fraction=outcome.peak_blocks / machine.fit.pool[1],
        prefix_caching=resolved.prefix_caching,
        busy_ps=busy,
        useful=_useful(machine, outcome),
        energy=_energy(machine, outcome),
        clock_hz=clock_of(resolved.hardware),
        drafts=_drafts(outcome) if resolved.scenario.speculative else None,
    )


def _useful(machine: "Machine", outcome: "Outcome") -> Useful:
    """Of all ranks, in whole counts."""
    counts, each = outcome.bins.counts[..., -len(USEFUL) :], machine.cards.shape[2]
    lines, kflop = (
        each * sum(int(stage) for stage in counts[..., place].sum(axis=2).ravel())
        for place in range(len(USEFUL))
    )
    return Useful(
        moved_bytes=lines * USEFUL_BYTES,
        flop=kflop * USEFUL_FLOP,
        peak_bytes_per_s=machine.cards.size * machine.peaks[0],
        peak_flop_per_s=machine.cards.size * machine.peaks[1],
    )


def _energy(machine: "Machine", outcome: "Outcome") -> Energy:
    """Energy of all cards, and of the facility."""
    energy = spent(
        machine.joules,
        outcome.bins,
        cards=_own_cards(machine),
        end_ps=outcome.end_ps,
    )
    return energy_measured(energy, facility_w(machine.facility, energy))


def energy_measured(energy: Spent, power: tuple[dict[str, float], float] | None) -> Energy:
    """Joules and watts of the summary; ``power`` of the facility by part, and all together."""
    return Energy(
        parts_j=energy.parts_j.tolist(),
        mean_power_w=energy.mean_w,
        peak_power_w=energy.peak_w,
        facility_energy_j=None if power is None else power[1] * energy.lasted_s,
        facility_power_w=None if power is None else power[0],
    )


def edges_ps(bins: Bins) -> Integers:
    """[bins + 1] edges of the time bins."""
    return bins.start_ps + np.arange(bins.busy_ps.shape[2] + 1) * np.int64(bins.bin_ps)


def card_parts(
    machine: "Machine", outcome: "Outcome", worked: Callable[[Card], Columns] | None = None
) -> Iterator[Columns]:
    """One part per card, in card order; spare cards are idle throughout.

    Cards of a stage share their arrays. ``worked`` returns the columns of a card with a rank, if
    already computed.
    """
    bins, routes = outcome.bins, machine.routes
    cards = cards_of(machine.routes, machine.cards, machine.fit)
    ranks = {card.index: card for card in cards}
    bounds, joules = machine.prices.bounds, machine.joules
    idle = card_columns(edges_ps(bins), np.zeros_like(bins.busy_ps[0, 0]), bounds)
    idle |= energy_columns(idle_joules(joules, bins, outcome.end_ps), joules.parts)
    times = bin_columns(edges_ps(bins))
    stages: LruCache[Columns] = LruCache(STAGES_HELD)

    def of_stage(card: Card) -> Columns:
        place = (card.replica, card.stage)
        own = worked(card) if worked else rank_columns(bins, place, machine.fit.pool, bounds)
        return {**times, **own, **_spent(machine, outcome, place)}

    for index, (name, server) in enumerate(
        zip(routes.card_id.tolist(), routes.server.tolist(), strict=True)
    ):
        card = ranks.get(index)
        part: Columns = {
            "card": index,
            "card_name": name,
            "server": server,
            "replica": None if card is None else card.replica,
            "stage": None if card is None else card.stage,
        }
        if card is None:
            yield part | idle
        else:
            yield part | stages.get((card.replica, card.stage), partial(of_stage, card))


def _spent(machine: "Machine", outcome: "Outcome", place: tuple[int, int]) -> Columns:
    """Columns of utilisation and energy of a stage's cards: constants times counts."""
    bins = outcome.bins
    spent_j = card_joules(machine.joules, bins, place, outcome.end_ps)
    useful = bins.counts[place][:, -len(USEFUL) :] * (USEFUL_BYTES, USEFUL_FLOP)
    most = bin_seconds(bins, outcome.end_ps)[:, None] * machine.peaks
    shares = np.divide(useful, most, out=np.zeros(useful.shape), where=most > 0)
    return dict(zip(("mbu", "mfu"), shares.T, strict=True)) | energy_columns(
        spent_j, machine.joules.parts
    )


def rank_columns(
    bins: Bins, place: tuple[int, int], pool: tuple[int, int], bounds: tuple[str, ...]
) -> Columns:
    """Columns of ``cards`` of one stage of one replica, its ``place``, but the times of bins.

    ``pool`` are its KV blocks, and their number in units (``Fit.pool``).
    """
    blocks, units = pool
    held = bins.kv_block_ns[place[0]] * PS_PER_NS / bins.bin_ps
    return {
        **busy_columns(bins.bin_ps, bins.busy_ps[place], bounds),
        "steps": bins.steps[place],
        "tokens": bins.tokens[place],
        "kv_blocks": held * (blocks / units),
        "kv_fraction": held / units,
    }


def link_parts(machine: "Machine", outcome: "Outcome") -> Iterator[Columns]:
    """One part per link with traffic, in link order."""
    yield from link_parts_of(link_loads(machine.routes, machine.cards, outcome.bins), outcome.bins)


def link_parts_of(loads: Iterable[LinkLoad], bins: Bins) -> Iterator[Columns]:
    """Columns of ``links`` link by link; links that share their loads share their columns."""
    times = bin_columns(edges_ps(bins))
    loaded: LruCache[Columns] = LruCache(STAGES_HELD)
    for load in loads:
        made = partial(load_columns, bins.bin_ps, load.sent_bytes, load.busy_ps)
        columns = loaded.get((Same(load.sent_bytes), Same(load.busy_ps)), made)
        names = {"link": load.link, "link_name": load.name, "kind": load.kind}
        yield names | columns | times


def _own_cards(machine: "Machine") -> int:
    """All cards but those that drafts have for themselves."""
    draft = machine.draft
    if draft is None or draft.draft.cards is None:
        return len(machine.routes.card_id)
    return draft.draft.cards.start


def _drafts(outcome: "Outcome") -> Drafts:
    served = outcome.served
    return Drafts(
        accepted_count=served.accepted_count,
        draft_tokens=served.draft_tokens,
        draft_j=outcome.draft_j,
    )


SHOWN_MEASURES = ("decode_blocks", "prefill_passes")


def step_columns(window: Records, memories: Sequence[str]) -> Columns:
    """A window of the step log as columns; measures of kinds of layers but the first are added up.

    The names are those of the table: measures of layers without full context are called windowed,
    and the far memory, if there is one, has its name in ``memories``: near, far.
    """
    columns = {name: window[name] for name in (STEP.names or ())[:MEASURED]}
    far = [("far_blocks", f"{memory}_blocks") for memory in memories[1:]]
    for measure, name in [*zip(SHOWN_MEASURES, SHOWN_MEASURES, strict=True), *far]:
        columns[name] = window[measure]
        others = [window[f"{measure}_{kind}"] for kind in range(1, KINDS)]
        columns[f"{name}_windowed"] = np.sum(others, axis=0)
    return columns


def map_tables(machine: "Machine") -> dict[str, Columns]:
    """Nodes with their coordinates in the drawing, and the links between them."""
    routes = machine.routes
    ids = {name: card for card, name in enumerate(routes.card_id.tolist())}
    nodes = node_records(machine.graph)
    card = np.array([ids.get(name, -1) for name in nodes["name"]])
    nodes["card"] = np.ma.masked_less(card, 0)
    nodes["server"] = np.ma.masked_less(np.where(card >= 0, routes.server[card], -1), 0)
    nodes["rack"] = np.ma.masked_less(np.where(card >= 0, routes.rack[card], -1), 0)
    return {"nodes": nodes, "edges": edge_records(machine.graph)}


def placement_table(machine: "Machine") -> Columns:
    """Memory placement: a row per card and class of tensors."""
    rows = [
        (
            *(card.index, card.name, card.replica, card.stage),
            held.tensor_class,
            held.where,
            held.size_bytes,
        )
        for card in cards_of(machine.routes, machine.cards, machine.fit)
        for held in card.holdings
    ]
    columns = ("card", "card_name", "replica", "stage", "tensor_class", "where", "bytes")
    return {
        name: np.array(values)
        for name, values in zip(columns, zip(*rows, strict=True), strict=True)
    }
