"""Little's law, exactly: the integral of L over time is the sum of all stays, in picoseconds."""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.perf_model.tables import PriceTables, Records
from cluster.serving.engine import serve
from cluster.serving.interface import Arrivals, Limits, Served
from corsair_common.names import Status
from corsair_common.units import Integers

Problem: TypeAlias = tuple[Arrivals, PriceTables, Limits]
RunAndLog: TypeAlias = Callable[[Callable[..., Served], Problem], tuple[Served, Records]]


def time_integral_of_l(arrival_ps: Integers, steps: Records) -> int:
    """Requests in the system, integrated: +1 at an arrival, -finished at the end of a step."""
    times = np.concatenate([arrival_ps, steps["end_ps"]])
    changes = np.concatenate([np.ones_like(arrival_ps), -steps["finished"]])
    order = np.argsort(times, kind="stable")
    inside = np.cumsum(changes[order])

    assert inside.size == 0 or inside[-1] == 0

    return int(inside[:-1] @ np.diff(times[order]))


@settings(max_examples=60, derandomize=True, database=None, deadline=None)
@given(data=st.data())
def test_it_holds_to_the_picosecond_for_any_problem(
    data: st.DataObject,
    serving_problems: st.SearchStrategy[Problem],
    run_and_log: RunAndLog,
) -> None:
    served, steps = run_and_log(serve, data.draw(serving_problems))

    done = served.status == Status.COMPLETED
    arrival_ps, finish_ps = served.arrival_ps[done], served.finish_ps[done]
    assert time_integral_of_l(arrival_ps, steps) == int((finish_ps - arrival_ps).sum())


@pytest.mark.soak
def test_it_holds_to_the_picosecond_for_an_hour_of_chat(
    linear_tables: Callable[[Integers, int], PriceTables], run_and_log: RunAndLog
) -> None:
    # As many requests as the public Azure conversation trace of 2023, with its mean lengths.
    rng = np.random.default_rng(2023)
    n = 19_366
    arrivals = Arrivals(
        arrival_ps=np.sort(rng.integers(0, 3_500 * 10**12, n)),
        prompt_tokens=np.minimum(rng.geometric(1 / 1155, n), 7000),
        output_tokens=np.minimum(rng.geometric(1 / 211, n), 900),
        router_choice=np.zeros(0, np.int64),
        key_offsets=np.zeros(n + 1, np.int64),
        keys=np.zeros(0, np.int64),
        key_count=0,
    )
    linear_ps = np.arange(513) * 4_000_000 + 900_000_000
    linear_ps[0] = 0
    tables = linear_tables(linear_ps, 60)
    limits = Limits(
        max_num_seqs=60,
        max_num_batched_tokens=512,
        block_size=64,
        blocks=2_000,
        max_model_len=8192,
    )

    served, steps = run_and_log(serve, (arrivals, tables, limits))

    assert np.all(served.status == Status.COMPLETED)
    stays_ps = served.finish_ps - served.arrival_ps
    assert time_integral_of_l(served.arrival_ps, steps) == int(stays_ps.sum())
