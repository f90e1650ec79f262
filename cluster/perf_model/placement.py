"""Places the ranks of a plan: each tensor group in the tightest level with room."""

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
    free = np.zeros(total, np.bool_)
    free[usable] = True
    cards = np.empty((count * pipeline_parallel_size, tensor_parallel_size), np.int32)
    for group in cards:
        group[:] = _tightest(levels, order, free, tensor_parallel_size)
        free[group] = False
    return cards.reshape(count, pipeline_parallel_size, tensor_parallel_size)


def _levels(routes: RouteTables) -> list[npt.NDArray[np.int64]]:
    """Per level, the unit of each card; the tightest first."""
    return [np.asarray(unit).astype(np.int64) for _, unit in routes.levels]


def _tightest(
    levels: list[npt.NDArray[np.int64]],
    order: npt.NDArray[np.int64],
    free: npt.NDArray[np.bool_],
    size: int,
) -> npt.NDArray[np.int64]:
    """Return the first ``size`` free cards of the first unit with enough, level by level."""
    candidates = order[free[order]]
    for unit in levels:
        place_of = unit[candidates]
        roomy = np.bincount(place_of)[place_of] >= size
        if roomy.any():
            chosen: npt.NDArray[np.int64] = candidates[place_of == place_of[np.argmax(roomy)]]
            return chosen[:size]
    raise PlacementError(f"no {size} cards are free")
