"""The memory check of candidates against ``fit``, which checks one plan at a time."""

from dataclasses import replace

import numpy as np
import pytest

from cluster.perf_model.memory import MemorySettings, fit, stage_memory
from cluster.scenario.memory_modes import UNIFORM_MODES, Mode
from cluster.studies.plan import batch_scores
from cluster.studies.plan.memory import UNITS, stage_rows
from corsair_common.units import Floats, Integers
from topology.catalog import load_hardware
from workloads.formats import get_format
from workloads.model import load_model
from workloads.plan import Plan

CASES: list[tuple[str, Plan, Mode]] = [
    ("llama-3.1-8b", Plan(tensor_parallel_size=4, pipeline_parallel_size=2), "performance"),
    ("llama-3.1-8b", Plan(tensor_parallel_size=1, pipeline_parallel_size=7), "performance"),
    ("llama-3.1-70b", Plan(tensor_parallel_size=8), "capacity"),
    ("llama-3.1-70b", Plan(tensor_parallel_size=16, pipeline_parallel_size=3), "performance"),
    (
        "gpt-oss-120b",
        Plan(tensor_parallel_size=8, pipeline_parallel_size=9, expert_parallel_size=8),
        "performance",
    ),
    ("deepseek-v3", Plan(tensor_parallel_size=2, expert_parallel_size=2), "capacity"),
    ("deepseek-v3", Plan(tensor_parallel_size=8, expert_parallel_size=4), "capacity"),
    ("qwen3-30b-a3b", Plan(tensor_parallel_size=4, pipeline_parallel_size=5), "capacity"),
]


def check(rows: Integers, most: int, seats: Integers, status: Integers, found: Floats) -> None:
    """With requests of one block on the mean and ``most`` at most in layers of each kind."""
    kinds = rows.shape[1] - UNITS
    longest = np.full((len(seats), kinds), most)
    batch_scores.check(rows, np.ones(kinds), longest, seats, status, found)


@pytest.mark.parametrize(("name", "plan", "mode"), CASES)
@pytest.mark.parametrize("weights", ["mxint8", "mxint4"])
def test_every_batch_gets_the_blocks_and_the_headroom_that_fit_gives_it(
    name: str, plan: Plan, mode: Mode, weights: str
) -> None:
    model, hardware = load_model(name), load_hardware("corsair")
    stored, kv = get_format(weights), get_format("mxint8")
    one = MemorySettings(mode=mode, weights=stored, kv=kv)
    rows = stage_rows(model, plan, hardware, one, one.uniform(model, plan))
    seats = np.array([1, 7, 60, 333, 5000, 60_000])
    status, found = np.zeros(len(seats), np.int64), np.zeros((len(seats), batch_scores.COLUMNS))

    check(rows, 1, seats, status, found)

    for batch, became, row in zip(seats, status, found, strict=True):
        settings = replace(one, max_num_seqs=int(batch))
        placed = settings.uniform(model, plan)
        stages = stage_memory(model, plan, hardware, settings, placed)
        fits = all(stage.fits for stage in stages)
        assert (became == batch_scores.FITS) == fits
        if fits:
            fitted = fit(model, plan, hardware, settings, placed)
            assert row[batch_scores.BLOCKS] == fitted.blocks
            assert row[batch_scores.HEADROOM] == min(fitted.headroom_bytes)


def test_weights_beyond_lpddr_are_distinguished_from_a_full_sram() -> None:
    model, hardware = load_model("deepseek-v3"), load_hardware("corsair")
    eight = get_format("mxint8")
    status, found = np.zeros(1, np.int64), np.zeros((1, batch_scores.COLUMNS))
    became = {}
    for mode in UNIFORM_MODES:
        settings = MemorySettings(mode=mode, weights=eight, kv=eight)
        rows = stage_rows(model, Plan(), hardware, settings, settings.uniform(model, Plan()))
        check(rows, 1, np.array([4]), status, found)
        became[mode] = int(status[0])

    assert became == {
        "capacity": batch_scores.LPDDR,
        "performance": batch_scores.SRAM,
    }  # 671 GB and one card


def test_a_pool_too_small_for_the_longest_request_has_its_own_reason() -> None:
    model, hardware = load_model("llama-3.1-8b"), load_hardware("corsair")
    eight = get_format("mxint8")
    plan = Plan(tensor_parallel_size=8)
    settings = MemorySettings(weights=eight, kv=eight)
    rows = stage_rows(model, plan, hardware, settings, settings.uniform(model, plan))
    status, found = np.zeros(1, np.int64), np.zeros((1, batch_scores.COLUMNS))

    check(rows, 10**6, np.array([4]), status, found)

    assert status[0] == batch_scores.KV


def test_sequences_are_counted_by_kind_of_layer() -> None:
    model, hardware = load_model("gpt-oss-120b"), load_hardware("corsair")
    plan = Plan(tensor_parallel_size=8, pipeline_parallel_size=9, expert_parallel_size=8)
    settings = MemorySettings(weights=get_format("mxint4"), kv=get_format("mxint8"))
    rows = stage_rows(model, plan, hardware, settings, settings.uniform(model, plan))
    (room,) = fit(
        model, plan, hardware, settings, settings.uniform(model, plan)
    ).capacity.room_units
    status, found = np.zeros(2, np.int64), np.zeros((2, batch_scores.COLUMNS))

    # Requests of 100.5 full and 3 windowed blocks; the longest just fits, or is one block too long.
    longest = np.array([[room - 11, 11], [room - 10, 11]])
    batch_scores.check(rows, np.array([100.5, 3.0]), longest, np.array([1, 1]), status, found)

    assert status.tolist() == [batch_scores.FITS, batch_scores.KV]
    assert found[0, batch_scores.SEQUENCES] == room / 103.5
