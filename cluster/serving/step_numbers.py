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

    def add(self, steps: Records) -> None:
        """Go on to the next window."""
        replicas, stages = len(self.known), self._stages
        replica, slot = steps["replica"], steps["replica"] * stages + steps["slot"]
        same = np.arange(len(steps))
        self.by_replica = np.argsort(replica, kind="stable") if replicas > 1 else same
        """Steps of the window, replica by replica: the order of rows."""
        self.by_slot = np.argsort(slot, kind="stable") if stages > 1 else self.by_replica
        """Slot by slot: the order of places."""
        self.place = same
        """[row] its place."""
        if stages > 1:
            inverse = np.empty_like(same)
            inverse[self.by_slot] = same
            self.place = inverse[self.by_replica]
        replica, slot = replica[self.by_replica], slot[self.by_slot]
        self.replica = replica
        """[row]"""
        self._begins, self._ends = _edges(replica, replicas)
        self._slot_begins, self._slot_ends = _edges(slot, replicas * stages)
        number = self._numbered(steps, replica)
        self._key = replica * _REPLICA + number
        by_place = number
        if stages > 1:
            by_place = np.empty_like(number)
            by_place[self.place] = number
        self._number, self._slot_key = by_place, slot * _REPLICA + by_place

    def _numbered(self, steps: Records, replica: Integers) -> Integers:
        """[row] the number of each step; of a cycle that repeats that of its first time."""
        more = steps["more"][self.by_replica]
        if not more.any():
            counts = self._ends - self._begins
            first = self.known - self._begins
            self.known += counts
            found: Integers = first[replica] + np.arange(len(steps))
            return found
        following = steps["followers"][self.by_replica] == 0
        cycle = np.cumsum(following) - following
        heads = np.flatnonzero(np.diff(cycle, prepend=-1))
        counts = 1 + more
        before = np.append(np.cumsum(counts) - counts, counts.sum())
        first = self.known - before[self._begins]
        self.known += before[self._ends] - before[self._begins]
        number: Integers = first[replica] + before[heads][cycle]
        number += np.arange(len(steps)) - heads[cycle]
        return number

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
        return _summed(values, self._begins, self._ends, sums)

    def summed_rows(
        self, rows: Integers, values: Integers, sums: Integers
    ) -> tuple[Integers, Integers]:
        """[n, column] the same over these rows alone, and [replica] where those of each begin."""
        begins, ends = (np.searchsorted(rows, edges) for edges in (self._begins, self._ends))
        return _summed(values, begins, ends, sums), begins

    def before_in_slot(self, values: Integers, first: Integers) -> Integers:
        """[place] the value of the slot's step before; ``first[slot]`` of its first one."""
        return _before(values, self._slot_begins, self._slot_ends, first)

    def last_in_slot(self, values: Integers, first: Integers) -> Integers:
        """[slot] the last value; ``first`` without a step."""
        return _last(values, self._slot_begins, self._slot_ends, first)

    def sum_by_slot(self, values: Integers, sums: Integers) -> Integers:
        """[place, column] ``summed_by_replica`` of each slot."""
        return _summed(values, self._slot_begins, self._slot_ends, sums)

    def keep_two(self, values: Integers, kept: Integers) -> None:
        """Keep the last two values of each slot in ``kept[slot, 2, column]``, and their numbers."""
        counts = self._slot_ends - self._slot_begins
        one, more = np.flatnonzero(counts == 1), np.flatnonzero(counts > 1)
        for numbers_or_values in (self._kept, kept):
            numbers_or_values[one, 0] = numbers_or_values[one, 1]
        for slots, back, which in ((more, 2, 0), (more, 1, 1), (one, 1, 1)):
            at = self._slot_ends[slots] - back
            self._kept[slots, which] = self._number[at]
            kept[slots, which] = values[at]


def _edges(group: Integers, groups: int) -> tuple[Integers, Integers]:
    """Where the rows of each group begin and end; they are contiguous and in order."""
    edges = np.searchsorted(group, np.arange(groups + 1))
    return edges[:-1], edges[1:]


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


def _summed(values: Integers, begins: Integers, ends: Integers, sums: Integers) -> Integers:
    """Running sums over the rows of each group, in place of ``values``; ``sums`` goes on."""
    some = np.flatnonzero(ends > begins)
    if len(some):  # each group begins with its own sum, less that of the one before
        last = np.add.reduceat(values, begins[some], axis=0)
        last += sums[some]
        values[begins[some]] += sums[some]
        values[begins[some[1:]]] -= last[:-1]
        np.cumsum(values, axis=0, out=values)
        sums[some] = last
    return values
