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
class _Reading:
    """The first stage's work on prompts until a row of a window of the log."""

    rows: Integers
    """With prompt tokens."""
    sums: Integers
    """[n, cause] of work until the ends of these, by replica."""
    begins: Integers
    """[replica] where those of each begin."""
    before: Integers
    """[replica, cause] until this window."""

    def until(self, row: Integers, replica: Integers) -> Integers:
        """[n, cause] until these rows."""
        count, found = np.searchsorted(self.rows, row), self.before[replica]
        some = np.flatnonzero(count > self.begins[replica])
        found[some] = self.sums[count[some] - 1]
        return found


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Window:
    """Running sums of a window of the log, at rows and places of ``StepNumbers``."""

    start_ps: Integers
    """[row]"""
    end_ps: Integers
    """[row]"""
    prompts_ps: Integers
    """[row] time with prompts until its start."""
    place: Integers
    """[row]"""
    replica: Integers
    """[row]"""
    passage: Integers
    """[place, cause] sums to its end less its start."""
    decoding: Integers
    """[place, cause] sums to its end."""
    reading: _Reading | None
    """None with one stage."""
    others: int
    """Position of waiting for other batches."""

    def read(self, row: Integers) -> Integers:
        """[n, cause] sums to the starts of these rows."""
        if self.reading is None:
            found: Integers = self.decoding[self.place[row]] - self.passage[self.place[row]]
            return found
        found = self.reading.until(row, self.replica[row])
        found[:, self.others] += self.start_ps[row] - found.sum(axis=1)
        return found


