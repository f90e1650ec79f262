"""The loop of two pools and the transfers between them: from requests to times, with logs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from cluster.compiled import announced
from cluster.disaggregated.kernel.advance import advance_pools
from cluster.disaggregated.kernel.build import build_fabric, build_moves, with_places
from cluster.disaggregated.kernel.state import CROWDED, RUNNING, STUCK, Moves
from cluster.disaggregated.transfer_plan import TransferPlan
from cluster.perf_model.tables import STEP, PriceTables, Records, as_integers
from cluster.replay.kernel.state import State as Fabric
from cluster.serving.engine import begun, check_end, served_of
from cluster.serving.interface import Arrivals, Limits, Served
from cluster.serving.kernel.build import hands_over
from cluster.serving.kernel.state import AT_ONCE, BY_LAYER, State
from corsair_common.units import Integers

WINDOW_STEPS = 1 << 12
"""Rows of each pool's log buffer."""

Problem: TypeAlias = tuple[Arrivals, PriceTables, Limits]
OnWindow: TypeAlias = Callable[[int, Records, Records, Integers], None]
"""Receives the position of the pool, a window of its log, and the phases (PHASE) that began in it,
both of which it must copy to store them, and the request of each of the pool's rows so far."""
OnProgress: TypeAlias = Callable[[int, int, int], None]
"""Time, requests done in both pools together, tokens."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PoolsServed:
    """What both pools and the transfers did, one row a request."""

    pools: tuple[Served, Served]
    """Those of the decode pool in the order in which they arrived there."""
    order: Integers
    """[n] the request of each row of the decode pool."""
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
    control, rows = moves.control[0], np.arange(len(moves.requests))
    control["status"] = RUNNING
    while control["status"] == RUNNING:
        with announced():
            advance_pools(prefill, decode, moves, fabric, logs, columns)
        for pool, (name, state) in enumerate((("prefill_rows", prefill), ("decode_rows", decode))):
            phases = state.phases[: state.control[0]["phases"]]
            if control[name] + len(phases) > 0:
                on_window(pool, logs[pool][: control[name]], phases, (rows, moves.order)[pool])
            state.control[0]["phases"] = 0
        if control["status"] == CROWDED:
            moves, fabric = _with_more_places(moves, fabric, plan)
            control["status"] = RUNNING
        if on_progress is not None:
            on_progress(*_progress((prefill, decode)))
    _check_end((prefill, decode), moves)
    return _served((prefill, decode), moves, fabric)


def build_pools(
    problems: tuple[Problem, Problem], plan: TransferPlan, most_bins: int
) -> tuple[State, State, Moves, Fabric]:
    """Everything before the first event."""
    (prompts, _, _), (answers, _, _) = problems
    prefill, decode = begun(*problems[0]), begun(*problems[1])
    prefill = hands_over(prefill, problems[0][2], BY_LAYER if plan.layerwise else AT_ONCE)
    replicas = len(prefill.replicas), len(decode.replicas)
    moves = build_moves(plan, decode.requests.copy(), replicas)
    decode.control["fed"], decode.control["requests"] = 1, 0
    assert len(prompts.prompt_tokens) == len(answers.prompt_tokens)
    return prefill, decode, moves, build_fabric(plan, most_bins)


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
        pools=(served_of(pools[0]), served_of(pools[1])),
        order=moves.order,
        source=column("source"),
        target=column("target"),
        pulled_ps=column("pulled_ps"),
        received_ps=column("received_ps"),
        sent_bytes=column("sent_bytes"),
        alone_ps=column("origin_ps"),
        bin_ps=int(fabric.control["bin_ps"][0]),
        loads=fabric.loads,
    )
