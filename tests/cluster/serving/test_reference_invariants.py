"""Invariants of any run of the reference engine."""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.perf_model.kv_capacity import KvCapacity
from cluster.perf_model.tables import PriceTables, Records
from cluster.serving.admission_limits import refused
from cluster.serving.interface import Arrivals, Limits, Phase, Served
from cluster.serving.reference import serve_reference
from cluster.serving.reference.recorder import Recorder
from cluster.serving.reference.simulation import Simulation
from corsair_common.names import Status
from corsair_common.units import NEVER, Integers

Problem: TypeAlias = tuple[Arrivals, PriceTables, Limits]
RunAndLog: TypeAlias = Callable[[Callable[..., Served], Problem], tuple[Served, Records]]
PhasesOf: TypeAlias = Callable[[Callable[..., Served], Problem], Records]
Problems: TypeAlias = st.SearchStrategy[Problem]

LOST = int(Phase.LOST)
ATTEMPT = [Phase.WAITING, Phase.READING]

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
    if limits.windowed is not None:
        too_big = ~alone_fits(limits.windowed, both - 1, limits)
    np.testing.assert_array_equal(status == Status.NO_ROOM, too_big & (status != Status.TOO_LONG))


def alone_fits(room: KvCapacity, tokens: Integers, limits: Limits) -> npt.NDArray[np.bool_]:
    """[n] whether the peak blocks of each kind of so many tokens fit."""
    fits = np.ones(len(tokens), np.bool_)
    whole = -(-tokens // limits.block_size)
    for units, most in zip(room.block_units, room.room_units, strict=True):
        taken = np.zeros(len(tokens), np.int64)
        for unit, window in zip(units, room.windows, strict=True):
            reach = window - 1 + limits.max_num_batched_tokens
            behind = -(-reach // limits.block_size) + 1
            taken += unit * (np.minimum(whole, behind) if window else whole)
        fits &= taken <= most
    return fits


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
def test_no_token_is_computed_twice_without_preemption(
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

    # Beside the decodes of a slot there is one partial prefill, with the threshold there may be
    # as many as there are sequences.
    partial_prefills = limits.max_num_seqs if limits.long_prefill_token_threshold else 1
    most = min(-(-limits.max_num_seqs // problem[1].stages) + partial_prefills, limits.max_num_seqs)
    assert np.all((steps["tokens"] >= 1) & (steps["tokens"] <= limits.max_num_batched_tokens))
    assert np.all((steps["running"] >= 1) & (steps["running"] <= most))
    assert np.all(steps["used_blocks"] >= 1)
    assert np.all(steps["used_blocks"] <= limits.capacity.room_units[0])
    for replica in range(problem[1].replicas):
        mine = steps[steps["replica"] == replica]
        assert np.all(np.diff(mine["start_ps"]) > 0)
        assert np.all(np.diff(mine["end_ps"]) > 0)


@some
@given(data=st.data())
def test_the_oldest_request_of_a_replica_never_loses_its_blocks(
    data: st.DataObject, serving_problems: Problems, phases_of: PhasesOf
) -> None:
    problem = data.draw(serving_problems)

    served = serve_reference(*problem)
    phases = phases_of(serve_reference, problem)

    # With a threshold others may prefill beside it and decode before it: with several stages
    # they are first, and a partial prefill is not yet a member.
    overtaken = problem[1].stages > 1 and problem[2].long_prefill_token_threshold > 0
    for replica in np.unique(served.replica[served.replica >= 0]):
        oldest = np.flatnonzero(served.replica == replica)[0]
        losses = phases[(phases["request"] == oldest) & (phases["kind"] == LOST)]
        assert served.preemptions[oldest] == len(losses)
        assert np.all(losses["slot"] == -1)
        assert overtaken or not len(losses)


@some
@given(data=st.data())
def test_each_request_waits_is_read_and_decodes_until_it_is_lost_or_finished(
    data: st.DataObject, serving_problems: Problems, phases_of: PhasesOf
) -> None:
    problem = data.draw(serving_problems)

    served = serve_reference(*problem)
    phases = phases_of(serve_reference, problem)

    for request, preemptions in enumerate(served.preemptions):
        mine = phases[phases["request"] == request]
        kinds = mine["kind"].tolist()
        if served.status[request] != Status.COMPLETED:
            assert kinds == []
            continue
        losses = [place for place, kind in enumerate(kinds) if kind == LOST]
        attempts = np.split(mine, [place + 1 for place in losses])
        assert len(losses) == preemptions
        for attempt in attempts[:-1]:
            assert attempt["kind"][:-1].tolist() in (ATTEMPT, [*ATTEMPT, Phase.DECODING])
        last = [*ATTEMPT, Phase.DECODING, Phase.FINISHED]
        late = [Phase.WAITING, Phase.FINISHED]  # its last token was in flight when it was preempted
        assert attempts[-1]["kind"].tolist() in (last, late)
        rising = mine["row"][mine["kind"] != int(Phase.LOST)]
        if kinds[-2:] != late:
            assert np.all(np.diff(rising) >= 0)


@settings(some, max_examples=150)
@given(data=st.data())
def test_every_run_ends_however_little_there_is(
    data: st.DataObject, starved_problems: Problems
) -> None:
    arrivals, tables, limits = data.draw(starved_problems)

    served = serve_reference(arrivals, tables, limits)

    assert served.status.tolist() == refused(arrivals, limits).tolist()
    done = served.status == Status.COMPLETED
    assert np.all(served.finish_ps[done] > served.arrival_ps[done])


@some
@given(data=st.data())
def test_all_blocks_and_sequences_are_released_at_the_end(
    data: st.DataObject, serving_problems: Problems
) -> None:
    simulation = Simulation(*data.draw(serving_problems), Recorder((), None, None))

    simulation.run()

    for replica in simulation.replicas:
        assert not any(replica.pool.held)
        assert replica.pool.used == 0
        if replica.pool.names is not None:
            assert not any(replica.pool.names.references)
            assert len(replica.pool.names.free) == len(replica.pool.names.references)
        assert replica.short_for is None
        assert replica.unfinished == 0
        assert all(slot.idle and not slot.in_flight for slot in replica.slots)
    assert not any(request.blocks or request.flights for request in simulation.requests)
    assert simulation.recorder.done == len(simulation.requests)
