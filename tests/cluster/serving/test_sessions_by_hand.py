"""Sessions that can be followed with a pencil, on both engines."""

from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

import numpy as np
import pytest

from benchmarks.routing import MOONCAKE, endless, spread
from cluster.perf_model.tables import PriceTables
from cluster.scenario.routers import Router
from cluster.serving.interface import Arrivals, Limits, Served
from corsair_common.names import Status
from workloads.trace import read_trace

Engine: TypeAlias = Callable[..., Served]
ConstantTables: TypeAlias = Callable[..., PriceTables]
MakeArrivals: TypeAlias = Callable[..., Arrivals]


def chained(arrivals: Arrivals, previous: list[int], delay_ps: list[int]) -> Arrivals:
    return replace(arrivals, previous=np.array(previous), delay_ps=np.array(delay_ps))


def test_a_turn_arrives_its_delay_after_the_answer_and_computes_only_what_is_new(
    engine: Engine, constant_tables: ConstantTables, make_arrivals: MakeArrivals, roomy: Limits
) -> None:
    # A step lasts 10, a block has 2 tokens. The first turn (4 and 3 tokens) arrives at 0 and ends
    # after 3 steps; its blocks are 0 1 (prompt) and 2 (two of its answer; the last has no KV). The
    # second (10 tokens) comes 7 later and finds 6 of them; the third (14) comes 100 after that one
    # and finds the 10 + 3 - 1 tokens with KV: six blocks.
    arrivals = chained(
        make_arrivals(
            (0, 4, 3),
            (0, 10, 3),
            (0, 14, 1),
            keys=((0, 1, 2), (0, 1, 2, 3, 4, 5), (0, 1, 2, 3, 4, 5)),
        ),
        [-1, 0, 1],
        [0, 7, 100],
    )

    served = engine(arrivals, constant_tables(stage_ps=[10]), replace(roomy, prefix_caching=True))

    assert served.arrival_ps.tolist() == [0, 30 + 7, 67 + 100]
    assert served.finish_ps.tolist() == [30, 67, 177]
    assert served.cached_tokens.tolist() == [0, 6, 12]


def test_sessions_are_open_to_one_another_and_a_turn_never_arrives_before_its_own_time(
    engine: Engine, constant_tables: ConstantTables, make_arrivals: MakeArrivals, roomy: Limits
) -> None:
    # Session A: requests 0, 1; B: 2, 3. One request runs at a time, a step lasts 10.
    #   0 (at 0, 2 tokens out) runs 0-20; 2 (at 5, 1 out) runs 20-30; 1 is due at 20 + 1 = 21 but
    #   arrives at 50, its own time, when 3, due at 30, has run 30-40. 1 runs 50-60.
    arrivals = chained(
        make_arrivals((0, 2, 2), (5, 2, 1), (30, 2, 1), (50, 2, 1)), [-1, -1, 1, 0], [0, 0, 0, 1]
    )

    served = engine(arrivals, constant_tables(stage_ps=[10]), replace(roomy, max_num_seqs=1))

    assert served.arrival_ps.tolist() == [0, 5, 30, 50]
    assert served.finish_ps.tolist() == [20, 30, 40, 60]


def test_the_queue_is_in_the_order_of_arrival_not_of_rows(
    engine: Engine, constant_tables: ConstantTables, make_arrivals: MakeArrivals, roomy: Limits
) -> None:
    # Request 1 follows 0 and is due at 10 + 25 = 35; 2 runs 20-50, 3 arrives at 31.
    arrivals = chained(
        make_arrivals((0, 2, 1), (0, 2, 1), (20, 2, 3), (31, 2, 1)), [-1, 0, -1, -1], [0, 25, 0, 0]
    )

    served = engine(arrivals, constant_tables(stage_ps=[10]), replace(roomy, max_num_seqs=1))

    assert served.arrival_ps.tolist() == [0, 35, 20, 31]
    assert served.finish_ps.tolist() == [10, 70, 50, 60]


def test_a_refused_turn_ends_at_once_and_its_session_goes_on(
    engine: Engine, constant_tables: ConstantTables, make_arrivals: MakeArrivals, roomy: Limits
) -> None:
    arrivals = chained(make_arrivals((0, 2, 1), (0, 2000, 1), (0, 2, 1)), [-1, 0, 1], [0, 5, 30])

    served = engine(arrivals, constant_tables(stage_ps=[10]), roomy)

    assert served.status.tolist() == [Status.COMPLETED, Status.TOO_LONG, Status.COMPLETED]
    assert served.arrival_ps.tolist() == [0, 15, 45]


@pytest.mark.parametrize(
    ("router", "replicas", "cached"),
    [
        # A turn of 4 and 4 tokens leaves 7 with KV, 3 full blocks; one of 12 and 4 leaves 15, 7
        # blocks. The next turn finds them at the same replica ...
        ("session_affinity", [0, 1, 0, 1, 0, 1], [0, 0, 6, 6, 14, 14]),
        # ... and round robin over three replicas sends no turn of two sessions there.
        ("round_robin", [0, 1, 2, 0, 1, 2], [0, 0, 0, 0, 0, 0]),
        ("kv_overlap", [0, 1, 0, 1, 0, 1], [0, 0, 6, 6, 14, 14]),
    ],
)
def test_affinity_finds_every_history_and_round_robin_none(
    engine: Engine,
    constant_tables: ConstantTables,
    make_arrivals: MakeArrivals,
    roomy: Limits,
    router: str,
    replicas: list[int],
    cached: list[int],
) -> None:
    # Prompts of 4, 12 and 20 tokens, answers of 4; blocks of 2 tokens. B arrives 1 later.
    first = (0, 1, 2), (0, 1, 2, 3, 4, 5, 6), tuple(range(7))
    keys = tuple(
        tuple(10 * session + key for key in turn) for turn in first for session in range(2)
    )
    arrivals = chained(
        make_arrivals(
            (0, 4, 4), (1, 4, 4), (2, 12, 4), (3, 12, 4), (4, 20, 4), (5, 20, 4), keys=keys
        ),
        [-1, -1, 0, 1, 2, 3],
        [0, 0, 9, 9, 9, 9],
    )
    arrivals = replace(arrivals, router_choice=np.array([0, 1, 0, 1, 0, 1]))
    limits = replace(roomy, router=router, prefix_caching=True)
    count = 3 if router == "round_robin" else 2

    served = engine(arrivals, constant_tables(stage_ps=[10], replicas=count), limits)

    assert served.replica.tolist() == replicas
    assert served.cached_tokens.tolist() == cached


@pytest.mark.skipif(not MOONCAKE.is_file(), reason="the trace is not beside the project")
def test_on_eight_endless_caches_round_robin_finds_a_seventh_and_a_scorer_all_but_a_little() -> (
    None
):
    # Of Mooncake's full prompt blocks of 64 tokens one endless cache would find 37.5 %.
    requests = spread(read_trace(MOONCAKE))
    blocks = int((requests.prompt_tokens // 64).sum())

    def hits(router: Router) -> float:
        return round(
            int(endless(requests, router, 10_000, 1 / 8).cached_tokens.sum()) / 64 / blocks, 3
        )

    assert hits("round_robin") == 0.139
    assert hits("weighted_scorers") == 0.371
