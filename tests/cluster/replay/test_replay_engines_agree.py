"""The kernel and the reference give the same answer to the last bit, whatever they are given."""

import os
from collections.abc import Callable
from dataclasses import fields
from typing import Any, TypeAlias

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cluster import load
from cluster.perf_model.collectives import FULL, Transfers
from cluster.replay.engine import replay
from cluster.replay.interface import (
    DeadlockError,
    Kind,
    Operations,
    Replayed,
    ReplayError,
    RunTooLongError,
)
from cluster.replay.loop_unroll import written_out
from cluster.replay.reference import replay_reference
from cluster.replay.run import assemble_replay
from cluster.replay.translate import operations_of
from cluster.scenario.resolve import resolve

Engine: TypeAlias = Callable[..., Replayed]

EXAMPLES = int(os.environ.get("CORSAIR_SIM_EXAMPLES", "250"))
"""More than the usual number look elsewhere each time; the usual ones are always the same."""


usually = settings(
    max_examples=EXAMPLES,
    derandomize=EXAMPLES <= 250,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck) if EXAMPLES > 250 else [],
)


@usually
@given(data=st.data())
def test_the_kernel_and_the_reference_agree_on_every_time_and_every_byte(
    data: st.DataObject, replay_problems: st.SearchStrategy[Any]
) -> None:
    problem = data.draw(replay_problems)

    assert_agreement(
        problem.operations,
        problem.transfers,
        contended=problem.contended,
        most_bins=problem.most_bins,
    )


@settings(usually, max_examples=EXAMPLES // 3)
@given(flows=st.integers(2, 16), seed=st.integers(0, 2**32))
def test_they_agree_on_every_rounding_when_flows_of_hours_are_in_each_others_way(
    flows: int, seed: int, program: Callable[..., Operations], shared_legs: Callable[..., Transfers]
) -> None:
    rng = np.random.default_rng(seed)
    groups = np.sort(rng.permutation(2 * flows).reshape(flows, 2)).tolist()
    calls = [*range(flows), *rng.permutation(flows // 2).tolist()]
    rows = [row for call in calls for row in exchange(call, groups[call], rng)]
    legs = long_legs(flows, rng)

    assert_agreement(program(rows, groups), shared_legs(*legs))


def test_they_agree_on_prompts_that_stream_through_stages_and_share_links() -> None:
    """Two prompts of a chunk a stage: each a repeat, whose chunks wait for the one before."""
    plan = {"tensor_parallel_size": 4, "pipeline_parallel_size": 2, "replicas": 2}
    prompts = {"phase": "prefill", "batch": 2, "prompt_tokens": 256, "chunk_tokens": 128}
    resolved = resolve(
        load(
            {
                "model": "llama-3.1-8b",
                "cluster": {"servers_per_rack": 8, "cards_per_server": 2},
                "plan": plan,
                "hardware_set": {"host.overhead_s": 1e-6},
                "workload": {"program": prompts},
            }
        ),
        wanted="operations",
    )
    machine = assemble_replay(resolved)
    operations = operations_of(machine.program, machine.work, machine.calls)

    assert (machine.program.repeats, machine.program.steps) == (2, 2)
    slowed, free = (
        replay(operations, machine.calls.transfers, contended=contended).makespan_ps
        for contended in (True, False)
    )
    assert slowed > free
    assert_agreement(operations, machine.calls.transfers)
    np.testing.assert_array_equal(
        replay(operations, machine.calls.transfers).end_ps,
        replay(written_out(operations), machine.calls.transfers).end_ps,
    )


def exchange(number: int, ranks: list[int], rng: np.random.Generator) -> list[dict[str, int]]:
    """A transfer of two ranks, which wait for nobody else; now or in a minute or two."""
    wait_ps = int(rng.choice([0, 10**14]))
    call = {"kind": Kind.COLLECTIVE, "group": number, "transfer": number, "duration_ps": wait_ps}
    return [{"rank": rank, **call} for rank in rng.permutation(ranks).tolist()]


def long_legs(count: int, rng: np.random.Generator) -> list[dict[str, Any]]:
    """Legs over few of ten links: all alike, so that necks are tied, or each another."""
    alike = rng.random() < 0.5
    density = rng.choice([0.0, 0.2, 0.3, 0.4])
    peaks = rng.choice(rng.random(1) if alike else [0.1, 0.3, 1.0, *rng.random(5)], count).tolist()
    return [
        {
            "work_ps": int(rng.integers(10**14, 10**15)),
            "peak": peak,
            "uses": {
                int(link): (FULL if alike else int(rng.integers(1, FULL)), 2**52 - 1)
                for link in {*np.flatnonzero(rng.random(10) < density), leg % 10}
            },
        }
        for leg, peak in enumerate(peaks)
    ]


def assert_agreement(*inputs: Any, **options: Any) -> None:
    outcome = outcome_of(replay, *inputs, **options)
    expected = outcome_of(replay_reference, *inputs, **options)

    if isinstance(expected, type) or isinstance(outcome, type):
        assert outcome == expected
        return
    for field in fields(Replayed):
        here, there = getattr(outcome, field.name), getattr(expected, field.name)
        np.testing.assert_array_equal(here, there, err_msg=field.name, strict=True)


def outcome_of(engine: Engine, *inputs: Any, **options: Any) -> Replayed | type[Exception]:
    """What the engine found, or the kind of error that it raised."""
    try:
        return engine(*inputs, **options)
    except (ReplayError, DeadlockError, RunTooLongError) as error:
        return type(error)
