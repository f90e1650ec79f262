from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow.parquet as pq
import pytest

from results import ResultsError, open_sweep
from results.schema import SCHEMA_VERSION, sweep_table
from results.sweep import metric_columns
from results.sweep_store import SweepWriter

METRICS = ["output_throughput", "mean_ttft_ms", "completed", "flags", "mean_batch_size"]
TABLE = sweep_table({"model": "string", "seed": "int64"}, metric_columns("summary", METRICS))


def row(point: int, status: str = "completed", **values: Any) -> dict[str, Any]:
    found = {
        "point": point,
        "run_id": f"r{point}",
        "status": status,
        "model": "m",
        "seed": point % 3,
    }
    done = {"output_throughput": 10.0 * point, "mean_ttft_ms": 5.0, "completed": 3, "flags": ["f"]}
    return {**found, **(done if status == "completed" else {}), **values}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A sweep of six points of which five are there, in two parts and three statuses."""
    with SweepWriter(tmp_path / "mine", TABLE) as writer:
        writer.write_manifest(
            {
                "name": "mine",
                "kind": "summary",
                "points": 6,
                "digest": "d",
                "axes": {"model": "string", "seed": "int64"},
                "metrics": METRICS,
                "definition": {},
            }
        )
        writer.append([row(3), row(1), row(2, "infeasible", reason="too big")])
        writer.append([row(0), row(4, "skipped", run_id=None)])
    return tmp_path / "mine"


def test_a_part_without_rows_adds_none(folder: Path) -> None:
    first = next((folder / "points" / "status=completed").iterdir())
    pq.write_table(pq.read_table(first).slice(0, 0), first.with_name("part-000009.parquet"))

    assert open_sweep(folder).points.column("point").to_pylist() == [0, 1, 2, 3, 4]


def test_points_come_back_in_order_with_their_types(folder: Path) -> None:
    found = open_sweep(folder)

    assert found.points.column("point").to_pylist() == [0, 1, 2, 3, 4]
    assert found.points.column("status").to_pylist()[2] == "infeasible"
    assert found.points.column("flags").to_pylist()[:3] == [["f"], ["f"], None]
    assert found.status_counts == {
        "completed": 3, "infeasible": 1, "failed": 0, "skipped": 1, "pending": 1,
    }  # fmt: skip
    assert found.points.schema.field("mean_ttft_ms").metadata[b"unit"] == b"ms"


def test_pandas_polars_and_duckdb_read_the_parts_without_help(folder: Path) -> None:
    points = folder / "points"
    query = (
        f"select status, count(*) from read_parquet('{points}/**/*.parquet') group by 1 order by 1"
    )
    expected = [("completed", 3), ("infeasible", 1), ("skipped", 1)]

    assert duckdb.execute(query).fetchall() == expected
    assert sorted(pl.read_parquet(points)["status"].value_counts().rows()) == expected
    frame = pytest.importorskip("pandas").read_parquet(points)
    assert sorted(frame["status"].astype(str).value_counts().items()) == expected
    assert list(open_sweep(folder).pandas()["point"]) == [0, 1, 2, 3, 4]


def test_the_best_is_the_highest_or_lowest_as_the_metric_wants(folder: Path) -> None:
    found = open_sweep(folder)

    assert [each["point"] for each in found.best("output_throughput", 2)] == [3, 1]
    assert found.best("mean_ttft_ms")[0]["point"] == 0  # all the same: the first
    assert found.best("completed", lowest=True)[0]["completed"] == 3
    with pytest.raises(ResultsError, match="has no known direction"):
        found.best("mean_batch_size")
    with pytest.raises(ResultsError, match="no metric 'mean_tfft_ms'; nearest: mean_ttft_ms"):
        found.best("mean_tfft_ms")


def test_compaction_leaves_one_part_per_status_and_the_later_row_of_two(
    folder: Path,
) -> None:
    with SweepWriter(folder, TABLE) as writer:
        writer.append([row(1, mean_ttft_ms=7.0)])
        writer.compact()
    files = sorted(str(file.relative_to(folder)) for file in folder.rglob("*.parquet"))
    again = open_sweep(folder).points

    assert [file.rpartition("/")[0] for file in files] == [
        "points/status=completed", "points/status=infeasible", "points/status=skipped",
    ]  # fmt: skip
    assert again.column("mean_ttft_ms").to_pylist()[:2] == [5.0, 7.0]


def test_a_part_that_is_cut_short_is_named_with_what_to_do(folder: Path) -> None:
    part = next((folder / "points" / "status=completed").iterdir())
    part.write_bytes(part.read_bytes()[:-20])

    with pytest.raises(ResultsError, match=r"part-00000\d.parquet: damaged or cut short .* resume"):
        _ = open_sweep(folder).points


def test_files_that_are_no_parts_of_this_sweep_are_refused(folder: Path) -> None:
    (folder / "points" / "notes.txt").write_text("x")
    with pytest.raises(ResultsError, match=r"notes.txt: not a part of a sweep"):
        _ = open_sweep(folder).points
    (folder / "points" / "notes.txt").unlink()
    other = sweep_table({"router": "string"}, metric_columns("summary", METRICS))
    with SweepWriter(folder, other) as writer:
        writer.append([{"point": 9, "status": "completed", "router": "r", "flags": []}])
    with pytest.raises(ResultsError, match=r"of another sweep \(differs in model, router, seed\)"):
        _ = open_sweep(folder).points


def test_a_sweep_has_one_writer_at_a_time(folder: Path) -> None:
    with (
        SweepWriter(folder, TABLE),
        pytest.raises(ResultsError, match="another process is writing"),
    ):
        SweepWriter(folder, TABLE)


def test_what_is_no_sweep_is_refused_by_name(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "sweeps").mkdir()
    folder.rename(tmp_path / "results" / "sweeps" / "mine")

    assert open_sweep("mine").name == "mine"
    with pytest.raises(ResultsError, match="mien: no such sweep; nearest: mine"):
        open_sweep("mien")
    with pytest.raises(ResultsError, match=r"results: not a sweep: it has no sweep.json"):
        open_sweep("results")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "not a sweep's manifest, or a damaged one"),
        ("[]", "the manifest lacks schema_version"),
        ('{"schema_version": 1}', "the manifest lacks name, points"),
    ],
)
def test_a_damaged_manifest_is_refused(folder: Path, text: str, said: str) -> None:
    (folder / "sweep.json").write_text(text)

    with pytest.raises(ResultsError, match=said):
        open_sweep(folder)


def test_a_manifest_of_the_future_is_refused(folder: Path) -> None:
    path = folder / "sweep.json"
    now, later = f'"schema_version": {SCHEMA_VERSION}', f'"schema_version": {SCHEMA_VERSION + 1}'
    path.write_text(path.read_text().replace(now, later))

    with pytest.raises(ResultsError, match="written by a newer corsair-sim"):
        open_sweep(folder)
