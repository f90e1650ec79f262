"""The loop of two pools and the transfers between them: from requests to times, with logs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from cluster.compiled import announced, prepared
from cluster.disaggregated.kernel.advance import advance_pools
from cluster.disaggregated.kernel.build import build_fabric, build_moves, with_places
from cluster.disaggregated.kernel.state import CROWDED, RUNNING, STUCK, Moves
from cluster.disaggregated.transfer_plan import TransferPlan
from cluster.perf_model.tables import STEP, PriceTables, Records, as_integers
from cluster.replay.kernel.state import State as Fabric
from cluster.serving.engine import begun, check_end, served_of
from cluster.serving.interface import Arrivals, Limits, Served
from cluster.serving.kernel.build import hands_over, takes_over
from cluster.serving.kernel.state import AT_ONCE, BY_LAYER, State
from corsair_common.units import Integers

WINDOW_STEPS = 1 << 12
"""Rows of each pool's log buffer."""

Problem: TypeAlias = tuple[Arrivals, PriceTables, Limits]
OnWindow: TypeAlias = Callable[[int, Records, Records], None]
"""Receives the position of the pool, a window of its log, and the phases (PHASE) that began in it;
it must copy what it stores."""
OnProgress: TypeAlias = Callable[[int, int, int], None]
"""Time, requests done in both pools together, tokens."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PoolsServed:
    """What both pools and the transfers did, one row a request."""

    pools: tuple[Served, Served]
    source: Integers
    """Replica of the prefill pool."""
    target: Integers
    """Replica of the decode pool."""
    pulled_ps: Integers
    """Its blocks were there, so that its KV could begin to move."""
    received_ps: Integers
    sent_bytes: Integers
    alone_ps: Integers
    """Begin of its messages if their bytes are not in ``loads``, else NEVER."""
    bin_ps: int
    loads: Integers
    """[bin, link] bytes"""


def serve_pools(
    problems: tuple[Problem, Problem],
    plan: TransferPlan,
    *,
    most_bins: int,
    on_window: OnWindow,
    on_progress: OnProgress | None = None,
    stepwise: bool = False,
    recording: bool = False,
) -> PoolsServed:
    """Serve requests that both pools accept, by the rules of ``serving/DESIGN.md``.

    With ``stepwise`` every step has a row of the log, and none is repeated in one piece. With
    ``recording`` there are phases.

    Raises ValueError for invalid input, RunTooLongError past 106 simulated days.
    """
    prefill, decode, moves, fabric = build_pools(problems, plan, most_bins)
    prefill.control["recording"] = decode.control["recording"] = recording
    if stepwise:
        prefill.control["repeating"] = decode.control["repeating"] = 0
    moves.control["repeating"] = decode.control["repeating"]
    logs = np.zeros(WINDOW_STEPS, STEP), np.zeros(WINDOW_STEPS, STEP)
    columns = as_integers(logs[0]), as_integers(logs[1])
    control = moves.control[0]
    control["status"] = RUNNING
    with announced():
        step = prepared(advance_pools, prefill, decode, moves, fabric, logs, columns)
    while control["status"] == RUNNING:
        with announced():
            step()
        for pool, state in enumerate((prefill, decode)):
            name = ("prefill_rows", "decode_rows")[pool]
            # a log that is not full goes on: accounts cost by the window
            if control["status"] != RUNNING or _is_full(state, control[name]):
                phases = state.phases[: state.control[0]["phases"]]
                on_window(pool, logs[pool][: control[name]], phases)
                control[name] = state.control[0]["phases"] = 0
        if control["status"] == CROWDED:
            moves, fabric = _with_more_places(moves, fabric, plan)
            step = prepared(advance_pools, prefill, decode, moves, fabric, logs, columns)
            control["status"] = RUNNING
        if on_progress is not None:
            on_progress(*_progress((prefill, decode)))
    _check_end((prefill, decode), moves)
    return _served((prefill, decode), moves, fabric)


def build_pools(
    problems: tuple[Problem, Problem], plan: TransferPlan, most_bins: int
) -> tuple[State, State, Moves, Fabric]:
    """Everything before the first event."""
    prefill, decode = begun(*problems[0]), begun(*problems[1])
    prefill = hands_over(prefill, problems[0][2], BY_LAYER if plan.layerwise else AT_ONCE)
    replicas = len(prefill.replicas), len(decode.replicas)
    moves = build_moves(plan, replicas)
    return prefill, takes_over(decode), moves, build_fabric(plan, most_bins)


def _is_full(state: State, rows: int) -> bool:
    """Whether a pool can write no further step."""
    control = state.control[0]
    return bool(
        rows == WINDOW_STEPS or control["phases"] + 4 * control["max_num_seqs"] > len(state.phases)
    )


def _with_more_places(moves: Moves, fabric: Fabric, plan: TransferPlan) -> tuple[Moves, Fabric]:
    places, sendings = (
        np.concatenate([each, np.zeros_like(each)]) for each in (moves.places, moves.sendings)
    )
    return (
        moves._replace(places=places, sendings=sendings),
        with_places(fabric, plan, len(places)),
    )


def _progress(pools: Sequence[State]) -> tuple[int, int, int]:
    of = [pool.control[0] for pool in pools]
    return (
        max(int(each["now_ps"]) for each in of),
        sum(int(each["done"]) for each in of),
        sum(int(each["tokens"]) for each in of),
    )


def _check_end(pools: tuple[State, State], moves: Moves) -> None:
    """Raise if the run has stopped before its end."""
    for pool in pools:
        check_end(pool)
    if moves.control[0]["status"] == STUCK:
        done = [int(pool.control[0]["done"]) for pool in pools]
        raise RuntimeError(
            f"nothing advances with {done[0]} prefills and {done[1]} of {len(moves.requests)} "
            "requests done: a fault of the engine, please report it"
        )


def _served(pools: tuple[State, State], moves: Moves, fabric: Fabric) -> PoolsServed:
    requests = moves.requests

    def column(name: str) -> Integers:
        return np.ascontiguousarray(requests[name])

    return PoolsServed(
        pools=(served_of(pools[0], spent=True), served_of(pools[1], spent=True)),
        source=column("source"),
        target=column("target"),
        pulled_ps=column("pulled_ps"),
        received_ps=column("received_ps"),
        sent_bytes=column("sent_bytes"),
        alone_ps=column("origin_ps"),
        bin_ps=int(fabric.control["bin_ps"][0]),
        loads=fabric.loads,
    )
