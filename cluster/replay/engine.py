"""The replay engine's entry point: operations and transfers in, times and link loads out."""

import time

import numpy as np
import numpy.typing as npt

from cluster.compiled import announced
from cluster.perf_model.collectives import FULL, FabricError, Transfers
from cluster.replay.deadlock import explain
from cluster.replay.interface import (
    MOST_BINS,
    DeadlockError,
    Kind,
    Observer,
    Operations,
    Replayed,
    ReplayError,
    RunTooLongError,
)
from cluster.replay.kernel.advance import advance
from cluster.replay.kernel.build import build
from cluster.replay.kernel.state import ENDED, LATE, LONGEST_PS, RUNNING, STUCK, THERE, State
from cluster.replay.loop_unroll import alike, written_out
from cluster.replay.matching import MatchedCalls, pair
from corsair_common.units import PS_PER_DAY, Integers

WINDOW_EVENTS = 1 << 18
WINDOW_S = 0.05


def replay(
    operations: Operations,
    transfers: Transfers,
    *,
    contended: bool = True,
    most_bins: int = MOST_BINS,
    observer: Observer | None = None,
) -> Replayed:
    """Run ``operations`` by the rules of DESIGN.md.

    Raises
    ------
    ReplayError, FabricError
        Invalid input, or repeats whose calls match differently.
    DeadlockError
        The operations deadlock.
    RunTooLongError
        More than 106 simulated days.
    """
    check_transfers(transfers)
    check_operations(operations, transfers, most_bins)
    matched_calls = pair(operations)
    if operations.repeats > 1 and not alike(matched_calls):
        raise ReplayError("calls of one repeat match those of another: expand the repeats")
    state = build(operations, matched_calls, transfers, contended=contended, most_bins=most_bins)
    if observer is not None:
        observer.started(operations.total)
    run(state, observer=observer)
    _check_end(state, operations)
    if observer is not None:
        observer.finished()
    return _replayed(state, matched_calls)


def run(
    state: State, *, observer: Observer | None = None, window_events: int = WINDOW_EVENTS
) -> None:
    """Advance ``state`` to its end in windows of at most ``window_events`` and about 50 ms."""
    control = state.control[0]
    events = min(window_events, 4096)
    with announced():
        advance(state, 0)  # compiled or loaded here, outside the first window's time
    while control["status"] == RUNNING:
        began_s = time.perf_counter()
        advance(state, events)
        events = _next_window(events, window_events, time.perf_counter() - began_s)
        if observer is not None:
            observer.advanced(int(control["now_ps"]), int(control["done"]))


