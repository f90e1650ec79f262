"""The replay engine's entry point: operations and transfers in, times and link loads out."""

import time

import numpy as np

from cluster.compiled import announced
from cluster.perf_model.collectives import Transfers
from cluster.replay.check import check_operations, check_transfers
from cluster.replay.deadlock import explain
from cluster.replay.interface import (
    MOST_BINS,
    DeadlockError,
    Observer,
    Operations,
    Replayed,
    ReplayError,
    RunTooLongError,
)
from cluster.replay.kernel.advance import advance
from cluster.replay.kernel.build import build
from cluster.replay.kernel.state import ENDED, LATE, RUNNING, STUCK, THERE, State
from cluster.replay.loop_unroll import alike, written_out
from cluster.replay.matching import MatchedCalls, pair

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
        day = int(control["now_ps"]) / (86_400 * 10**12)
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
