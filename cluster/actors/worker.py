"""The work of an actor for its cards in a serving run: run, accumulate. It needs no Ray.

Windows of a part's log are numbered, since calls may be repeated, late, or sent to a restarted,
empty actor: an account accepts only the next window, and a window can be recomputed from the
part's inputs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from cluster.actors.partition import Part, prices_of, problem_of
from cluster.perf_model.card import Card
from cluster.perf_model.counters import Tally
from cluster.perf_model.energy.attribution import SlotJoules
from cluster.perf_model.energy.coefficients import Joules
from cluster.perf_model.tables import STEP, PriceTables, Records, as_integers
from cluster.perf_model.timeline import Account, Bins
from cluster.serving.energy_attribution import attribution_columns
from cluster.serving.engine import check_end, served_of
from cluster.serving.interface import Arrivals, Limits, Served
from cluster.serving.kernel.advance import advance
from cluster.serving.kernel.build import build
from cluster.serving.kernel.state import RUNNING
from cluster.serving.latency_breakdown import LatencyBreakdown
from cluster.serving.tables import Columns, rank_columns
from corsair_common.units import NEVER, Floats, Integers
from results.engine_columns import Latency

Place = tuple[int, int]
"""A stage of a replica: its cards have equal work."""

PER_REPLICA = ("kv_block_ns", "peak_blocks")
"""Columns of ``Bins`` that a replica's stages share."""

