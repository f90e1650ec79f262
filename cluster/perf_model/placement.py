"""Places the ranks of a plan: each tensor group in the tightest level with room."""

from collections import Counter
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from cluster.perf_model.protocols import RouteTables


class PlacementError(ValueError):
    """The plan needs more cards than the cluster has."""

    exit_code: ClassVar[int] = 3


def place(
    routes: RouteTables,
    *,
    tensor_parallel_size: int,
    pipeline_parallel_size: int,
    replicas: int | str = "auto",
    within: range | None = None,
) -> npt.NDArray[np.int32]:
    """[replica, stage, position] card of every rank; ``auto`` places as many replicas as fit.

    Groups are placed in sequence, stage by stage, replica by replica. Each is in the tightest level
    (pair, PCIe switch, server, rack, cluster) with a unit of enough free cards, and in the first
    such unit, so that stages are consecutive in the topology and replicas fill servers in order.
    ``within`` are the cards that may be used (None: all).

    Raises
    ------
    PlacementError
        There are too few cards.
    """
    total = len(routes.card_id)
    usable = range(total) if within is None else within
    available = len(usable)
    per_replica = tensor_parallel_size * pipeline_parallel_size
    if not per_replica >= 1:
        raise PlacementError(
            "tensor_parallel_size and pipeline_parallel_size are at least 1, got"
            f" {tensor_parallel_size} and {pipeline_parallel_size}"
        )
    count = available // per_replica if replicas == "auto" else int(replicas)
    if not 1 <= count <= available // per_replica:
        raise PlacementError(
            f"the plan needs {max(count, 1) * per_replica} cards ({max(count, 1)} x"
            f" pipeline_parallel_size {pipeline_parallel_size} x tensor_parallel_size"
            f" {tensor_parallel_size}), the {'cluster' if within is None else 'pool'} has"
            f" {available}"
        )
    levels = _levels(routes)
    order = np.lexsort(np.stack([np.arange(total), *levels[:-1]]))
    usable_order = order[np.isin(order, usable)]
    groups = _Groups([unit[usable_order].tolist() for unit in levels], tensor_parallel_size)
    places = [groups.next() for _ in range(count * pipeline_parallel_size)]
    cards: npt.NDArray[np.int32] = usable_order[np.array(places)].astype(np.int32)
    return cards.reshape(count, pipeline_parallel_size, tensor_parallel_size)


def _levels(routes: RouteTables) -> list[npt.NDArray[np.int64]]:
    """Per level, the unit of each card; the tightest first."""
    return [np.asarray(unit).astype(np.int64) for _, unit in routes.levels]


class _Groups:
    """Takes groups of ``size`` free cards, each from the first unit with enough, level by level.

    Cards are places in an order. Units only lose free cards, so what was passed over at a level
    once is never looked at again: the work grows with the cards.
    """

    def __init__(self, levels: Sequence[list[int]], size: int) -> None:
        """``levels[level][place]`` is the unit of each card."""
        self._levels = levels
        self._size = size
        self._free = [True] * len(levels[0])
        self._room = [Counter(units) for units in levels]
        """Free cards of each unit."""
        self._passed = [0] * len(levels)
        """Places before which no card is free in a unit with room."""
        self._members: list[dict[int, list[int]]] = [{} for _ in levels]
        for units, members in zip(levels, self._members, strict=True):
            for place, unit in enumerate(units):
                members.setdefault(unit, []).append(place)

    def next(self) -> list[int]:
        for level, units in enumerate(self._levels):
            place = self._first(level)
            if place < len(units):
                return self._take(level, units[place])
        raise PlacementError(f"no {self._size} cards are free")

    def _first(self, level: int) -> int:
        """The first free card in a unit with room."""
        units, room, place = self._levels[level], self._room[level], self._passed[level]
        while place < len(units) and not (self._free[place] and room[units[place]] >= self._size):
            place += 1
        self._passed[level] = place
        return place

    def _take(self, level: int, unit: int) -> list[int]:
        free = [place for place in self._members[level][unit] if self._free[place]]
        self._members[level][unit] = free[self._size :]
        for place in free[: self._size]:
            self._free[place] = False
            for units, room in zip(self._levels, self._room, strict=True):
                room[units[place]] -= 1
        return free[: self._size]
