"""The kernel and the reference give the same answer to the last bit, whatever they are given."""

import os
from collections.abc import Callable
from dataclasses import fields
from typing import TypeAlias

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cluster.machine.tables import PriceTables, Records
from cluster.serving.engine import serve
from cluster.serving.problem import Arrivals, Limits, Served
from cluster.serving.reference import serve_reference

Problem: TypeAlias = tuple[Arrivals, PriceTables, Limits]
RunAndLog: TypeAlias = Callable[[Callable[..., Served], Problem], tuple[Served, Records]]

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
def test_the_kernel_and_the_reference_agree_on_every_column_and_every_step(
    data: st.DataObject,
    serving_problems: st.SearchStrategy[Problem],
    run_and_log: RunAndLog,
) -> None:
    problem = data.draw(serving_problems)

    served, steps = run_and_log(serve, problem)
    expected, expected_steps = run_and_log(serve_reference, problem)

    for name in steps.dtype.names or ():
        np.testing.assert_array_equal(steps[name], expected_steps[name], err_msg=name)
    for field in fields(Served):
        here, there = getattr(served, field.name), getattr(expected, field.name)
        np.testing.assert_array_equal(here, there, err_msg=field.name)
