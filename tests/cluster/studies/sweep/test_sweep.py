"""Sweeps through the public API, in process."""

import errno
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO

import pytest

from cluster import load, simulate, sweep
from cluster.studies.sweep import SweepError, resume
from cluster.studies.sweep import run_point as work_module
from results import ResultsError, open_sweep
from results.errors import replacing
from results.provenance import sealed
from results.summary import flatten

BASE: dict[str, Any] = {
    "model": "llama-3.1-8b",
    "plan": {"tensor_parallel_size": 4, "pipeline_parallel_size": 2},
    "workload": {"synthetic": {"requests": 12, "preset": "azure-conv-2023"}},
}
DEFINITION: dict[str, Any] = {
    "name": "small",
    "base": BASE,
    "axes": {"workload.rate_scale": [1.0, 4.0], "scheduler.max_num_seqs": [4, 8]},
}


def rows(folder: Path) -> list[dict[str, Any]]:
    """All rows without what may differ between two sweeps of the same definition."""
    found: list[dict[str, Any]] = open_sweep(folder).points.to_pylist()
    return [{k: v for k, v in row.items() if k not in ("seconds", "host")} for row in found]


class Stop:
    """Watches until so many rows are there, and then presses Ctrl-C."""

    def __init__(self, after: int) -> None:
        self.left = after

    def planned(self, looked_at: int, total: int) -> None: ...
    def started(self, total: int, done: int) -> None: ...
    def noted(self, text: str) -> None: ...

    def advanced(self, row: Mapping[str, Any]) -> None:
        assert row["status"]
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt


def test_a_point_is_the_run_that_simulate_gives(tmp_path: Path) -> None:
    done = sweep(DEFINITION, out=tmp_path)
    row = done.points.to_pylist()[3]
    alone = simulate(load(BASE, workload={"rate_scale": 4.0}, scheduler={"max_num_seqs": 8}))

    assert done.status_counts == {
        "completed": 4, "infeasible": 0, "failed": 0, "skipped": 0, "pending": 0,
    }  # fmt: skip
    assert (row["workload.rate_scale"], row["scheduler.max_num_seqs"]) == (4.0, 8)
    assert row["run_id"] == alone.run_id
    expected = flatten(alone.summary)
    assert {name: row[name] for name in done.metrics} == {n: expected[n] for n in done.metrics}


def test_points_that_share_a_machine_are_still_the_runs_that_simulate_gives(tmp_path: Path) -> None:
    """Also where the machine depends on the traffic, or there are two of them."""
    pool = {"cards": 4, "plan": {"tensor_parallel_size": 4, "pipeline_parallel_size": 1}}
    axes = [
        {"list": [{"memory.mode": "auto"}, {"pools.prefill": pool, "pools.decode": pool}]},
        {"grid": {"workload.synthetic.preset": ["azure-conv-2023", "azure-code-2023"]}},
    ]
    base = {**BASE, "formats": {"weights": "mxint4"}}
    done = sweep({**DEFINITION, "base": base, "axes": axes}, out=tmp_path)
    divided = {"prefill": pool, "decode": pool}

    for row in done.points.to_pylist():
        changes = {"pools": divided} if row["pools.decode.cards"] else {"memory": {"mode": "auto"}}
        preset = {"synthetic": {"preset": row["workload.synthetic.preset"]}}
        alone = flatten(simulate(load(base, workload=preset, **changes)).summary)
        assert row["run_id"] == alone["run_id"]
        assert [row[name] for name in done.metrics] == [alone[name] for name in done.metrics]


def test_nothing_is_computed_twice_however_often_it_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = []
    true_run = work_module.Workshop.run

    def counted(self: Any, content: Any, terms: Any) -> Any:
        ran.append(content.run_id)
        return true_run(self, content, terms)

    monkeypatch.setattr(work_module.Workshop, "run", counted)
    for _ in range(4):
        with pytest.raises(KeyboardInterrupt):
            sweep(DEFINITION, out=tmp_path / "stopped", observer=Stop(after=1))
    done = resume(tmp_path / "stopped")
    computed = sorted(ran)
    sweep(DEFINITION, out=tmp_path / "whole")

    assert done.status_counts["pending"] == 0
    assert len(computed) == len(set(computed)) == 4
    assert rows(tmp_path / "stopped") == rows(tmp_path / "whole")


