"""Tables and texts follow the names that the prices and joules of a run bring along."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cluster import Run
from cluster.api.serving import simulate_on
from cluster.commands.summary import report
from cluster.perf_model.devices.dimc import BOUNDS as DIMC_BOUNDS
from cluster.perf_model.tables import STEP
from cluster.replay.op_durations import ARITHMETIC, LAUNCH, MEMORY, bound_among
from cluster.serving.tables import step_columns
from results import open_run
from results.devices import DIMC

BOUNDS = ("memory", "tensor", "vector", "host", "network", "launch")
PARTS = tuple({"mac": "tensor", "lpddr": "memory"}.get(name, name) for name in DIMC.part_names)
"""Of a DIMC card's run whose time and energy are called otherwise."""


@pytest.fixture(scope="module")
def renamed(run_small: Callable[..., Run]) -> tuple[Run, Run]:
    """A run on DIMC cards, and the same with other names."""
    run = run_small()
    prices = replace(run.machine.prices, bounds=BOUNDS, memories=("hbm",))
    joules = replace(run.machine.joules, parts=PARTS)
    machine = replace(run.machine, prices=prices, joules=joules)
    return run, simulate_on(machine, run.resolved)


def test_a_run_is_written_and_read_by_the_names_of_its_device(
    tmp_path: Path, renamed: tuple[Run, Run]
) -> None:
    usual, other = (open_run(run.save(tmp_path / str(i))) for i, run in enumerate(renamed))

    assert other.device.bound_names == BOUNDS
    assert other.device.part_names == PARTS
    for mine, its in zip(BOUNDS, DIMC_BOUNDS, strict=True):
        assert other.cards[f"busy_{mine}_s"] == usual.cards[f"busy_{its}_s"]
    for mine, its in zip(PARTS, DIMC.part_names, strict=True):
        assert other.cards[f"energy_{mine}_j"] == usual.cards[f"energy_{its}_j"]


def test_the_printed_summary_has_the_device_s_words(renamed: tuple[Run, Run]) -> None:
    usual, other = (report("", "", run.summary, "") for run in renamed)

    assert "streaming weights and KV from SRAM" in usual
    assert "reading weights and KV from HBM" in other
    assert "% launching kernels" in other
    assert "SRAM" not in other


def test_blocks_in_the_far_memory_have_its_name_or_no_column() -> None:
    window = np.ones(2, STEP)
    shared = set(step_columns(window, ("hbm",)))

    assert set(step_columns(window, ("sram", "lpddr"))) - shared == {
        "lpddr_blocks",
        "lpddr_blocks_windowed",
    }
    assert set(step_columns(window, ("hbm", "host"))) - shared == {
        "host_blocks",
        "host_blocks_windowed",
    }


@pytest.mark.parametrize(
    ("bounds", "names"),
    [(DIMC_BOUNDS, ["mac", "stream", "dispatch"]), (BOUNDS, ["tensor", "memory", "launch"])],
)
def test_a_bare_endpoint_s_work_is_bound_by_what_its_device_calls_it(
    bounds: tuple[str, ...], names: list[str]
) -> None:
    found = [bounds[bound_among(bounds, kind)] for kind in (ARITHMETIC, MEMORY, LAUNCH)]

    assert found == names
