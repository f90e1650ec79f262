"""Splits each request's latency by cause, window by window of the step log.

Every time of the log is the sum of a row of causes, so a phase of a request is the difference of
two rows: of the queue's at the starts of steps (which kind of step ran meanwhile), of reading's at
the starts of steps (work of the first stage), of decoding's at the ends of a slot's steps (return,
wait for the first stage, passage). All are running sums, of which only those at the end of the last
window are kept, with two steps of each slot that may be in flight. A request's row is 0 in sum from
its arrival on, and is its latency once its last token is out.

A batch's time belongs whole to each of its requests.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from cluster.perf_model.tables import PriceTables, Records
from cluster.serving.interface import Phase, Served
from cluster.serving.step_causes import StepCauses
from cluster.serving.step_numbers import StepNumbers
from corsair_common.units import NEVER, Integers
from results.causes import (
    ADMISSION,
    DRAFTS,
    HOST,
    OTHER_BATCHES,
    QUEUE_DECODES,
    QUEUE_PROMPTS,
    RECOMPUTATION,
    RETURN,
)
from results.engine_columns import Latency

QUEUE = (ADMISSION, QUEUE_PROMPTS, QUEUE_DECODES, RECOMPUTATION)
_ADMISSION, _PROMPTS, _DECODES, _AGAIN = range(len(QUEUE))
_SLOW = int(Phase.LOST)


@dataclass(slots=True)
class _Preempted:
    """A request that was preempted."""

    read: bool
    """Whether it has its first token."""
    at_reading: Integers
    """Its row at its last admission."""
    before: Integers | None = None
    """Its row before the steps of the decode that was lost."""
    partial: bool = False
    """Whether it was lost before the end of its prompt."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Window:
    """Running sums of a window of the log; rows are those of ``StepNumbers``."""

    steps: Any
    """STEP, by replica."""
    prompts_ps: Integers
    """[row] time with prompts until its start."""
    reading: Integers
    """[row, cause] sums to its start."""
    passage: Integers
    """[row, cause] sums to its end less its start."""
    decoding: Integers
    """[row, cause] sums to its end."""


