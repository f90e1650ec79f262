import json
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from corsair_common.units import Integers
from results.arrow import Columns
from results.devices import DIMC
from results.engine_columns import card_columns, request_columns
from results.errors import ResultsError
from results.schema import TABLES
from results.store import RunWriter

ROWS_PER_GROUP = TABLES["steps"].rows_per_group
MakeManifest = Callable[..., dict[str, object]]


def steps(first: int, last: int) -> dict[str, Integers]:
    rows = np.arange(first, last)
    return {column.name: rows + i for i, column in enumerate(TABLES["steps"].columns)}


@contextmanager
def full_disk(limit_bytes: int) -> Iterator[None]:
    """No file may grow past the limit, as if the disk were full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_run_comes_back_as_it_was_written(
    run_folder: Path, requests: dict[str, Integers]
) -> None:
    table = pq.read_table(run_folder / "requests.parquet")

    assert table["prompt_tokens"].to_pylist() == requests["prompt_tokens"].tolist()
    assert table["replica"].to_pylist() == [0, 1, 0, None]
    assert table["finish_s"].to_pylist() == [0.052, 0.036, 0.025, None]
    assert table["status"].to_pylist() == ["completed"] * 3 + ["rejected_too_long"]
    assert sorted(path.name for path in run_folder.iterdir()) == [
        "cards.parquet",
        "manifest.json",
        "requests.parquet",
        "summary.parquet",
    ]


def test_cards_share_row_groups_and_come_one_after_another(run_folder: Path) -> None:
    file = pq.ParquetFile(run_folder / "cards.parquet")

    assert file.num_row_groups == 1
    assert file.read()["card_name"].to_pylist() == ["s0.c0", "s0.c0", "s0.c1", "s0.c1"]


def test_the_same_columns_give_the_same_bytes_whatever_the_windows(
    tmp_path: Path, make_manifest: MakeManifest
) -> None:
    rows = ROWS_PER_GROUP + 1000
    cuts = ([0, rows], [0, 1, 70_000, 70_000, ROWS_PER_GROUP + 5, rows])
    files = []
    for number, edges in enumerate(cuts):
        with RunWriter(tmp_path / str(number), "run") as writer:
            for first, last in pairwise(edges):
                writer.append("steps", steps(first, last))
            folder = writer.commit(make_manifest("run"))
        files.append((folder / "steps.parquet").read_bytes())

    assert files[0] == files[1]
    read = pq.ParquetFile(folder / "steps.parquet")
    assert [read.metadata.row_group(i).num_rows for i in range(2)] == [ROWS_PER_GROUP, 1000]
    np.testing.assert_array_equal(read.read()["end_ps"], np.arange(rows) + 1)


def test_cards_that_share_arrays_give_the_bytes_of_cards_written_one_by_one(
    tmp_path: Path, make_manifest: MakeManifest
) -> None:
    rows = 3000
    edges = np.arange(rows + 1)
    stages = [
        card_columns(edges, np.full((rows, 6), 0), DIMC.bound_names)
        | {"mbu": edges[1:] / 7 + stage}
        for stage in range(2)
    ]
    parts: list[Columns] = [
        {
            "card": card,
            "card_name": f"s0.c{card}",
            "server": card // 4,
            "replica": None if card == 7 else 0,
            "pool": None if card == 7 else "decode",
            **stages[card // 4],
        }
        for card in range(8)
    ]
    with RunWriter(tmp_path / "shared", "run") as writer:
        writer.extend("cards", parts)
        shared = writer.commit(make_manifest("run"))
    with RunWriter(tmp_path / "single", "run") as writer:
        for part in parts:
            writer.append("cards", part)
        single = writer.commit(make_manifest("run"))

    assert (shared / "cards.parquet").read_bytes() == (single / "cards.parquet").read_bytes()
    read = pq.read_table(shared / "cards.parquet")
    assert read["mbu"].to_pylist()[::rows] == [1 / 7] * 4 + [8 / 7] * 4
    assert read["pool"].to_pylist()[::rows] == ["decode"] * 7 + [None]


def test_a_fresh_process_writes_the_same_bytes(
    write_run: Callable[..., Path],
    tmp_path: Path,
    requests: dict[str, Integers],
    make_manifest: MakeManifest,
) -> None:
    (tmp_path / "requests.json").write_text(
        json.dumps({name: column.tolist() for name, column in requests.items()})
    )
    code = (
        "import json, pathlib, sys, numpy as np\n"
        "from results.engine_columns import request_columns\n"
        "from results.store import RunWriter\n"
        "given = json.loads((pathlib.Path(sys.argv[1]) / 'requests.json').read_text())\n"
        "columns = {name: np.array(values) for name, values in given.items()}\n"
        "with RunWriter(pathlib.Path(sys.argv[1]) / 'fresh', 'run') as writer:\n"
        "    writer.append('requests', request_columns(columns))\n"
        "    writer.commit({'run_id': 'run'})\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    here = write_run(
        tmp_path / "here", make_manifest("run"), {"requests": request_columns(requests)}
    )
    there = tmp_path / "fresh" / "run"

    assert (here / "requests.parquet").read_bytes() == (there / "requests.parquet").read_bytes()


def test_windows_are_copied_since_the_engine_reuses_them(
    tmp_path: Path, make_manifest: MakeManifest
) -> None:
    window = steps(0, 10)
    with RunWriter(tmp_path, "run") as writer:
        writer.append("steps", window)
        window["tokens"][:] = -1
        folder = writer.commit(make_manifest("run"))

    assert pq.read_table(folder / "steps.parquet")["tokens"].to_pylist() == list(range(4, 14))


def test_an_empty_table_has_its_columns(
    write_run: Callable[..., Path], tmp_path: Path, make_manifest: MakeManifest
) -> None:
    folder = write_run(tmp_path, make_manifest("run"), {"steps": steps(0, 0)})
    table = pq.read_table(folder / "steps.parquet")

    assert table.num_rows == 0
    assert table.column_names == [column.name for column in TABLES["steps"].columns]


def test_a_failure_in_the_middle_leaves_no_trace(
    write_run: Callable[..., Path],
    tmp_path: Path,
    make_manifest: MakeManifest,
    tables: dict[str, Any],
) -> None:
    def cards() -> Iterator[Columns]:
        yield next(iter(tables["cards"]))
        raise RuntimeError("the machine went down")

    with pytest.raises(RuntimeError):
        write_run(tmp_path, make_manifest(), {**tables, "cards": cards()})

    assert list(tmp_path.iterdir()) == []


def test_a_failure_in_the_middle_keeps_the_old_run(
    run_folder: Path,
) -> None:
    before = {path.name: path.read_bytes() for path in run_folder.iterdir()}

    def write_half() -> None:
        with RunWriter(run_folder.parent, "abc123") as writer:
            writer.append("steps", steps(0, 10))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_half()
    assert {path.name: path.read_bytes() for path in run_folder.iterdir()} == before
    assert list(run_folder.parent.iterdir()) == [run_folder]


def test_a_killed_writer_leaves_no_run_and_the_next_one_cleans_up(
    write_run: Callable[..., Path], tmp_path: Path, make_manifest: MakeManifest
) -> None:
    code = (
        "import os, pathlib, sys\n"
        "from results.store import RunWriter\n"
        "with RunWriter(pathlib.Path(sys.argv[1]), 'run'):\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    left = list(tmp_path.iterdir())
    assert [path.name.startswith(".tmp-run-") for path in left] == [True]

    folder = write_run(tmp_path, make_manifest("other"), {"steps": steps(0, 1)})
    assert list(tmp_path.iterdir()) == [folder]


def test_a_run_of_the_same_id_is_replaced_whole(
    write_run: Callable[..., Path], run_folder: Path, make_manifest: MakeManifest
) -> None:
    again = write_run(run_folder.parent, make_manifest(), {"steps": steps(0, 3)})

    assert again == run_folder
    assert sorted(path.name for path in again.iterdir()) == ["manifest.json", "steps.parquet"]


def test_writers_of_the_same_run_at_once_leave_one_whole_run(
    write_run: Callable[..., Path], tmp_path: Path, make_manifest: MakeManifest
) -> None:
    def write(rows: int) -> Path:
        return write_run(tmp_path, make_manifest("run"), {"steps": steps(0, rows)})

    with ThreadPoolExecutor(8) as pool:
        folders = set(pool.map(write, range(1, 33)))

    assert folders == {tmp_path / "run"}
    assert list(tmp_path.iterdir()) == [tmp_path / "run"]
    assert 1 <= pq.read_table(tmp_path / "run" / "steps.parquet").num_rows <= 32


def test_a_full_disk_is_one_clear_error_and_leaves_no_trace(
    write_run: Callable[..., Path], tmp_path: Path, make_manifest: MakeManifest
) -> None:
    rng = np.random.default_rng(0)
    noise = {c.name: rng.integers(0, 2**62, ROWS_PER_GROUP) for c in TABLES["steps"].columns}

    with (
        full_disk(100_000),
        pytest.raises(ResultsError, match="cannot write the run: ") as caught,
    ):
        write_run(tmp_path / "runs", make_manifest("run"), {"steps": noise})

    assert caught.value.exit_code == 2
    assert list((tmp_path / "runs").iterdir()) == []


@pytest.mark.parametrize("where", ["file", "file/below"])
def test_a_root_that_is_no_folder_is_named(
    write_run: Callable[..., Path], tmp_path: Path, make_manifest: MakeManifest, where: str
) -> None:
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(ResultsError, match=f"{where}: cannot store runs here"):
        write_run(tmp_path / where, make_manifest("run"), {})


def test_a_file_in_the_place_of_the_run_is_named(
    write_run: Callable[..., Path], tmp_path: Path, make_manifest: MakeManifest
) -> None:
    (tmp_path / "run").write_text("in the way")

    with pytest.raises(ResultsError, match="run: cannot write the run: Not a directory"):
        write_run(tmp_path, make_manifest("run"), {})
    assert (tmp_path / "run").read_text() == "in the way"


@pytest.mark.parametrize("run_id", ["", "..", "a/b", ".hidden"])
def test_a_run_id_must_be_a_plain_name(tmp_path: Path, run_id: str) -> None:
    with pytest.raises(ResultsError, match="cannot be a run's name"):
        RunWriter(tmp_path, run_id)


def test_the_manifest_must_be_that_of_the_run(tmp_path: Path, make_manifest: MakeManifest) -> None:
    with (
        pytest.raises(ValueError, match="manifest of 'b' for a run 'a'"),
        RunWriter(tmp_path, "a") as writer,
    ):
        writer.commit(make_manifest("b"))
    assert list(tmp_path.iterdir()) == []
