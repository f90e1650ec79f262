"""The kernel and the reference are bit-equal for any input."""

import os
from collections.abc import Callable
from dataclasses import fields, replace
from typing import TypeAlias

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cluster.perf_model.tables import PriceTables, Records
from cluster.scenario.load import load
from cluster.scenario.memory_modes import KV_POLICIES, KV_WRITES
from cluster.scenario.resolve import resolve
from cluster.serving.arrivals import arrivals_of
from cluster.serving.engine import serve
from cluster.serving.interface import Arrivals, KvTier, Limits, Served
from cluster.serving.reference import serve_reference
from cluster.serving.run import assemble

Problem: TypeAlias = tuple[Arrivals, PriceTables, Limits]
RunAndLog: TypeAlias = Callable[[Callable[..., Served], Problem], tuple[Served, Records]]

TIERS = st.lists(
    st.builds(
        KvTier,
        blocks=st.integers(1, 12),
        block_ps=st.integers(0, 300),
        latency_ps=st.integers(0, 50),
    ),
    max_size=2,
).map(tuple)
EXAMPLES = int(os.environ.get("CORSAIR_SIM_EXAMPLES", "150"))
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
    starved_problems: st.SearchStrategy[Problem],
    quiet_problems: st.SearchStrategy[Problem],
    run_and_log: RunAndLog,
    phases_of: Callable[[Callable[..., Served], Problem], Records],
) -> None:
    problem = data.draw(serving_problems | starved_problems | quiet_problems)
    if problem[2].prefix_caching and problem[2].max_num_seqs > 1:
        tiers, write = data.draw(TIERS), data.draw(st.sampled_from(KV_WRITES))
        policy, share = data.draw(st.sampled_from(KV_POLICIES)), data.draw(st.booleans())
        if tiers and share:
            tiers = (*tiers[:-1], replace(tiers[-1], shared=True))
        limits = replace(problem[2], kv_tiers=tiers, kv_write=write, kv_policy=policy)
        problem = (*problem[:2], limits)

    assert columns_that_differ(problem, run_and_log) == []
    np.testing.assert_array_equal(  # phases that begin at one time have no order
        np.sort(phases_of(serve, problem)), np.sort(phases_of(serve_reference, problem))
    )


@settings(
    max_examples=EXAMPLES // 3,
    derandomize=EXAMPLES <= 250,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck) if EXAMPLES > 250 else [],
)
@given(data=st.data())
def test_they_agree_on_drafts_that_are_verified(
    data: st.DataObject,
    drafting_problems: st.SearchStrategy[Problem],
    run_and_log: RunAndLog,
    phases_of: Callable[[Callable[..., Served], Problem], Records],
) -> None:
    problem = data.draw(drafting_problems)

    assert columns_that_differ(problem, run_and_log) == []
    np.testing.assert_array_equal(
        np.sort(phases_of(serve, problem)), np.sort(phases_of(serve_reference, problem))
    )


def test_they_agree_on_an_overloaded_pipeline_with_real_prices(run_and_log: RunAndLog) -> None:
    scenario = load(
        {
            "name": "overload",
            "model": "llama-3.1-8b",
            "plan": {"tensor_parallel_size": 4, "pipeline_parallel_size": 2},
            "scheduler": {"max_num_seqs": 16},
            "workload": {
                "synthetic": {
                    "requests": 80,
                    "arrivals": {"poisson": {"rate_per_s": 300}},
                    "prompt_tokens": {"uniform": {"low": 1, "high": 1500}},
                    "output_tokens": {"uniform": {"low": 1, "high": 60}},
                }
            },
        }
    )
    resolved = resolve(scenario)
    machine = assemble(resolved)
    tight = replace(machine.limits, blocks=120)  # less than 16 such sequences need

    problem = (arrivals_of(resolved), machine.prices, tight)
    assert columns_that_differ(problem, run_and_log) == []


def columns_that_differ(problem: Problem, run_and_log: RunAndLog) -> list[str]:
    """Of the log and of the requests, by name."""
    served, steps = run_and_log(serve, problem)
    expected, expected_steps = run_and_log(serve_reference, problem)
    names = steps.dtype.names or ()
    unlike = [name for name in names if not np.array_equal(steps[name], expected_steps[name])]
    return unlike + [
        field.name
        for field in fields(Served)
        if not np.array_equal(getattr(served, field.name), getattr(expected, field.name))
    ]