class LatencyBreakdown:
    """Running sums of a run; ``of`` completes them."""

    def __init__(self, prices: PriceTables, requests: int) -> None:
        self._prices, self._work = prices, StepCauses(prices)
        names = [*self._work.names]
        names += [name for name in (RETURN, OTHER_BATCHES) if name not in names]
        if prices.draft_apart:
            names.append(DRAFTS)
        if prices.host_ps and HOST not in names:
            names.append(HOST)
        self._names = names
        width, slots = len(names), prices.replicas * prices.stages
        self._parts = np.zeros((requests, len(QUEUE) + width), np.int64)
        self._first = np.zeros_like(self._parts)
        self._numbers = StepNumbers(prices.replicas, prices.stages)
        self._prompts = np.zeros((3, prices.replicas), np.int64)
        """Of each replica's last step: time with prompts before it, its start, whether it has
        prompts."""
        self._worked = np.zeros((prices.replicas, width), np.int64)
        self._slot_sums = np.zeros((slots, width), np.int64)
        self._slot_end_ps = np.zeros(slots, np.int64)
        self._in_flight = np.zeros((slots, 2, width), np.int64)
        self._late: Records | None = None
        self._preempted: dict[int, _Preempted] = {}

    def add(self, steps: Records, phases: Records) -> None:
        """Add one window of the log (dtype STEP), and the phases that began in it (PHASE)."""
        if len(steps) == 0 and len(phases) == 0:
            return
        if self._late is not None:
            phases = np.concatenate([self._late, phases])
        numbers = self._numbers
        steps = numbers.add(steps)
        window = self._window(steps)
        known = phases["row"] < numbers.known[phases["replica"]]
        waits = (phases["kind"] == Phase.WAITING) & ~known
        self._late = phases[waits] if waits.any() else None
        phases = phases[~waits]
        slow = phases["kind"] == _SLOW
        if self._preempted or slow.any():
            apart = np.array([*self._preempted, *phases["request"][slow].tolist()], np.int64)
            slow = np.isin(phases["request"], apart)
            for phase in phases[slow]:
                self._enter_again(window, phase)
            phases = phases[~slow]
        for kind in (Phase.WAITING, Phase.READING, Phase.DECODING, Phase.FINISHED):
            self._enter(window, phases[phases["kind"] == kind], kind)
        self._keep(window)

    def of(self, served: Served) -> Latency:
        """The parts of every request; once, at the end of the run."""
        done = served.finish_ps != NEVER
        for parts in (self._parts, self._first):
            parts[done, _ADMISSION] -= served.arrival_ps[done]
            parts[~done] = 0
        return Latency(
            causes=(*QUEUE, *self._names), whole=self._parts, first=self._first, done=done
        )

    def _window(self, steps: Records) -> _Window:
        """The running sums at the steps of a window."""
        prices, width = self._prices, len(self._names)
        whole, first = self._work.of(steps)
        works, other = whole.shape[1], self._names.index(OTHER_BATCHES)
        passage = np.zeros((len(steps), width), np.int64)
        passage[:, :works] = whole
        lasts_ps = steps["end_ps"] - steps["start_ps"]
        passage[:, other] = lasts_ps - whole.sum(axis=1)
        decoding = self._decoding(steps, passage, lasts_ps)
        if prices.stages == 1:
            reading = decoding - passage
        else:
            reading = self._reading(steps, first, width, other)
        return _Window(
            steps=steps,
            prompts_ps=self._with_prompts(steps),
            reading=reading,
            passage=passage,
            decoding=decoding,
        )

    def _decoding(self, steps: Records, passage: Integers, lasts_ps: Integers) -> Integers:
        """Before each step of a slot, from the end of the one before: the return of its tokens,
        host time of a batch that is scheduled ahead, and waiting for the first stage."""
        numbers, times = self._numbers, 1 + steps["more"]
        ends_ps = steps["end_ps"] + steps["more"] * steps["period_ps"]
        before_ps = numbers.before_in_slot(ends_ps, self._slot_end_ps)
        sums = passage * times[:, None]
        self._add_gaps(sums, steps, steps["start_ps"] - before_ps, 1)
        if steps["more"].any():
            self._add_gaps(sums, steps, steps["period_ps"] - lasts_ps, steps["more"])
        self._slot_end_ps = numbers.last_in_slot(ends_ps, self._slot_end_ps)
        return numbers.summed_by_slot(sums, self._slot_sums)

    def _add_gaps(
        self, sums: Integers, steps: Records, gap_ps: Integers, times: Integers | int
    ) -> None:
        back_ps = np.minimum(gap_ps, self._prices.return_ps[steps["replica"]])
        sums[:, self._names.index(RETURN)] += times * back_ps
        gap_ps = gap_ps - back_ps
        if self._prices.host_ps:
            host_ps = np.minimum(gap_ps, self._prices.host_ps)
            sums[:, self._names.index(HOST)] += times * host_ps
            gap_ps -= host_ps
        waits = DRAFTS if self._prices.draft_apart else OTHER_BATCHES
        sums[:, self._names.index(waits)] += times * gap_ps

    def _reading(self, steps: Records, first: Integers, width: int, other: int) -> Integers:
        """The work of the first stage until the start of each step; the rest is waiting."""
        reading = np.zeros((len(steps), width), np.int64)
        work = first * (1 + steps["more"])[:, None]
        works = work.shape[1]
        sums = self._numbers.summed_by_replica(work, self._worked[:, :works])
        reading[:, :works] = sums - work
        reading[:, other] = steps["start_ps"] - reading[:, :works].sum(axis=1)
        return reading

    def _with_prompts(self, steps: Records) -> Integers:
        """[row] time until its start in which the step that started last had prompt tokens."""
        numbers = self._numbers
        before_ps, last_ps, had = self._prompts
        has = (steps["prefill_tokens"] > 0).astype(np.int64)
        since_ps = steps["start_ps"] - numbers.before_in_replica(steps["start_ps"], last_ps)
        since_ps *= numbers.before_in_replica(has, had)
        found: Integers = numbers.summed_by_replica(since_ps[:, None], before_ps[:, None])[:, 0]
        last_ps[:] = numbers.last_in_replica(steps["start_ps"], last_ps)
        had[:] = numbers.last_in_replica(has, had)
        return found

    def _keep(self, window: _Window) -> None:
        """Keep the sums of the last two steps of each slot, which may be in flight."""
        self._numbers.keep_two(window.decoding, self._in_flight)

    def _enter(self, window: _Window, phases: Records, kind: Phase) -> None:
        """Requests enter a phase that they had not entered before, each once."""
        if not len(phases):
            return
        parts, request = self._parts, phases["request"]
        queue = len(QUEUE)
        if kind == Phase.FINISHED:
            parts[request, queue:] += self._ended(window, phases)
            return
        row = self._numbers.rows(phases["replica"], phases["row"])
        if kind == Phase.DECODING:
            parts[request, queue:] += window.reading[row] + window.passage[row]
            self._first[request] = parts[request]
            parts[request, queue:] -= window.decoding[row]
            return
        start_ps, prompts_ps = window.steps["start_ps"][row], window.prompts_ps[row]
        sign = -1 if kind == Phase.WAITING else 1
        parts[request, _PROMPTS] += sign * prompts_ps
        parts[request, _DECODES] += sign * (start_ps - prompts_ps)
        if kind == Phase.WAITING:
            parts[request, _ADMISSION] += start_ps
        else:
            self._first[request] = parts[request]
            parts[request, queue:] -= window.reading[row]

    def _ended(self, window: _Window, phases: Records) -> Integers:
        """[phase, cause] the sums at the ends of these steps of their slots."""
        numbers = self._numbers
        row = numbers.rows(phases["replica"], phases["row"])
        if (row >= 0).all():
            return window.decoding[row]
        found = np.empty((len(row), len(self._names)), np.int64)
        new, old = np.flatnonzero(row >= 0), np.flatnonzero(row < 0)
        found[new] = window.decoding[row[new]]
        slot, which = numbers.in_flight(phases[old])
        found[old] = self._in_flight[slot, which]
        return found

    def _enter_again(self, window: _Window, phase: Any) -> None:
        """One phase of a request that is preempted now, or was."""
        request, kind, queue = int(phase["request"]), int(phase["kind"]), len(QUEUE)
        parts, one = self._parts[request], np.array([phase])
        if request not in self._preempted:
            read = kind == Phase.LOST and phase["slot"] >= 0
            self._preempted[request] = _Preempted(
                read=bool(read), at_reading=self._first[request].copy()
            )
        state = self._preempted[request]
        if kind == Phase.LOST:
            state.partial = bool(phase["slot"] < 0)
            if state.partial:
                parts[:] = state.at_reading
            else:
                state.before, state.read = parts.copy(), True
                parts[queue:] += self._ended(window, self._numbers.last_of_slot(one))[0]
        elif kind == Phase.FINISHED:
            if state.before is not None:  # its last token was in flight when it was preempted
                parts[:] = state.before
            parts[queue:] += self._ended(window, one)[0]
            del self._preempted[request]
        else:
            row = int(self._numbers.rows(one["replica"], one["row"])[0])
            self._return(window, row, kind, request, state)

    def _return(
        self, window: _Window, row: int, kind: int, request: int, state: _Preempted
    ) -> None:
        """A request that was preempted waits, is read, or decodes again."""
        parts, queue = self._parts[request], len(QUEUE)
        start_ps, prompts_ps = int(window.steps["start_ps"][row]), int(window.prompts_ps[row])
        if kind == Phase.WAITING:
            into = _AGAIN if state.partial else _ADMISSION
            parts[into] += start_ps - int(parts.sum())
            parts[_PROMPTS] -= prompts_ps
            parts[_DECODES] -= start_ps - prompts_ps
            return
        if kind == Phase.READING:
            parts[_PROMPTS] += prompts_ps
            parts[_DECODES] += start_ps - prompts_ps
            state.at_reading, state.before = parts.copy(), None
            parts[queue:] -= window.reading[row]
            return
        if state.read:
            end_ps = int(window.steps["end_ps"][row])
            parts[:] = state.at_reading
            parts[_AGAIN] += end_ps - int(parts.sum())
        else:
            parts[queue:] += window.reading[row] + window.passage[row]
            self._first[request] = parts
            state.read = True
        parts[queue:] -= window.decoding[row]
