"""What a serving run leaves: its results, and the accounts that they come from."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from cluster.perf_model.counters import Tally
from cluster.perf_model.energy.attribution import SlotJoules
from cluster.perf_model.tables import Records
from cluster.perf_model.timeline import Account, Bins
from cluster.scenario.resolve import Resolved
from cluster.serving.admission_limits import least_end_ps
from cluster.serving.drafts import draft_work
from cluster.serving.interface import Arrivals, Served
from cluster.serving.latency_breakdown import LatencyBreakdown
from corsair_common.units import PS_PER_S, Floats
from results.engine_columns import Latency
from results.window import last_ps

if TYPE_CHECKING:
    from cluster.serving.run import Machine


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Results of one run, in picoseconds and integers."""

    served: Served
    bins: Bins
    steps: int
    members: int
    """Sum over steps of the members of their slot."""
    peak_blocks: int
    request_j: Floats
    """[request] energy of the request's work; 0 if refused."""
    end_ps: int
    """End of the window that begins with ``bins``: the last finish or refusal."""
    latency: Latency | None = None
    """Latencies by cause, if they are split."""
    draft_j: float | None = None
    """Energy of cards that drafts have for themselves."""


class RunAccounts:
    """The accounts, counts and energy of a run, from its step log."""

    def __init__(self, resolved: Resolved, machine: "Machine", requested: Arrivals) -> None:
        most_bins = resolved.scenario.store.most_bins
        self._account = Account(machine.prices, max_bins=most_bins, begin_ps=resolved.begin_ps)
        self._tally, self._shares = Tally(begin_ps=resolved.begin_ps), shares_of(machine)
        # avoids starting with the finest bins
        self._account.reach(least_end_ps(requested, machine.limits))
        self._drafting = draft_work(machine.draft, machine.limits)
        self._kinds, self._cards = len(machine.prices.kinds), len(machine.routes.card_id)
        count = len(requested.arrival_ps)
        breaks_down = resolved.scenario.store.breaks_down(count)
        self._split = LatencyBreakdown(machine.prices, count) if breaks_down else None

    @property
    def divides(self) -> bool:
        """Whether latencies are split by cause, for which ``divide`` gets the phases."""
        return self._split is not None

    def add(self, window: Records) -> None:
        """Add a window of the log, in which cycles that repeat may be in one piece."""
        self._account.add(window)
        self._tally.add(window)
        self._shares.add(window)
        if self._drafting is not None:
            self._drafting.add(window, self._kinds)

    def divide(self, window: Records, phases: Records) -> None:
        """Split the latency of what was added last, in which these phases of requests began."""
        if self._split is not None:
            self._split.add(window, phases, self._account.attention(len(window)))

    def outcome(self, served: Served, requested: Arrivals) -> Outcome:
        """The results, once everything is served."""
        from cluster.serving.energy_attribution import attribution_columns

        request_j = self._shares.of(attribution_columns(served, requested))
        self._account.reach(last_ps(served.arrival_ps, served.finish_ps))
        latency = None if self._split is None else self._split.of(served)
        found = outcome_of(served, self._account.bins(), self._tally, request_j, latency)
        if self._drafting is None:
            return found
        draft_j = self._drafting.joules(self._cards, found.end_ps / PS_PER_S)
        return replace(found, draft_j=draft_j)


def shares_of(machine: "Machine") -> SlotJoules:
    """Accumulator that attributes the energy of every step to its requests."""
    return SlotJoules(machine.prices, machine.joules, np.arange(machine.prices.replicas))


def outcome_of(
    served: Served, bins: Bins, tally: Tally, request_j: Floats, latency: Latency | None
) -> Outcome:
    """Combine the results of the engine, the accounts and the counts."""
    return Outcome(
        served=served,
        bins=bins,
        steps=tally.steps,
        members=tally.members,
        peak_blocks=tally.peak_blocks,
        request_j=request_j,
        end_ps=max(bins.start_ps, last_ps(served.arrival_ps, served.finish_ps)),
        latency=latency,
    )
