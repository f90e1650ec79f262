"""What can never run is known beforehand, and so is a time before which a run cannot end."""

from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.perf_model.tables import PriceTables
from cluster.serving.admission_limits import least_end_ps, refused
from cluster.serving.engine import serve
from cluster.serving.interface import Arrivals, Limits
from corsair_common.names import Status

Problem: TypeAlias = tuple[Arrivals, PriceTables, Limits]

LIMITS = Limits(max_num_seqs=8, max_num_batched_tokens=4, block_size=2, blocks=3, max_model_len=10)


@settings(max_examples=25, deadline=None, derandomize=True, database=None)
@given(data=st.data())
def test_the_engine_refuses_what_was_known_beforehand_and_ends_no_sooner(
    data: st.DataObject, serving_problems: st.SearchStrategy[Problem]
) -> None:
    arrivals, prices, limits = data.draw(serving_problems)

    served = serve(arrivals, prices, limits)
    assert refused(arrivals, limits).tolist() == served.status.tolist()
    assert least_end_ps(arrivals, limits) <= served.end_ps


def test_the_last_that_is_accepted_ends_the_run_not_the_last_that_comes(
    constant_tables: Callable[..., PriceTables],
) -> None:
    # max_model_len is 10 tokens, and 3 blocks of 2 fit 7 tokens, whose last is never stored.
    requested = [(0, 4, 3), (50, 3, 4), (70, 4, 4), (90, 6, 5)]
    arrival, prompt, output = np.array(requested).T
    arrivals = Arrivals(
        arrival_ps=arrival,
        prompt_tokens=prompt,
        output_tokens=output,
        router_choice=np.zeros(0, np.int64),
        key_offsets=np.zeros(5, np.int64),
        keys=np.zeros(0, np.int64),
        key_count=0,
    )

    known = refused(arrivals, LIMITS).tolist()
    assert known == [Status.COMPLETED, Status.COMPLETED, Status.NO_ROOM, Status.TOO_LONG]
    assert known == serve(arrivals, constant_tables([1]), LIMITS).status.tolist()
    assert least_end_ps(arrivals, LIMITS) == 50
    assert least_end_ps(arrivals, replace(LIMITS, concurrency=2)) == 0
