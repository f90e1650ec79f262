"""Rows of a window of the step log by replica and slot, and their numbers among the steps."""

from typing import Any

import numpy as np

from cluster.perf_model.tables import Records
from corsair_common.units import Integers

_REPLICA = 1 << 42
"""Factor of a replica beside the number of a step."""


class StepNumbers:
    """Finds rows by replica and step, window by window."""

    def __init__(self, replicas: int, stages: int) -> None:
        self.known = np.zeros(replicas, np.int64)
        """[replica] steps so far."""
        self._stages = stages
        self._kept = np.full((replicas * stages, 2), -1, np.int64)
        """[slot, 2] numbers of the last two steps of each slot before this window."""

    def add(self, steps: Records) -> Records:
        """The rows of the next window, by replica."""
        replicas = len(self.known)
        if replicas > 1:
            steps = steps[np.argsort(steps["replica"], kind="stable")]
        self._replica = np.ascontiguousarray(steps["replica"])
        edges = np.searchsorted(self._replica, np.arange(replicas + 1))
        self._begins, self._ends = edges[:-1], edges[1:]
        following = steps["followers"] == 0
        cycle = np.cumsum(following) - following
        heads = np.flatnonzero(np.diff(cycle, prepend=-1))
        place = np.arange(len(steps)) - heads[cycle] if len(steps) else cycle
        counts = 1 + steps["more"]
        before = np.cumsum(counts) - counts
        of_cycle = before[heads][cycle] if len(steps) else before
        of_replica = np.append(before, counts.sum())[self._begins]
        first = self.known - of_replica
        self._number = first[self._replica] + of_cycle + place
        self.known += np.append(before, counts.sum())[self._ends] - of_replica
        self._key = self._replica * _REPLICA + self._number
        slot = self._replica * self._stages + steps["slot"]
        self._by_slot = (
            np.argsort(slot, kind="stable") if self._stages > 1 else np.arange(len(steps))
        )
        self._slot = slot[self._by_slot]
        edges = np.searchsorted(self._slot, np.arange(replicas * self._stages + 1))
        self._slot_begins, self._slot_ends = edges[:-1], edges[1:]
        self._slot_key = self._slot * _REPLICA + self._number[self._by_slot]
        return steps

    def rows(self, replica: Integers, number: Integers) -> Integers:
        """[n] rows of these steps; -1: of an earlier window."""
        key = replica * _REPLICA + number
        row = np.searchsorted(self._key, key)
        inside = row < len(self._key)
        inside[inside] = self._key[row[inside]] == key[inside]
        return np.where(inside, row, -1)

    def in_flight(self, phases: Records) -> tuple[Integers, Integers]:
        """Slots, and which of their last two steps before this window, of these phases."""
        slot = phases["replica"] * self._stages + phases["slot"]
        return slot, (self._kept[slot, 1] == phases["row"]).astype(np.int64)

    def last_of_slot(self, phases: Records) -> Records:
        """These phases, each with the last step of its slot up to its own."""
        phases = phases.copy()
        slot = phases["replica"] * self._stages + phases["slot"]
        at = np.searchsorted(self._slot_key, slot * _REPLICA + phases["row"], side="right") - 1
        inside = at >= self._slot_begins[slot]
        found = np.where(
            self._kept[slot, 1] <= phases["row"], self._kept[slot, 1], self._kept[slot, 0]
        )
        found[inside] = self._slot_key[at[inside]] % _REPLICA
        phases["row"] = found
        return phases

    def before_in_replica(self, values: Integers, first: Integers) -> Integers:
        """[row] the value of the replica's step before; ``first[replica]`` of its first one."""
        return _before(values, self._begins, self._ends, first)

    def last_in_replica(self, values: Integers, first: Integers) -> Integers:
        """[replica] the last value; ``first`` without a step."""
        return _last(values, self._begins, self._ends, first)

    def summed_by_replica(self, values: Integers, sums: Integers) -> Integers:
        """[row, column] running sums of each replica, which are continued in ``sums``."""
        return _summed(values, self._replica, self._begins, self._ends, sums)

    def before_in_slot(self, values: Integers, first: Integers) -> Integers:
        """``before_in_replica`` of the slot's steps."""
        found = np.empty_like(values)
        ordered = values[self._by_slot]
        found[self._by_slot] = _before(ordered, self._slot_begins, self._slot_ends, first)
        return found

    def last_in_slot(self, values: Integers, first: Integers) -> Integers:
        """``last_in_replica`` of the slot's steps."""
        return _last(values[self._by_slot], self._slot_begins, self._slot_ends, first)

    def summed_by_slot(self, values: Integers, sums: Integers) -> Integers:
        """``summed_by_replica`` of the slot's steps."""
        if self._stages == 1:
            return _summed(values, self._slot, self._slot_begins, self._slot_ends, sums)
        found = np.empty_like(values)
        found[self._by_slot] = _summed(
            values[self._by_slot], self._slot, self._slot_begins, self._slot_ends, sums
        )
        return found

    def keep_two(self, values: Integers, kept: Integers) -> None:
        """Keep the last two values of each slot in ``kept[slot, 2, column]``, and their numbers."""
        counts = self._slot_ends - self._slot_begins
        one, more = np.flatnonzero(counts == 1), np.flatnonzero(counts > 1)
        for numbers_or_values in (self._kept, kept):
            numbers_or_values[one, 0] = numbers_or_values[one, 1]
        for slots, back, which in ((more, 2, 0), (more, 1, 1), (one, 1, 1)):
            at = self._by_slot[self._slot_ends[slots] - back]
            self._kept[slots, which] = self._number[at]
            kept[slots, which] = values[at]


def _before(values: Integers, begins: Integers, ends: Integers, first: Integers) -> Integers:
    found = np.empty_like(values)
    found[1:] = values[:-1]
    some = ends > begins
    found[begins[some]] = first[some]
    return found


def _last(values: Any, begins: Integers, ends: Integers, first: Integers) -> Integers:
    some = ends > begins
    found = first.copy()
    found[some] = values[ends[some] - 1]
    return found


def _summed(
    values: Integers, group: Integers, begins: Integers, ends: Integers, sums: Integers
) -> Integers:
    """Running sums over the rows of each group, which are contiguous; ``sums`` goes on."""
    found = np.cumsum(values, axis=0)
    some = np.flatnonzero(ends > begins)
    offset = np.zeros_like(sums)
    offset[some] = sums[some] - (found[begins[some]] - values[begins[some]])
    if len(sums) == 1:
        found += offset[0]
    else:
        found += offset[group]
    sums[some] = found[ends[some] - 1]
    return found
