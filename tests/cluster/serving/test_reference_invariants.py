"""What must hold of any run of the reference engine, whatever it is given."""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.machine.tables import PriceTables, Records
from cluster.serving.problem import NEVER, Arrivals, Limits, Served, Status
from cluster.serving.reference import serve_reference
from cluster.serving.reference.ledger import Ledger
from cluster.serving.reference.simulation import Simulation

Problem: TypeAlias = tuple[Arrivals, PriceTables, Limits]
RunAndLog: TypeAlias = Callable[[Callable[..., Served], Problem], tuple[Served, Records]]
Problems: TypeAlias = st.SearchStrategy[Problem]

some = settings(max_examples=40, derandomize=True, database=None, deadline=None)


@some
@given(data=st.data())
def test_every_accepted_request_is_answered_in_order_and_no_refused_one_is_touched(
    data: st.DataObject, serving_problems: Problems
) -> None:
    problem = data.draw(serving_problems)

    served = serve_reference(*problem)

    done = served.status == Status.COMPLETED
    assert np.all(served.arrival_ps[done] <= served.first_scheduled_ps[done])
    assert np.all(served.first_scheduled_ps[done] < served.first_token_ps[done])
    assert np.all(served.first_token_ps[done] <= served.finish_ps[done])
    assert np.all(served.replica[done] >= 0)
    assert np.all(served.finish_ps[~done] == NEVER)
    assert np.all(served.first_scheduled_ps[~done] == NEVER)
    assert np.all(served.replica[~done] == -1)


@some
@given(data=st.data())
def test_only_what_can_never_fit_is_refused(
    data: st.DataObject, serving_problems: Problems
) -> None:
    arrivals, tables, limits = data.draw(serving_problems)

    status = serve_reference(arrivals, tables, limits).status

    both = arrivals.prompt_tokens + arrivals.output_tokens
    np.testing.assert_array_equal(status == Status.TOO_LONG, both > limits.max_model_len)
    too_big = both - 1 > limits.blocks * limits.block_size
    np.testing.assert_array_equal(status == Status.NO_ROOM, too_big & (status != Status.TOO_LONG))


@some
@given(data=st.data())
def test_each_answer_token_is_emitted_once_however_often_its_request_was_preempted(
    data: st.DataObject, serving_problems: Problems, run_and_log: RunAndLog
) -> None:
    problem = data.draw(serving_problems)

    served, steps = run_and_log(serve_reference, problem)

    done = served.status == Status.COMPLETED
    answer = int(problem[0].output_tokens[done].sum())
    assert steps["emitted"].sum() == answer
    assert steps["finished"].sum() == done.sum()
    assert served.itl_count.sum() == answer - done.sum()  # every token but the first of each


@some
@given(data=st.data())
def test_nothing_is_computed_twice_unless_somebody_was_preempted(
    data: st.DataObject, serving_problems: Problems, run_and_log: RunAndLog
) -> None:
    problem = data.draw(serving_problems)

    served, steps = run_and_log(serve_reference, problem)

    done = served.status == Status.COMPLETED
    both = problem[0].prompt_tokens + problem[0].output_tokens
    there = np.maximum(served.cached_tokens, problem[0].carried_tokens)
    needed = int((both - 1 - there)[done].sum())
    if served.preemptions.any():
        # Lost work is done again, but for what the prefix cache still holds.
        assert steps["tokens"].sum() >= needed - served.preemptions @ both
    else:
        assert steps["tokens"].sum() == needed


@some
@given(data=st.data())
def test_no_step_exceeds_its_limits_and_none_overtakes_another(
    data: st.DataObject, serving_problems: Problems, run_and_log: RunAndLog
) -> None:
    problem = data.draw(serving_problems)
    limits = problem[2]

    _, steps = run_and_log(serve_reference, problem)

    seats = -(-limits.max_num_seqs // problem[1].stages)
    assert np.all((steps["tokens"] >= 1) & (steps["tokens"] <= limits.max_num_batched_tokens))
    assert np.all((steps["running"] >= 1) & (steps["running"] <= seats))
    assert np.all((steps["used_blocks"] >= 1) & (steps["used_blocks"] <= limits.blocks))
    for replica in range(problem[1].replicas):
        mine = steps[steps["replica"] == replica]
        assert np.all(np.diff(mine["start_ps"]) > 0)
        assert np.all(np.diff(mine["end_ps"]) > 0)


@some
@given(data=st.data())
def test_the_oldest_request_of_a_replica_never_loses_its_blocks(
    data: st.DataObject, serving_problems: Problems
) -> None:
    served = serve_reference(*data.draw(serving_problems))

    for replica in np.unique(served.replica[served.replica >= 0]):
        assert served.preemptions[served.replica == replica][0] == 0


@some
@given(data=st.data())
def test_all_blocks_and_seats_are_given_back_at_the_end(
    data: st.DataObject, serving_problems: Problems
) -> None:
    simulation = Simulation(*data.draw(serving_problems), Ledger(None, None))

    simulation.run()

    for replica in simulation.replicas:
        assert replica.pool.used == 0
        assert not any(replica.pool.references)
        assert replica.short_for is None
        assert all(slot.idle and not slot.unfinished for slot in replica.slots)
    assert simulation.ledger.done == len(simulation.requests)