def _next_window(events: int, most: int, took_s: float) -> int:
    """More events after a short window, fewer after a long one."""
    if took_s > 2 * WINDOW_S:
        return max(1, events // 2)
    return min(most, 2 * events) if took_s < WINDOW_S else events


def _check_end(state: State, operations: Operations) -> None:
    control = state.control[0]
    if control["status"] == LATE:
        day = int(control["now_ps"]) / PS_PER_DAY
        raise RunTooLongError(
            f"on day {day:.1f} of simulated time {control['done']} of {control['operations']} "
            "operations are done; a run may last 106 days: replay fewer operations"
        )
    if control["status"] == STUCK:
        whole = written_out(operations)
        seen = state.seen
        raise DeadlockError(explain(whole, pair(whole), seen == THERE, seen == ENDED))


def _replayed(state: State, matched_calls: MatchedCalls) -> Replayed:
    end_ps = int(state.control["end_ps"][0])
    bin_ps, loads = int(state.control["bin_ps"][0]), state.loads
    while end_ps > len(loads) * bin_ps:
        joined = loads[0::2] + loads[1::2]
        loads = np.concatenate([joined, np.zeros_like(joined)])
        bin_ps *= 2
    return Replayed(
        start_ps=state.start_ps,
        end_ps=state.end_ps,
        matched_call=matched_calls.of,
        matched_calls=len(matched_calls),
        begin_ps=np.ascontiguousarray(state.met["begin_ps"]),
        finish_ps=np.ascontiguousarray(state.met["finish_ps"]),
        makespan_ps=end_ps,
        bin_ps=bin_ps,
        load_bytes=loads[: max(1, -(-end_ps // bin_ps))].copy(),
    )


MOST_QUEUES = 1 << 24
"""Ranks times streams; more is certainly a mistake."""
MOST_REPEATS = 1 << 31
MOST_BYTES = 1 << 53
"""Over one resource by one leg: exact as a float64."""


def check_operations(operations: Operations, transfers: Transfers, most_bins: int) -> None:
    """Columns of one length, ranges, and references that exist."""
    if most_bins < 2 or most_bins % 2:
        raise ReplayError(f"most_bins is an even number of at least 2, got {most_bins!r}")
    rows = operations.rows
    names = ("rank", "stream", "kind", "duration_ps", "transfer", "group", "peer", "tag", "passive")
    for name in names:
        _check_column(name, getattr(operations, name), rows)
    _check_range("rank", operations.rank, 0, MOST_QUEUES)
    _check_range("stream", operations.stream, 0, MOST_QUEUES)
    ranks, streams = (
        int(column.max(initial=0)) + 1 for column in (operations.rank, operations.stream)
    )
    if ranks * streams > MOST_QUEUES:
        raise ReplayError(f"{ranks} ranks with {streams} streams each are more than {MOST_QUEUES}")
    _check_range("kind", operations.kind, 0, len(Kind) - 1)
    _check_range("duration_ps", operations.duration_ps, 0, LONGEST_PS)
    _check_range("transfer", operations.transfer, -1, transfers.legs - 1)
    _check_range("passive", operations.passive, 0, 1)
    _check_offsets("dep_offsets", operations.dep_offsets, rows, len(operations.deps))
    _check_column("deps", operations.deps, len(operations.deps))
    _check_range("deps", operations.deps, -rows if operations.repeats > 1 else 0, rows - 1)
    _check_repeats(operations)
    _check_groups(operations)
    _check_kinds(operations, ranks)


def _check_repeats(operations: Operations) -> None:
    repeats, varies, values = operations.repeats, operations.varies, operations.varying_ps
    if not 1 <= repeats <= MOST_REPEATS:
        raise ReplayError(f"repeats are 1 to {MOST_REPEATS}, got {repeats!r}")
    if not len(varies):
        return
    if values.ndim != 2 or len(values) != repeats or values.dtype != np.int64:
        raise ReplayError(
            f"varying_ps must be int64 values for {repeats} repeats, got {values.dtype} of shape "
            f"{values.shape}"
        )
    _check_range("varying_ps", values.ravel(), 0, LONGEST_PS)
    _check_column("varies", varies, operations.rows)
    _check_range("varies", varies, -1, values.shape[1] - 1)


def _check_groups(operations: Operations) -> None:
    groups = max(0, len(operations.group_offsets) - 1)
    offsets, ranks = operations.group_offsets, operations.group_ranks
    _check_column("group_ranks", ranks, len(ranks))
    _check_offsets("group_offsets", offsets, groups, len(ranks))
    falls = np.diff(ranks) <= 0
    falls[offsets[1:-1][(offsets[1:-1] > 0) & (offsets[1:-1] < len(ranks))] - 1] = False
    if falls.any():
        raise ReplayError(f"group_ranks[{int(np.argmax(falls)) + 1}] does not rise in its group")


def _check_kinds(operations: Operations, ranks: int) -> None:
    """What goes with each kind of operation."""
    kind = operations.kind
    work, collective = kind == Kind.WORK, kind == Kind.COLLECTIVE
    between = ~(work | collective)
    groups = len(operations.group_offsets) - 1
    _refuse(work & (operations.transfer >= 0), "is work, which has no transfer", operations)
    _refuse(
        (operations.passive == 1) & ~(collective | (kind == Kind.RECV)),
        "is passive, which only receives and members of collectives can be",
        operations,
    )
    _refuse(
        between & ((operations.peer < 0) | (operations.peer >= MOST_QUEUES)),
        f"needs a peer, a rank of 0 to {ranks - 1}",
        operations,
    )
    _refuse(
        collective & ((operations.group < 0) | (operations.group >= groups)),
        f"needs a group, 0 to {groups - 1}",
        operations,
    )
    rows = np.flatnonzero(collective)
    sizes = np.diff(operations.group_offsets)
    beyond = max(ranks, int(operations.group_ranks.max(initial=0)) + 1)
    known = np.repeat(np.arange(groups), sizes) * beyond + operations.group_ranks
    outside = np.zeros(len(kind), np.bool_)
    outside[rows] = ~np.isin(operations.group[rows] * beyond + operations.rank[rows], known)
    _refuse(outside, "calls a collective of a group to which its rank does not belong", operations)


def _refuse(wrong: npt.NDArray[np.bool_], why: str, operations: Operations) -> None:
    if wrong.any():
        row = int(np.argmax(wrong))
        kind = Kind(int(operations.kind[row])).name.lower()
        raise ReplayError(f"operation {row} ({kind}, rank {operations.rank[row]}) {why}")


def check_transfers(transfers: Transfers) -> None:
    """Every leg can be run: positive work where something is used, shares within FULL."""
    legs, uses = transfers.legs, len(transfers.use_resource)
    for name in ("latency_ps", "work_ps", "then"):
        _check_column(name, getattr(transfers, name), legs, FabricError)
    _check_range("latency_ps", transfers.latency_ps, 0, LONGEST_PS, FabricError)
    _check_range("work_ps", transfers.work_ps, 0, LONGEST_PS, FabricError)
    _check_range("then", transfers.then, -1, legs - 1, FabricError)
    _check_offsets("use_offsets", transfers.use_offsets, legs, uses, FabricError)
    back = (transfers.then >= 0) & (transfers.then <= np.arange(legs))
    if back.any():
        raise FabricError(f"then[{int(np.argmax(back))}] does not lead to a higher leg")
    if (
        len(transfers.peak) != legs
        or not ((transfers.peak > 0) & np.isfinite(transfers.peak)).all()
    ):
        raise FabricError(f"peak must be {legs} positive rates")
    idle = (transfers.work_ps == 0) & (np.diff(transfers.use_offsets) > 0)
    if idle.any():
        raise FabricError(f"leg {int(np.argmax(idle))} uses resources but has no work")
    bounds = {
        "use_resource": (0, transfers.resources - 1),
        "use_share": (1, FULL),
        "use_bytes": (0, MOST_BYTES),
    }
    for name, (least, most) in bounds.items():
        _check_column(name, getattr(transfers, name), uses, FabricError)
        _check_range(name, getattr(transfers, name), least, most, FabricError)
    leg = np.repeat(np.arange(legs), np.diff(transfers.use_offsets))
    falls = (np.diff(transfers.use_resource) <= 0) & (np.diff(leg) == 0)
    if falls.any():
        raise FabricError(f"use_resource[{int(np.argmax(falls)) + 1}] does not rise in its leg")


def _check_column(
    name: str, column: Integers, length: int, error: type[ValueError] = ReplayError
) -> None:
    if column.ndim != 1 or len(column) != length or column.dtype != np.int64:
        raise error(f"{name} must be {length} int64, got {column.dtype} of shape {column.shape}")


def _check_range(
    name: str, column: Integers, least: int, most: int, error: type[ValueError] = ReplayError
) -> None:
    """Every entry within least..most."""
    wrong = (column < least) | (column > most)
    if wrong.any():
        place = int(np.argmax(wrong))
        raise error(f"{name}[{place}] is {column[place]}, allowed is {least} to {most}")


def _check_offsets(
    name: str, offsets: Integers, rows: int, total: int, error: type[ValueError] = ReplayError
) -> None:
    _check_column(name, offsets, rows + 1, error)
    if offsets[0] != 0 or offsets[-1] != total or (np.diff(offsets) < 0).any():
        raise error(f"{name} must rise from 0 to {total}")