class LatencyBreakdown:
    """Running sums of a run; ``of`` completes them."""

    def __init__(self, prices: PriceTables, requests: int) -> None:
        others = [RETURN, OTHER_BATCHES]
        others += [DRAFTS] * prices.draft_apart + [HOST] * bool(prices.host_ps)
        self._prices, self._work = prices, StepCauses(prices, others)
        self._names = names = self._work.names
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

    def add(self, steps: Records, phases: Records, attention: Integers | None = None) -> None:
        """Add one window of the log (dtype STEP), the phases that began in it (PHASE), and the
        steps' attention, if it is known."""
        if len(steps) == 0 and len(phases) == 0:
            return
        if self._late is not None:
            phases = np.concatenate([self._late, phases])
        numbers = self._numbers
        numbers.add(steps)
        window = self._window(steps, attention)
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

    def _window(self, steps: Records, attention: Integers | None) -> _Window:
        """The running sums at the steps of a window."""
        numbers, order = self._numbers, self._numbers.by_slot
        passage = self._work.whole(steps, order, attention)
        columns = {name: steps[name][order] for name in ("start_ps", "end_ps", "more", "replica")}
        columns["period_ps"] = steps["period_ps"][order]
        lasts_ps = columns["end_ps"] - columns["start_ps"]
        passage[:, self._names.index(OTHER_BATCHES)] += lasts_ps - passage.sum(axis=1)
        by_replica = numbers.by_replica
        return _Window(
            start_ps=steps["start_ps"][by_replica],
            end_ps=steps["end_ps"][by_replica],
            prompts_ps=self._with_prompts(steps),
            place=numbers.place,
            replica=numbers.replica,
            others=self._names.index(OTHER_BATCHES),
            passage=passage,
            decoding=self._decoding(columns, passage, lasts_ps),
            reading=None if self._prices.stages == 1 else self._reading(steps),
        )

    def _decoding(
        self, columns: dict[str, Integers], passage: Integers, lasts_ps: Integers
    ) -> Integers:
        """Before each step of a slot, from the end of the one before: the return of its tokens,
        host time of a batch that is scheduled ahead, and waiting for the first stage."""
        numbers, more, period_ps = self._numbers, columns["more"], columns["period_ps"]
        back_ps = self._prices.return_ps[columns["replica"]]
        ends_ps, repeats = columns["end_ps"], bool(more.any())
        sums = passage * (1 + more)[:, None] if repeats else passage.copy()
        if repeats:
            ends_ps = ends_ps + more * period_ps
            self._add_gaps(sums, period_ps - lasts_ps, back_ps, more)
        before_ps = numbers.before_in_slot(ends_ps, self._slot_end_ps)
        self._add_gaps(sums, columns["start_ps"] - before_ps, back_ps, 1)
        self._slot_end_ps = numbers.last_in_slot(ends_ps, self._slot_end_ps)
        return numbers.sum_by_slot(sums, self._slot_sums)

    def _add_gaps(
        self, sums: Integers, gap_ps: Integers, back_ps: Integers, times: Integers | int
    ) -> None:
        back_ps = np.minimum(gap_ps, back_ps)
        sums[:, self._names.index(RETURN)] += times * back_ps
        gap_ps = gap_ps - back_ps
        if self._prices.host_ps:
            host_ps = np.minimum(gap_ps, self._prices.host_ps)
            sums[:, self._names.index(HOST)] += times * host_ps
            gap_ps -= host_ps
        waits = DRAFTS if self._prices.draft_apart else OTHER_BATCHES
        sums[:, self._names.index(waits)] += times * gap_ps

    def _reading(self, steps: Records) -> _Reading:
        """The work of the first stage on steps with prompts; the rest of reading is waiting."""
        numbers, before = self._numbers, self._worked.copy()
        rows = np.flatnonzero(steps["prefill_tokens"][numbers.by_replica] > 0)
        work = self._work.first(steps, numbers.by_replica[rows])
        sums, begins = numbers.summed_rows(rows, work, self._worked)
        return _Reading(rows=rows, sums=sums, begins=begins, before=before)

    def _with_prompts(self, steps: Records) -> Integers:
        """[row] time until its start in which the step that started last had prompt tokens."""
        numbers, order = self._numbers, self._numbers.by_replica
        before_ps, last_ps, had = self._prompts
        has = (steps["prefill_tokens"][order] > 0).astype(np.int64)
        start_ps = steps["start_ps"][order]
        since_ps = start_ps - numbers.before_in_replica(start_ps, last_ps)
        since_ps *= numbers.before_in_replica(has, had)
        found: Integers = numbers.summed_by_replica(since_ps[:, None], before_ps[:, None])[:, 0]
        last_ps[:] = numbers.last_in_replica(start_ps, last_ps)
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
            parts[request, queue:] += window.read(row) + window.passage[window.place[row]]
            self._first[request] = parts[request]
            parts[request, queue:] -= window.decoding[window.place[row]]
            return
        start_ps, prompts_ps = window.start_ps[row], window.prompts_ps[row]
        sign = -1 if kind == Phase.WAITING else 1
        parts[request, _PROMPTS] += sign * prompts_ps
        parts[request, _DECODES] += sign * (start_ps - prompts_ps)
        if kind == Phase.WAITING:
            parts[request, _ADMISSION] += start_ps
        else:
            self._first[request] = parts[request]
            parts[request, queue:] -= window.read(row)

    def _ended(self, window: _Window, phases: Records) -> Integers:
        """[phase, cause] the sums at the ends of these steps of their slots."""
        numbers = self._numbers
        row = numbers.rows(phases["replica"], phases["row"])
        if (row >= 0).all():
            return window.decoding[window.place[row]]
        found = np.empty((len(row), len(self._names)), np.int64)
        new, old = np.flatnonzero(row >= 0), np.flatnonzero(row < 0)
        found[new] = window.decoding[window.place[row[new]]]
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
        parts, queue, rows = self._parts[request], len(QUEUE), np.array([row])
        start_ps, prompts_ps = int(window.start_ps[row]), int(window.prompts_ps[row])
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
            parts[queue:] -= window.read(rows)[0]
            return
        if state.read:
            end_ps = int(window.end_ps[row])
            parts[:] = state.at_reading
            parts[_AGAIN] += end_ps - int(parts.sum())
        else:
            parts[queue:] += window.read(rows)[0] + window.passage[window.place[row]]
            self._first[request] = parts
            state.read = True
        parts[queue:] -= window.decoding[window.place[row]]
