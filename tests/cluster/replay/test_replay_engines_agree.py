"""The kernel and the reference give the same answer to the last bit, whatever they are given."""

import os
from collections.abc import Callable
from dataclasses import fields
from typing import Any, TypeAlias

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cluster.replay.engine import replay
from cluster.replay.problem import DeadlockError, Replayed, ReplayError, RunTooLongError
from cluster.replay.reference import replay_reference

Engine: TypeAlias = Callable[..., Replayed]
Outcome: TypeAlias = Replayed | type[Exception]

EXAMPLES = int(os.environ.get("CORSAIR_SIM_EXAMPLES", "250"))
"""More than the usual number look elsewhere each time; the usual ones are always the same."""


@settings(
    max_examples=EXAMPLES,
    derandomize=EXAMPLES <= 250,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck) if EXAMPLES > 250 else [],
)
@given(data=st.data())
def test_the_kernel_and_the_reference_agree_on_every_time_and_every_byte(
    data: st.DataObject, replay_problems: st.SearchStrategy[Any]
) -> None:
    problem = data.draw(replay_problems)

    outcome, expected = outcome_of(replay, problem), outcome_of(replay_reference, problem)

    if isinstance(expected, type) or isinstance(outcome, type):
        assert outcome == expected
        return
    for field in fields(Replayed):
        here, there = getattr(outcome, field.name), getattr(expected, field.name)
        np.testing.assert_array_equal(here, there, err_msg=field.name, strict=True)


def outcome_of(engine: Engine, problem: Any) -> Outcome:
    """What the engine found, or the kind of error that it raised."""
    try:
        return engine(
            problem.operations,
            problem.transfers,
            contended=problem.contended,
            most_bins=problem.most_bins,
        )
    except (ReplayError, DeadlockError, RunTooLongError) as error:
        return type(error)
