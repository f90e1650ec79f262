"""The serving engine's entry point: from requests and prices to times, with an observer."""

import time
from typing import ClassVar

import numpy as np

from cluster.compiled import announced, prepared
from cluster.perf_model.tables import STEP, PriceTables, as_integers
from cluster.serving.check import check_arrivals, check_limits, check_prices
from cluster.serving.interface import Arrivals, Limits, Observer, OnLog, OnSteps, Served
from cluster.serving.kernel.advance import advance
from cluster.serving.kernel.build import build
from cluster.serving.kernel.state import LATE, RUNNING, STUCK, State
from corsair_common.pages import release
from corsair_common.units import NEVER, PS_PER_DAY

WINDOW_STEPS = 1 << 12
"""Rows of the log buffer: a megabyte fits a core's own cache."""
WINDOW_S = 0.05
COPIED = (
    "arrival_ps", "first_scheduled_ps", "first_token_ps", "finish_ps", "replica", "slot",
    "preemptions", "cached_tokens", "status",
)  # fmt: skip
"""Columns of requests that a run returns."""
ROWS_AT_ONCE = 1 << 15
"""Requests that are copied together."""


class RunTooLongError(RuntimeError):
    """The run would pass the end of int64 picoseconds."""

    exit_code: ClassVar[int] = 3


def serve(
    arrivals: Arrivals,
    prices: PriceTables,
    limits: Limits,
    *,
    observer: Observer | None = None,
    on_steps: OnSteps | None = None,
    on_cycles: OnSteps | None = None,
    on_log: OnLog | None = None,
) -> Served:
    """Serve ``arrivals`` as specified in DESIGN.md.

    ``on_cycles`` receives the log as it is written, with cycles that repeat in one piece;
    ``on_steps`` every step, which are then run one by one; ``on_log`` is given the log as written
    and the phases that began in it.

    Raises ValueError for invalid input, RunTooLongError past 106 simulated days.
    """
    state = begun(arrivals, prices, limits)
    if observer is not None:
        observer.started(len(state.requests))
    run(
        state,
        observer=observer,
        on_steps=on_steps,
        on_cycles=on_cycles,
        on_log=on_log,
    )
    if observer is not None:
        observer.finished()
    return served_of(state, spent=True)


def begun(arrivals: Arrivals, prices: PriceTables, limits: Limits) -> State:
    """Check the input, and return the state before the first event."""
    check_limits(limits)
    check_prices(prices, limits)
    check_arrivals(arrivals, limits, prices.replicas)
    return build(arrivals, prices, limits)


def run(
    state: State,
    *,
    observer: Observer | None = None,
    on_steps: OnSteps | None = None,
    on_cycles: OnSteps | None = None,
    on_log: OnLog | None = None,
    window_steps: int = WINDOW_STEPS,
) -> None:
    """Advance ``state`` to its end in windows of at most ``window_steps`` steps and about 50 ms."""
    log = np.zeros(window_steps, STEP)
    columns = as_integers(log)
    control = state.control[0]
    steps = min(window_steps, 256)
    control["recording"] = on_log is not None
    if on_steps is not None:  # the order of steps of several replicas hangs on no window
        control["repeating"] = 0
    with announced():
        step = prepared(advance, state)
        step(log[:0], columns[:0])  # compiled or loaded here, outside the first window's time
    while control["status"] == RUNNING:
        began_s = time.perf_counter()
        rows = step(log[:steps], columns[:steps])
        steps = _next_window(steps, window_steps, time.perf_counter() - began_s)
        if on_cycles is not None and rows > 0:
            on_cycles(log[:rows])
        if on_steps is not None and rows > 0:
            on_steps(log[:rows])
        if on_log is not None:
            on_log(log[:rows], state.phases[: control["phases"]])
        control["phases"] = 0
        if observer is not None:
            now_ps, done, tokens = (int(control[name]) for name in ("now_ps", "done", "tokens"))
            observer.advanced(now_ps, done, tokens)
    check_end(state)


def _next_window(steps: int, most: int, took_s: float) -> int:
    """More steps after a short window, fewer after a long one."""
    if took_s > 2 * WINDOW_S:
        return max(1, steps // 2)
    return min(most, 2 * steps) if took_s < WINDOW_S else steps


def check_end(state: State) -> None:
    """Raise if a run has stopped before its end."""
    control = state.control[0]
    day = int(control["now_ps"]) / PS_PER_DAY
    if control["status"] == LATE:
        raise RunTooLongError(
            f"on day {day:.1f} of simulated time {control['done']} of {control['requests']} "
            "requests are done; a run may last 106 days: use fewer requests or more cards"
        )
    if control["status"] == STUCK:
        raise RuntimeError(
            f"nothing advances on day {day:.6f} of simulated time with {control['done']} of "
            f"{control['requests']} requests done: a fault of the engine, please report it"
        )


def served_of(state: State, *, spent: bool = False) -> Served:
    """Copy the requests' columns out of a finished state.

    A ``spent`` state gives the memory of its requests back meanwhile, and has none of them after.
    """
    count = len(state.requests)
    columns = {name: np.empty(count, np.int64) for name in COPIED}
    for first in range(0, count, ROWS_AT_ONCE):
        rows = state.requests[first : first + ROWS_AT_ONCE]
        for name, column in columns.items():
            column[first : first + len(rows)] = rows[name]
        if spent:
            release(state.requests, first + len(rows))
    columns["slot"][columns["replica"] == NEVER] = NEVER
    return Served(
        **columns,
        itl_count=state.itl_count,
        end_ps=int(state.control["end_ps"][0]),
        accepted_count=state.accepted_count,
        draft_tokens=int(state.control["draft_tokens"][0]),
    )