PER_STAGE = tuple(
    field.name for field in fields(Bins) if field.name not in (*PER_REPLICA, "bin_ps", "start_ps")
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Progress of the run of a part."""

    now_ps: int
    done: int
    tokens: int
    result: tuple[Served, Tally, Floats, Latency | None] | None
    """At the end: the requests' results, counts of the log, joules of each request, latencies by
    cause."""


class PartAccount:
    """The accounts of a part, of the replicas that an actor has cards of."""

    def __init__(
        self, prices: PriceTables, replicas: Sequence[int], max_bins: int, begin_ps: int = 0
    ) -> None:
        self._local = np.full(prices.replicas, -1, np.int64)
        self._local[list(replicas)] = np.arange(len(replicas))
        own = prices_of(prices, np.array(replicas, np.int64))
        self._account = Account(own, max_bins=max_bins, begin_ps=begin_ps)
        self._bins: Bins | None = None
        self.windows = 0
        """Windows added: the number of the next one."""
        self._add(np.zeros(0, STEP))

    def add(self, number: int, window: Records) -> None:
        """Add the next window; ignore an earlier or later one."""
        if number == self.windows:
            self._add(window)
            self.windows += 1

    def _add(self, window: Records) -> None:
        """Add the rows of these replicas; the window may be read-only."""
        local = self._local[window["replica"]]
        rows = window[local >= 0]
        rows["replica"] = local[local >= 0]
        self._account.add(rows)

    def close(self, end_ps: int) -> None:
        """Extend the bins to the end of the whole run."""
        self._account.reach(end_ps)
        self._bins = self._account.bins()

    def bins_of(self, place: Place) -> tuple[Bins, int]:
        """The closed bins, and the position of the place's replica in them."""
        if self._bins is None:
            raise RuntimeError(f"the account of replica {place[0]} is still open")
        return self._bins, int(self._local[place[0]])


class PartRun:
    """The run of one independent part, advanced window by window."""

    def __init__(
        self,
        part: Part,
        prices: PriceTables,
        arrivals: Arrivals,
        joules: Joules,
        limits: Limits,
        begin_ps: int = 0,
        splits: bool = False,
    ) -> None:
        self._part = part
        self._arrivals, own_prices, own_limits = problem_of(part, arrivals, prices, limits)
        self._state = build(self._arrivals, own_prices, own_limits)
        if part.stepwise:
            self._state.control["repeating"] = 0
        self._shares = SlotJoules(prices, joules, part.replicas)
        self._split = LatencyBreakdown(own_prices, len(part.requests)) if splits else None
        self._state.control["recording"] = splits
        self._tally = Tally(begin_ps=begin_ps)
        self.windows = 0
        """Windows returned: the number of the next one."""

    def advance(self, rows: int) -> tuple[Progress, Records]:
        """At most ``rows`` further steps of the log, with the numbers of the whole run."""
        log = np.zeros(rows, STEP)
        log = log[: advance(self._state, log, as_integers(log))]
        control = self._state.control[0]
        if self._split is not None:
            self._split.add(log, self._state.phases[: control["phases"]])
            control["phases"] = 0
        log["replica"] = self._part.replicas[log["replica"]]
        prompts = log["prompt_request"]
        prompts[prompts != NEVER] = self._part.requests[prompts[prompts != NEVER]]
        self._tally.add(log)
        self._shares.add(log)
        self.windows += 1
        return self._progress(), log

    def _progress(self) -> Progress:
        control = self._state.control[0]
        now_ps, done, tokens = (int(control[name]) for name in ("now_ps", "done", "tokens"))
        result = None
        if control["status"] != RUNNING:
            check_end(self._state)
            served = served_of(self._state)
            result = (
                served,
                self._tally,
                self._shares.of(attribution_columns(served, self._arrivals)),
                None if self._split is None else self._split.of(served),
            )
        return Progress(now_ps=now_ps, done=done, tokens=tokens, result=result)


def warm(prices: PriceTables, arrivals: Arrivals, joules: Joules, limits: Limits) -> None:
    """Compile the kernels, so that this node's disk cache has the machine code."""
    PartAccount(prices, [0], max_bins=2)
    empty = Part(replicas=np.zeros(1, np.int64), requests=np.zeros(0, np.int64))
    PartRun(empty, prices, arrivals, joules, limits).advance(0)


class WorkerState:
    """The accounts of some cards of the machine, and the runs of parts."""

    def __init__(self, cards: Sequence[Card]) -> None:
        self.places: set[Place] = {(card.replica, card.stage) for card in cards}
        self._accounts: dict[int, PartAccount] = {}
        self._runs: dict[int, PartRun] = {}
        self._part_of: dict[int, int] = {}

    def window(
        self,
        part_number: int,
        number: int,
        rows: int,
        *inputs: Any,
    ) -> tuple[Progress, Records]:
        """Window ``number`` of a part's log, of ``rows`` steps, and the progress after it.

        ``inputs`` are those of ``PartRun``, and the result depends on nothing else: if the run is
        not right before this window, it is repeated from its beginning.
        """
        run = self._runs.pop(part_number, None)
        if run is None or run.windows != number:
            run = PartRun(*inputs)
            for _ in range(number):
                run.advance(rows)
        progress, log = run.advance(rows)
        if progress.result is None:
            self._runs[part_number] = run
        return progress, log

    def open(
        self,
        part_number: int,
        replicas: Integers,
        prices: PriceTables,
        max_bins: int,
        begin_ps: int = 0,
    ) -> None:
        """Open the accounts of a part's replicas, new and empty; bins begin at ``begin_ps``."""
        mine = sorted({replica for replica, _ in self.places} & set(replicas.tolist()))
        self._accounts[part_number] = PartAccount(prices, mine, max_bins, begin_ps)
        self._part_of |= dict.fromkeys(mine, part_number)

    def account(self, part_number: int, number: int, window: Records) -> None:
        """Accumulate a window of a part's log, if it is the next one."""
        if part_number in self._accounts:
            self._accounts[part_number].add(number, window)

    def close(
        self, end_ps: int, windows: Mapping[int, int], places: Sequence[Place]
    ) -> list[Bins] | None:
        """Close all accounts at ``end_ps``, the end of the whole run; return those of ``places``.

        ``windows`` has the number of windows of each part of these cards; None if one of them is
        missing.
        """
        windows_read = {number: account.windows for number, account in self._accounts.items()}
        if any(windows_read.get(number) != count for number, count in windows.items()):
            return None
        for account in self._accounts.values():
            account.close(end_ps)
        return [_stage_bins(*self._bins_of(place), place[1]) for place in places]

    def columns(self, pool: tuple[int, int], bounds: tuple[str, ...]) -> dict[Place, Columns]:
        """Columns of the table ``cards`` for each stage here: equal cards, equal columns.

        Stages with lost accounts are absent.
        """
        return {
            place: rank_columns(bins, (replica, place[1]), pool, bounds)
            for place in sorted(self.places)
            if place[0] in self._part_of
            for bins, replica in [self._bins_of(place)]
        }

    def _bins_of(self, place: Place) -> tuple[Bins, int]:
        return self._accounts[self._part_of[place[0]]].bins_of(place)


def _stage_bins(bins: Bins, replica: int, stage: int) -> Bins:
    """[1, 1, ...] those of one stage of one replica; the KV columns are the replica's."""
    at = slice(replica, replica + 1)
    columns = {name: getattr(bins, name)[at] for name in PER_REPLICA}
    columns |= {name: getattr(bins, name)[at, stage : stage + 1] for name in PER_STAGE}
    return replace(bins, **columns)


def joined_bins(of_stages: Mapping[Place, Bins]) -> Bins:
    """The bins of the whole run from those of all its stages."""
    replicas, stages = (1 + max(place[axis] for place in of_stages) for axis in (0, 1))
    rows = [[of_stages[replica, stage] for stage in range(stages)] for replica in range(replicas)]

    def column(name: str) -> Integers:
        wide = 1 if name in PER_REPLICA else stages
        return np.concatenate(
            [np.concatenate([getattr(own, name) for own in row[:wide]], axis=1) for row in rows]
        )

    columns: dict[str, Any] = {name: column(name) for name in (*PER_REPLICA, *PER_STAGE)}
    return replace(of_stages[0, 0], **columns)
