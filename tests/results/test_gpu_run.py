"""A run on GPUs, made by hand: bounds, parts and memories of another device, in words of their own.

Two GPUs over two bins of 500 ms. Of each bin 200 ms are bound by memory, 100 by tensor, 50 by host.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from corsair_common.units import Integers
from results import ResultsError, Run, open_run
from results.compare import metrics
from results.devices import DIMC, GPU, MIXED, described, of_kinds
from results.engine_columns import card_columns, energy_columns, request_columns
from results.figures import draw
from results.report import findings, report_html
from results.report.assumptions import assumed_figures, warnings
from results.schema import run_tables, sweep_table
from results.summary import Energy, Machine, flatten, summarise
from results.sweep import metric_columns

MS = 10**9
BOUNDS = ("memory", "tensor", "vector", "network", "launch", "host")
PARTS = ("tensor", "memory", "scale_up", "pcie", "ethernet", "static")
OF_A_CARD = ("LPDDR", "lpddr", "DIMC", "SRAM", "sram", "chiplet", "simd", "dispatch", "mxint")
"""Words that no page of a run on GPUs may have."""
MakeManifest = Callable[..., dict[str, Any]]


def cards() -> list[dict[str, Any]]:
    edges = np.array([0, 500, 1000]) * MS
    busy = np.array([[200, 100, 0, 0, 0, 50]] * 2) * MS
    spent_j = np.array([[3.0, 4.0, 0, 0, 0, 1.0]] * 2)
    columns = card_columns(edges, busy, BOUNDS) | energy_columns(spent_j, PARTS)
    place = {"server": 0, "replica": 0, "stage": 0}
    return [{"card": card, "card_name": f"s0.g{card}", **place, **columns} for card in range(2)]


def steps() -> dict[str, Any]:
    names = [column.name for column in run_tables(GPU)["steps"].columns]
    return {name: np.arange(3) for name in names}


@pytest.fixture
def summary(requests: dict[str, Integers]) -> dict[str, Any]:
    energy = Energy(
        parts_j=[12.0, 16.0, 0.0, 0.0, 0.0, 4.0],
        mean_power_w=32.0,
        peak_power_w=32.0,
        facility_energy_j=None,
        facility_power_w=None,
    )
    busy_ps = [800 * MS, 400 * MS, 0, 0, 0, 200 * MS]
    machine = Machine(cards=2, bounds=BOUNDS, parts=PARTS, busy_ps=busy_ps, energy=energy)
    return {"run_id": "gpu1", "model_version": 1, **summarise(requests, machine=machine)}


@pytest.fixture
def folder(
    write_run: Callable[..., Path],
    tmp_path: Path,
    summary: dict[str, Any],
    requests: dict[str, Integers],
    make_manifest: MakeManifest,
) -> Path:
    figure = {"unit": "fraction", "confidence": "assumed", "low": 0.5, "high": 0.9}
    hardware = {
        "gpu.gemm_bandwidth_efficiency": {"value": 0.8, **figure},
        "gpu.gemm_flop_efficiency": {"value": 0.7, **figure},
        "gpu.all_reduce_bandwidth_efficiency": {"value": 0.7, **figure},
    }
    scenario = {"name": "gpus", "model": "llama-3.1-8b", "formats": {"weights": "fp8_e4m3"}}
    made = make_manifest("gpu1") | {"hardware": hardware, "scenario": scenario}
    tables: dict[str, Any] = {
        "requests": request_columns(requests),
        "summary": flatten(summary),
        "cards": iter(cards()),
        "steps": steps(),
    }
    declared = run_tables(described(BOUNDS, PARTS, ("hbm",)))
    return write_run(tmp_path / "gpus", made, tables, declared)


@pytest.fixture
def run(folder: Path) -> Run:
    return open_run(folder)


def rows_of(chart: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = chart.to_dict()["data"]["values"]
    return found


def test_the_files_have_the_device_s_columns(run: Run) -> None:
    names = run.cards.column_names

    assert [name for name in names if name.startswith("busy_")] == [f"busy_{b}_s" for b in BOUNDS]
    assert [name for name in names if name.startswith("energy_")] == [
        f"energy_{part}_j" for part in PARTS
    ]
    assert run.cards["busy_host_s"].to_pylist() == [0.05] * 4
    assert run.cards.schema.field("busy_memory_s").metadata[b"meaning"] == (
        b"Time of the bin bound by HBM: reading weights or KV."
    )
    assert run.steps.column_names[-1] == "prefill_passes_windowed"


def test_columns_of_another_device_are_refused(
    write_run: Callable[..., Path], tmp_path: Path, make_manifest: MakeManifest
) -> None:
    with pytest.raises(ValueError, match="table cards has no column 'busy_memory_s'"):
        write_run(tmp_path, make_manifest("gpu2"), {"cards": iter(cards())}, run_tables(DIMC))


def test_a_device_without_a_far_memory_has_no_blocks_there() -> None:
    tables = run_tables(described(BOUNDS, PARTS, ("hbm",)))
    where = next(column for column in tables["placement"].columns if column.name == "where")

    assert tables["steps"].columns[-1].name == "prefill_passes_windowed"
    assert where.meaning == "Memory that holds it: hbm."


def test_the_run_knows_its_device_by_its_files(run: Run) -> None:
    assert run.device == GPU
    assert run.summary["bound_share"] == {
        "memory": pytest.approx(8 / 14),
        "tensor": pytest.approx(4 / 14),
        "vector": 0,
        "network": 0,
        "launch": 0,
        "host": pytest.approx(2 / 14),
    }
    assert run.summary["energy_share"]["memory"] == 0.5  # type: ignore[index]


def test_figures_are_drawn_by_the_device_s_bounds(run: Run) -> None:
    shares = {row["series"]: row["share"] for row in rows_of(draw(run, "stage_shares"))}
    chart = draw(run, "card_bounds")
    parts = {row["part"]: row["share"] for row in rows_of(draw(run, "energy_by_part"))}

    assert shares == pytest.approx(
        {**dict.fromkeys(BOUNDS, 0.0), "memory": 0.4, "tensor": 0.2, "host": 0.1, "idle": 0.3}
    )
    assert {row["series"] for row in rows_of(chart)} == {"memory"}
    assert chart.to_dict()["encoding"]["color"]["scale"]["domain"] == [*BOUNDS, "idle"]
    assert parts == {"memory": 0.5, "tensor": 0.375, "static": 0.125}


def test_the_verdict_speaks_of_hbm(run: Run) -> None:
    first = findings(run)[0]

    assert first.what == "memory"
    assert first.headline == "Most of the busy time goes into reading weights and KV from HBM."
    assert first.evidence == "57 % memory; then 29 % tensor, 14 % host"


def test_assumed_figures_of_the_gpu_stand_behind_its_bounds(run: Run) -> None:
    behind = [(row["behind"], row["figure"]) for row in assumed_figures(run)]

    assert behind == [
        ("memory, 57 %", "gpu.gemm_bandwidth_efficiency"),
        ("tensor, 29 %", "gpu.gemm_flop_efficiency"),
    ]
    assert len(warnings(run)) == 2  # nothing of what is published of other devices


def test_no_word_of_the_page_is_another_device_s(run: Run) -> None:
    page = report_html([run])
    text = page[: page.index("<script>")]  # what follows is the plot library

    assert "reading weights and KV from HBM" in text
    assert [word for word in OF_A_CARD if word in text] == []


def test_room_for_kv_is_made_without_a_memory_that_a_gpu_lacks() -> None:
    texts = [GPU.room_for_kv, MIXED.room_for_kv]
    texts += [text for bound in GPU.bounds for text in (bound.label, bound.meaning, bound.advice)]
    texts += [part.meaning for part in GPU.parts]

    assert [word for word in OF_A_CARD for text in texts if word in text] == []
    assert "LPDDR" in DIMC.room_for_kv


def test_runs_on_two_kinds_of_device_are_compared_by_the_bounds_of_both(
    run: Run, run_folder: Path
) -> None:
    found = {metric.key: metric.values for metric in metrics([open_run(run_folder), run])}

    assert found["bound_share.memory"] == (None, pytest.approx(8 / 14))
    assert found["completed"] == (3, 3)


def test_a_sweep_over_both_kinds_of_device_has_the_columns_of_both() -> None:
    both = of_kinds(["dimc_card", "gpu"])
    names = [column.name for column in run_tables(both)["summary"].columns]
    table = sweep_table({}, metric_columns("summary", names))
    bounds = [name for name in names if name.startswith("bound_share.")]

    assert bounds == [f"bound_share.{name}" for name in both.bound_names]
    assert both.bound_names == (*DIMC.bound_names, *BOUNDS[:3], "launch", "host")
    assert set(names) <= {column.name for column in table.columns}
    with pytest.raises(ResultsError, match="has no metric 'bound_shares'"):
        metric_columns("summary", ["bound_share.memory", "bound_shares"])


def test_a_bound_that_no_device_has_stands_for_itself() -> None:
    device = described(("optics", "memory"), ("laser",), ())

    assert [bound.label for bound in device.bounds] == ["optics", GPU.bounds[0].label]
    assert device.part_names == ("laser",)
    assert device.kind == "mixed"


def test_the_critical_path_of_a_replay_is_told_by_the_device_s_bounds(
    write_run: Callable[..., Path], tmp_path: Path, make_manifest: MakeManifest
) -> None:
    tables = run_tables(GPU)
    causes = [*BOUNDS, "latency", "contention", "recorded"]
    numbers = {
        column.name: 1 if column.type == "int64" else 0.5
        for column in tables["replay"].columns
        if not column.nullable
    }
    shares = {f"critical_share.{name}": 0.0 for name in causes}
    shares |= {"critical_share.launch": 0.75, "critical_share.latency": 0.25}
    row: dict[str, Any] = {**numbers, **shares, "run_id": "gpu3", "flags": []}
    critical = {
        "step": [0, 0],
        "cause": np.array([causes.index("launch"), causes.index("latency")]),
        "link_name": ["", "a>b"],
        "time_s": [0.75, 0.25],
        "share": [0.75, 0.25],
    }
    written: dict[str, Any] = {"replay": row, "critical": critical}
    replayed = open_run(write_run(tmp_path, make_manifest("gpu3"), written, tables))
    drawn = {row["series"]: row["share"] for row in rows_of(draw(replayed, "critical_path"))}

    assert drawn == {"launch": 0.75, "latency": 0.25}
    assert findings(replayed)[0].headline == (
        "Most of the critical path goes into launching kernels."
    )
