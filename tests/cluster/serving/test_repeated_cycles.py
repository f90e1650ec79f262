"""Cycles that repeat are applied at once, and nothing that follows from the log can tell."""

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest

from cluster.perf_model.counters import Tally
from cluster.perf_model.energy.attribution import SlotJoules
from cluster.perf_model.tables import STEP, PriceTables, Records, expanded
from cluster.perf_model.timeline import Account, AccountError
from cluster.scenario.load import load
from cluster.scenario.resolve import resolve
from cluster.serving.arrivals import arrivals_of
from cluster.serving.energy_attribution import attribution_columns
from cluster.serving.engine import serve
from cluster.serving.interface import Arrivals, Limits
from cluster.serving.outcome import shares_of
from cluster.serving.run import Machine, assemble


@pytest.fixture(scope="module")
def resolved() -> Any:
    """A few chats with pauses between them on a pipeline of two stages."""
    return resolve(
        load(
            {
                "name": "quiet",
                "model": "llama-3.1-8b",
                "plan": {"tensor_parallel_size": 4, "pipeline_parallel_size": 2},
                "workload": {
                    "synthetic": {
                        "requests": 12,
                        "arrivals": {"poisson": {"rate_per_s": 30}},
                        "prompt_tokens": {"uniform": {"low": 1, "high": 900}},
                        "output_tokens": {"uniform": {"low": 1, "high": 150}},
                    }
                },
            }
        )
    )


@pytest.fixture(scope="module")
def machine(resolved: Any) -> Machine:
    return assemble(resolved)


@pytest.fixture(scope="module")
def log(resolved: Any, machine: Machine) -> Records:
    """As the engine writes it."""
    windows: list[Records] = []
    serve(
        arrivals_of(resolved),
        machine.prices,
        machine.limits,
        on_cycles=lambda window: windows.append(window.copy()),
    )
    return np.concatenate(windows)


def test_most_steps_of_light_traffic_are_repetitions(log: Records) -> None:
    steps = len(expanded(log))

    assert len(log) < steps / 4
    assert steps == len(log) + log["more"].sum()


def test_a_repeated_cycle_is_written_out_in_the_order_of_starts() -> None:
    log = np.zeros(3, STEP)
    log["start_ps"], log["end_ps"] = [0, 4, 30], [3, 9, 33]
    log["more"], log["period_ps"], log["followers"] = [2, 2, 0], [10, 10, 0], [1, 0, 0]

    steps = expanded(log)

    assert steps["start_ps"].tolist() == [0, 4, 10, 14, 20, 24, 30]
    assert steps["end_ps"].tolist() == [3, 9, 13, 19, 23, 29, 33]
    assert not steps["more"].any()


def test_a_shorter_loop_repeats_until_it_catches_up_with_a_longer_one_and_then_behind_it(
    linear_tables: Callable[..., PriceTables],
) -> None:
    tables = linear_tables(np.array([0, 1000, 1010]), 8)  # of four stages alike
    prices = replace(tables, stage_class=np.zeros((1, 4), np.int64))
    arrivals = Arrivals(
        arrival_ps=np.array([0, 0, 2000]),
        prompt_tokens=np.ones(3, np.int64),
        output_tokens=np.full(3, 60),
        router_choice=np.zeros(0, np.int64),
        key_offsets=np.zeros(4, np.int64),
        keys=np.zeros(0, np.int64),
        key_count=0,
    )
    limits = Limits(
        max_num_seqs=8, max_num_batched_tokens=2, block_size=64, blocks=9, max_model_len=99
    )
    windows: list[Records] = []
    serve(arrivals, prices, limits, on_cycles=lambda window: windows.append(window.copy()))
    log = np.concatenate(windows)
    steps = expanded(log)

    longer, shorter = (steps["start_ps"][steps["slot"] == slot].tolist() for slot in (0, 1))
    # The shorter one can start at 2000 + 4000 i; stage 0 is free at 1010 + 4040 i.
    assert longer == [4040 * i for i in range(60)]
    assert shorter[:25] == [2000 + 4000 * i for i in range(25)]
    assert shorter[25:] == [1010 + 4040 * i for i in range(25, 60)]
    assert len(log) < 20


@pytest.mark.parametrize("begin_ms", [0, 7, 61])
@pytest.mark.parametrize("bins", [2, 40, 1000])
def test_time_bins_are_those_of_single_steps(
    machine: Machine, log: Records, begin_ms: int, bins: int
) -> None:
    found, expected = (
        Account(machine.prices, max_bins=bins, begin_ps=begin_ms * 10**9) for _ in range(2)
    )
    found.add(log)
    for step in np.array_split(expanded(log), 50):
        expected.add(step)

    for field in fields(found.bins()):
        np.testing.assert_array_equal(
            getattr(found.bins(), field.name), getattr(expected.bins(), field.name), field.name
        )


@pytest.mark.parametrize("begin_ms", [0, 7, 61])
def test_counts_are_those_of_single_steps(log: Records, begin_ms: int) -> None:
    found, expected = (Tally(begin_ps=begin_ms * 10**9) for _ in range(2))
    found.add(log)
    expected.add(expanded(log))

    assert found == expected


def test_joules_of_requests_are_those_of_single_steps_to_the_last_bit(
    resolved: Any, machine: Machine, log: Records
) -> None:
    served = serve(arrivals_of(resolved), machine.prices, machine.limits)
    columns = attribution_columns(served, arrivals_of(resolved))

    def joules(rows: Records) -> Any:
        shares: SlotJoules = shares_of(machine)
        shares.add(rows)
        return shares.of(columns)

    np.testing.assert_array_equal(joules(log), joules(expanded(log)))


def test_a_step_of_a_repeated_cycle_that_disagrees_with_the_prices_is_found(
    machine: Machine, log: Records
) -> None:
    wrong = log.copy()
    wrong["period_ps"][np.argmax(log["more"])] //= 2

    with pytest.raises(AccountError, match="does not agree with the prices"):
        Account(machine.prices).add(wrong)
