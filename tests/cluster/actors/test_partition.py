from dataclasses import fields, replace
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.actors.partition import Part, independent_parts, joined, prices_of
from cluster.actors.worker import PartRun
from cluster.perf_model.collectives import CARD_TIERS
from cluster.perf_model.devices.dimc import PARTS
from cluster.perf_model.devices.dimc.counters import COUNTS
from cluster.perf_model.energy.coefficients import Joules
from cluster.perf_model.tables import STEP, PriceTables, Records, expanded
from cluster.serving.engine import serve
from cluster.serving.interface import Arrivals, Limits, Served
from corsair_common.units import NEVER
from topology.route import LEVELS


def run_apart(part: Part, problem: Any, rows: int) -> tuple[Served, list[Records]]:
    arrivals, tables, limits = problem
    run, windows = PartRun(part, tables, arrivals, free(tables), limits), []
    while True:
        progress, window = run.advance(rows)
        windows.append(window)
        if progress.result is not None:
            return progress.result[0], windows


def of_one_replica_each(arrivals: Arrivals) -> Arrivals:
    """Every turn goes where its session's first one goes."""
    choice = arrivals.router_choice.copy()
    for turn, before in enumerate(arrivals.previous.tolist()):
        if before != NEVER:
            choice[turn] = choice[before]
    return replace(arrivals, router_choice=choice)


def free(tables: PriceTables) -> Joules:
    """Nothing costs energy."""
    tiers = len((*CARD_TIERS, *LEVELS)) + 1
    return Joules(
        parts=PARTS,
        count_j=np.zeros((len(COUNTS), len(PARTS))),
        link_j=np.zeros((tables.replicas, tables.stages, tiers, len(PARTS))),
        static_w=0.0,
        cards_per_stage=1,
    )


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_replicas_run_apart_give_the_run_of_the_whole(
    data: st.DataObject, serving_problems: Any, run_and_log: Any
) -> None:
    arrivals, tables, limits = data.draw(serving_problems)
    router = data.draw(st.sampled_from(["round_robin", "random", "session_affinity"]))
    limits = replace(limits, router=router, concurrency=0)
    if router == "session_affinity":
        arrivals = of_one_replica_each(arrivals)
    else:
        arrivals = replace(arrivals, previous=np.zeros(0, np.int64))
    whole, log = run_and_log(serve, (arrivals, tables, limits))

    parts = independent_parts(arrivals, limits, tables.replicas)
    rows = data.draw(st.sampled_from([1, 7, 1000]))
    runs = [run_apart(part, (arrivals, tables, limits), rows) for part in parts]
    served = joined(parts, [served for served, _ in runs], arrivals)
    for field in fields(Served):
        one, other = getattr(whole, field.name), getattr(served, field.name)
        assert np.array_equal(one, other), field.name
    windows = [window for _, windows in runs for window in windows]
    assert len(parts) == tables.replicas
    assert np.array_equal(expanded(np.concatenate([np.zeros(0, STEP), *windows])), log)


def few(count: int = 6) -> Arrivals:
    return Arrivals(
        arrival_ps=np.arange(count) * 10,
        prompt_tokens=np.full(count, 5),
        output_tokens=np.full(count, 2),
        router_choice=np.array([1, 1, 0, 2, 0, 1])[:count],
        key_offsets=np.zeros(count + 1, np.int64),
        keys=np.empty(0, np.int64),
        key_count=0,
    )


LIMITS = Limits(
    max_num_seqs=4,
    max_num_batched_tokens=8,
    block_size=4,
    blocks=100,
    max_model_len=100,
    router="round_robin",
)


def requests_of(arrivals: Arrivals, limits: Limits, replicas: int = 3) -> list[list[int]]:
    parts = independent_parts(arrivals, limits, replicas)
    return [part.requests.tolist() for part in parts]


def test_round_robin_deals_the_requests_out() -> None:
    assert requests_of(few(), LIMITS) == [[0, 3], [1, 4], [2, 5]]


def test_refused_requests_do_not_move_the_pointer_and_go_with_the_first_part() -> None:
    arrivals = replace(few(), prompt_tokens=np.array([5, 99, 5, 5, 5, 5]))

    assert requests_of(arrivals, LIMITS) == [[0, 1, 4], [2, 5], [3]]


def test_random_follows_the_draws() -> None:
    assert requests_of(few(), replace(LIMITS, router="random")) == [[2, 4], [0, 1, 5], [3]]


def test_routers_that_look_at_replicas_and_closed_loops_are_one_part() -> None:
    everything = [[0, 1, 2, 3, 4, 5]]

    assert requests_of(few(), replace(LIMITS, router="least_kv")) == everything
    assert requests_of(few(), replace(LIMITS, router="least_outstanding")) == everything
    assert requests_of(few(), replace(LIMITS, concurrency=2)) == everything
    turns = replace(few(), previous=np.array([-1, 0, -1, 0, -1, -1]), delay_ps=np.zeros(6, int))
    assert requests_of(turns, replace(LIMITS, router="random")) == everything


@given(data=st.data())
def test_the_prices_of_some_replicas_are_those_of_the_whole(
    data: st.DataObject, serving_problems: Any
) -> None:
    _, tables, _ = data.draw(serving_problems)
    chosen = data.draw(st.lists(st.integers(0, tables.replicas - 1), min_size=1, unique=True))
    own = prices_of(tables, np.array(chosen))

    for local, replica in enumerate(chosen):
        for stage in range(tables.stages):
            mine, whole = own.stage_class[local, stage], tables.stage_class[replica, stage]
            assert np.array_equal(own.linear_ps[mine], tables.linear_ps[whole])
            assert np.array_equal(own.attention[mine], tables.attention[whole])
        assert own.return_ps[local] == tables.return_ps[replica]
    assert own.linear_ps.flags.writeable