def test_an_extended_sweep_keeps_what_is_computed_under_new_numbers(tmp_path: Path) -> None:
    sweep(DEFINITION, out=tmp_path / "grown")
    wider = {
        **DEFINITION,
        "axes": {"workload.rate_scale": [0.5, 1.0, 4.0], "scheduler.max_num_seqs": [4, 8]},
    }
    before = {
        row["run_id"]: row["seconds"] for row in open_sweep(tmp_path / "grown").points.to_pylist()
    }
    sweep(wider, out=tmp_path / "grown")
    sweep(wider, out=tmp_path / "fresh")
    after = open_sweep(tmp_path / "grown").points.to_pylist()

    assert rows(tmp_path / "grown") == rows(tmp_path / "fresh")
    assert [row["seconds"] for row in after if row["run_id"] in before] == list(before.values())


def test_computed_points_are_not_lost_unasked(tmp_path: Path) -> None:
    sweep(DEFINITION, out=tmp_path)
    other = {**DEFINITION, "axes": {"workload.rate_scale": [2.0]}}

    with pytest.raises(SweepError, match="holds 4 computed points that are not in this sweep"):
        sweep(other, out=tmp_path)
    assert sweep(other, out=tmp_path, drop=True).status_counts["completed"] == 1


def test_points_that_are_the_same_run_are_computed_once_and_are_two_rows(tmp_path: Path) -> None:
    axes = {"name": ["one", "two"], "workload.rate_scale": [1.0]}
    first, second = sweep({**DEFINITION, "axes": axes}, out=tmp_path).points.to_pylist()

    assert first["run_id"] == second["run_id"]
    assert first["mean_ttft_ms"] == second["mean_ttft_ms"]
    assert first["seconds"] > 0
    assert second["seconds"] is None


def test_every_point_that_does_not_run_is_a_row_with_its_reason(tmp_path: Path) -> None:
    axes = {"list": [
        {"plan.pipeline_parallel_size": 2},
        {"plan.pipeline_parallel_size": 0},
        {"model": "llama-3.1-405b"},
        {"plan.tensor_parallel_size": 64},
    ]}  # fmt: skip
    requested = {**DEFINITION, "axes": [axes], "skip": ["plan.tensor_parallel_size > 32"]}
    right, wrong, big, skipped = sweep(requested, out=tmp_path).points.to_pylist()

    assert [row["status"] for row in (right, wrong, big, skipped)] == [
        "completed", "failed", "infeasible", "skipped",
    ]  # fmt: skip
    assert wrong["reason"].endswith("plan.pipeline_parallel_size is 0; must be at least 1")
    assert "point 1" in wrong["reason"]
    assert "does not fit" in big["reason"]
    assert "the smallest cluster" not in big["reason"]  # check prints what would fit
    assert big["run_id"] is not None
    assert skipped["reason"] == "skip: plan.tensor_parallel_size > 32"
    assert skipped["mean_ttft_ms"] is None


def test_input_that_is_wrong_for_all_points_is_refused_before_anything_is_written(
    tmp_path: Path,
) -> None:
    axes = {"plan.tensor_paralel_size": [1, 2]}

    with pytest.raises(SweepError, match=r"none of the 2 points is valid.*(?s:.)*did you mean"):
        sweep({**DEFINITION, "axes": axes}, out=tmp_path / "never")
    assert not (tmp_path / "never").exists()


