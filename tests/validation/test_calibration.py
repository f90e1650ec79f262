"""The one free constant: fitted on Llama-3-8B, tested untouched on Llama-3-70B."""

from dataclasses import replace

import numpy as np
import pytest

from cluster.perf_model.calibrate import (
    BATCH,
    EIGHT_B,
    SEVENTY_B,
    Choices,
    Point,
    fit_dispatch_s,
    fit_static_w,
    point_tables,
    predict,
)
from cluster.perf_model.prices import steady_decode
from cluster.perf_model.tables import Records
from cluster.serving.interface import Arrivals, Limits
from cluster.serving.reference.simulation import serve_reference
from corsair_common.units import Integers
from topology.catalog import load_hardware
from workloads.plan import Plan


def test_the_catalogue_holds_the_fitted_dispatch() -> None:
    dispatch = load_hardware("corsair").figures["card.dispatch_s"]

    assert fit_dispatch_s() == pytest.approx(dispatch.value, rel=1e-3)
    assert dispatch.confidence == "derived"
    assert 0.2e-6 <= dispatch.value <= 3e-6


def test_the_catalogue_holds_the_fitted_static_power() -> None:
    static_w = load_hardware("corsair")["card.static_w"]

    assert fit_static_w() == pytest.approx(static_w, rel=2e-3)
    # LPDDR at 8 pJ a bit instead of 6: 400 GB/s x 0.8 x 8 bits x 2 pJ are 5.12 W more.
    dearer_w = fit_static_w({"energy.lpddr_j_per_bit": 8e-12})
    assert dearer_w == pytest.approx(static_w - 5.12, rel=2e-3)


def test_no_static_power_fits_where_the_energies_alone_draw_more() -> None:
    assert fit_static_w({"energy.sram_j_per_bit": 1e-12}) is None


def test_8b_on_one_server_runs_at_its_published_point() -> None:
    steady = predict(EIGHT_B)

    assert steady.tpot_s == pytest.approx(1.0e-3, rel=1e-3)
    assert steady.tokens_per_s == pytest.approx(60_000, rel=1e-3)


def test_70b_on_a_rack_is_predicted_within_15_percent() -> None:
    steady = predict(SEVENTY_B)

    assert steady.tpot_s == pytest.approx(2.0e-3, rel=0.15)
    assert steady.tokens_per_s == pytest.approx(30_000, rel=0.15)


def test_a_fit_hits_its_target() -> None:
    point = replace(EIGHT_B, tpot_s=1.5e-3)
    fitted_s = fit_dispatch_s(point)

    assert fitted_s is not None
    assert predict(point, fitted_s).tpot_s == pytest.approx(1.5e-3, abs=1e-9)


def test_no_dispatch_fits_where_all_else_is_too_slow_already() -> None:
    assert fit_dispatch_s(choices=Choices(all_reduce="ring")) is None


@pytest.mark.parametrize("point", [EIGHT_B, SEVENTY_B], ids=["8B", "70B"])
def test_steady_decode_is_what_the_reference_engine_serves(point: Point) -> None:
    # Prompts of one token and 63 answers see one block throughout: steady from the first step.
    # As many requests as seats, so that every slot decodes equally many.
    tables = point_tables(point)
    batch = -(-BATCH // tables.stages) * tables.stages
    steady = steady_decode(tables, batch=batch, context=64)
    log = _served(point, batch, np.zeros(batch, np.int64))

    for slot in range(tables.stages):
        ends = log["end_ps"][log["slot"] == slot]
        assert ends[-1] - ends[-2] == steady.cycle_ps


def test_a_pipeline_that_is_not_full_waits_for_its_own_loop() -> None:
    # Four sequences in sixteen slots: each comes when the one before has left the first stage, so
    # that it is alone in its slot, and never queues.
    tables = point_tables(SEVENTY_B)
    steady = steady_decode(tables, batch=4, context=64)
    log = _served(SEVENTY_B, 4, np.arange(4) * 200_000_000)
    ends = log["end_ps"][log["slot"] == 0]

    assert steady.cycle_ps == steady.loop_ps == ends[-1] - ends[-2]


def test_a_plan_of_one_stage_is_its_own_loop() -> None:
    steady = predict(replace(EIGHT_B, plan=Plan(tensor_parallel_size=8)), 0.0)

    assert steady.cycle_ps == steady.loop_ps == steady.slowest_stage_ps


def _served(point: Point, seats: int, arrival_ps: Integers) -> Records:
    """The step log of one-token prompts with 63 answers each."""
    tables = point_tables(point)
    windows: list[Records] = []
    requests = len(arrival_ps)
    arrivals = Arrivals(
        arrival_ps=arrival_ps,
        prompt_tokens=np.ones(requests, np.int64),
        output_tokens=np.full(requests, 63),
        router_choice=np.zeros(requests, np.int64),
        key_offsets=np.zeros(requests + 1, np.int64),
        keys=np.zeros(0, np.int64),
        key_count=0,
    )
    limits = Limits(
        max_num_seqs=seats,
        max_num_batched_tokens=BATCH,
        block_size=64,
        blocks=requests,
        max_model_len=64,
    )
    serve_reference(arrivals, tables, limits, on_steps=lambda window: windows.append(window.copy()))
    return np.concatenate(windows)