@pytest.fixture
def slow_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock by which a run takes a second per request."""
    now_s = [0.0]

    def started(self: work_module.Deadline, total: int) -> None:
        now_s[0] += total
        self.check()

    clock = SimpleNamespace(monotonic=lambda: now_s[0], perf_counter=time.perf_counter)
    monkeypatch.setattr(work_module, "time", clock)
    monkeypatch.setattr(work_module.Deadline, "started", started)


@pytest.mark.usefixtures("slow_requests")
def test_a_point_that_takes_too_long_is_recorded_and_the_rest_goes_on(tmp_path: Path) -> None:
    axes = {"workload.synthetic.requests": [10, 300, 20]}
    requested = {**DEFINITION, "axes": axes, "timeout_s": 100}
    first, long, last = sweep(requested, out=tmp_path).points.to_pylist()

    assert (first["status"], last["status"]) == ("completed", "completed")
    assert (long["status"], long["reason"]) == ("failed", "took longer than timeout_s: 100 s")


@pytest.mark.usefixtures("slow_requests")
def test_failed_points_are_retried_on_request(tmp_path: Path) -> None:
    axes = {"workload.synthetic.requests": [10, 300]}
    sweep({**DEFINITION, "axes": axes, "timeout_s": 100}, out=tmp_path)
    content = json.loads((tmp_path / "sweep.json").read_text())
    content["definition"]["sweep"]["timeout_s"] = 1000
    (tmp_path / "sweep.json").write_text(json.dumps(sealed(content)))

    assert resume(tmp_path).status_counts["failed"] == 1
    assert resume(tmp_path, retry_failed=True).status_counts["completed"] == 2


def test_a_disk_that_is_full_leaves_earlier_parts_and_the_sweep_goes_on_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cluster.studies.sweep.point_rows.FLUSH_S", 0.0)
    written: list[Path] = []

    @contextmanager
    def filling(path: Path) -> Iterator[BinaryIO]:
        with replacing(path) as file:
            written.append(path)
            if len(written) > 3:  # the manifest and two points
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            yield file

    with monkeypatch.context() as full:
        full.setattr("results.sweep_store.replacing", filling)
        with pytest.raises(
            ResultsError, match="No space left on device; parts written before are intact"
        ):
            sweep(DEFINITION, out=tmp_path / "full")
    kept = open_sweep(tmp_path / "full").status_counts
    resume(tmp_path / "full")
    sweep(DEFINITION, out=tmp_path / "whole")

    assert (kept["completed"], kept["pending"]) == (2, 2)
    assert rows(tmp_path / "full") == rows(tmp_path / "whole")


def test_whole_runs_are_kept_and_used_again(tmp_path: Path) -> None:
    requested = {**DEFINITION, "store": "runs", "metrics": ["p99_*", "output_throughput"]}
    first = sweep(requested, out=tmp_path)
    runs = sorted(path.name for path in (tmp_path / "runs").iterdir())
    for part in (tmp_path / "points").rglob("*.parquet"):
        part.unlink()
    again = sweep(requested, out=tmp_path)

    assert runs == sorted(row["run_id"] for row in first.points.to_pylist())
    assert "p99_ttft_ms" in again.metrics
    assert "mean_ttft_ms" not in again.metrics
    assert (
        again.best("output_throughput")[0]["point"] == first.best("output_throughput")[0]["point"]
    )


def test_seeds_give_an_interval_for_each_setting(tmp_path: Path) -> None:
    done = sweep({**DEFINITION, "axes": {"scheduler.max_num_seqs": [8]}, "repeat": 3}, out=tmp_path)
    values = [row["mean_ttft_ms"] for row in done.points.to_pylist()]
    (interval,) = done.intervals("mean_ttft_ms")

    assert len(set(values)) == 3
    assert interval["count"] == 3
    assert interval["mean"] == pytest.approx(sum(values) / 3)
    assert interval["low"] < interval["mean"] < interval["high"]


def test_paths_start_where_they_are_written(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "a.csv").write_text(TRACE)
    (tmp_path / "b.csv").write_text(TRACE)
    (tmp_path / "base" / "scenario.yaml").write_text(
        "model: llama-3.1-8b\nplan: {tensor_parallel_size: 4, pipeline_parallel_size: 2}\n"
        "workload: {trace: a.csv}\n"
    )
    file = tmp_path / "sweep.yaml"
    file.write_text(
        "base: base/scenario.yaml\naxes: [list: [{slo.ttft_s: 1.0}, {workload.trace: b.csv}]]\n"
    )

    assert sweep(file, out=tmp_path / "out").status_counts["completed"] == 2


TRACE = "arrived_at,num_prefill_tokens,num_decode_tokens\n0.0,10,4\n0.5,20,3\n"
