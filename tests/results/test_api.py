import json
from pathlib import Path

import pytest

import results
from corsair_common.units import Integers
from results.api import open_run
from results.errors import ResultsError
from results.schema.serving import cost_columns
from results.summary import Machine, summarise


def damage(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 0xFF
    path.write_bytes(content)


def test_the_summary_comes_back_as_it_was(run_folder: Path, requests: dict[str, Integers]) -> None:
    written = summarise(requests, machine=Machine(cards=2))

    unpriced = dict.fromkeys((column.name for column in cost_columns()), None)
    first = {"run_id": "abc123", "model_version": 1}
    assert open_run(run_folder).summary == {**first, **written, **unpriced}


def test_a_run_is_opened_by_folder_by_root_and_id_and_by_bare_id(
    run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = run_folder.parent.parent / "here"
    (here / "results").mkdir(parents=True)
    (here / "results" / "runs").symlink_to(run_folder.parent)
    monkeypatch.chdir(here)

    assert open_run(str(run_folder)).run_id == "abc123"
    assert open_run(run_folder.parent, "abc123").path == run_folder
    assert open_run("abc123").run_id == "abc123"


def test_the_room_itself_offers_the_reading_side() -> None:
    assert results.open_run is open_run
    assert results.ResultsError is ResultsError
    with pytest.raises(AttributeError, match="no attribute 'opne_run'"):
        results.opne_run  # type: ignore[attr-defined]  # noqa: B018


def test_a_run_set_aside_by_a_crash_can_still_be_read(run_folder: Path) -> None:
    run_folder.rename(run_folder.with_name(".old-abc123-4194305"))

    assert open_run(run_folder).requests.num_rows == 4


def test_tables_know_their_units(run_folder: Path) -> None:
    run = open_run(run_folder)

    assert run.requests.schema.field("ttft_s").metadata[b"unit"] == b"s"
    assert run.cards.schema.field("busy_mac_s").metadata[b"unit"] == b"s"
    assert run.tables == ("cards", "requests", "summary")


def test_pandas_reads_a_table_and_its_units(run_folder: Path) -> None:
    pytest.importorskip("pandas")
    frame = open_run(run_folder).pandas("requests")

    assert frame["ttft_s"].iloc[0] == 0.012
    assert list(frame["status"].unique()) == ["completed", "rejected_too_long"]
    assert frame.attrs["units"]["ttft_s"] == "s"


def test_polars_reads_a_table_with_our_help_and_without(run_folder: Path) -> None:
    polars = pytest.importorskip("polars")
    ours = open_run(run_folder).polars("requests")
    alone = polars.read_parquet(run_folder / "requests.parquet")

    assert ours.equals(alone)
    assert alone["replica"].null_count() == 1


def test_duckdb_reads_a_folder_of_runs_and_their_units(run_folder: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    path = run_folder.parent / "*" / "requests.parquet"
    tokens = duckdb.sql(f"SELECT sum(output_tokens) FROM '{path}' WHERE status = 'completed'")
    words = duckdb.sql(
        f"SELECT decode(value) FROM parquet_kv_metadata('{path}')"
        " WHERE decode(key) = 'corsair_sim.columns'"
    )

    assert tokens.fetchall() == [(9,)]
    assert json.loads(words.fetchall()[0][0])["ttft_s"]["unit"] == "s"


def test_a_package_that_is_not_there_is_named(
    run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "polars", None)

    with pytest.raises(ResultsError, match="polars is not installed: pip install polars"):
        open_run(run_folder).polars("requests")


def test_an_unknown_run_is_met_with_the_nearest(run_folder: Path) -> None:
    with pytest.raises(ResultsError, match=r"abc124: no such run; nearest: abc123"):
        open_run(run_folder.with_name("abc124"))


def test_a_folder_of_runs_is_no_run_and_says_what_it_holds(run_folder: Path) -> None:
    with pytest.raises(ResultsError, match=r"has no manifest\.json; .*runs holds abc123"):
        open_run(run_folder.parent)


def test_an_unknown_table_is_met_with_the_nearest(run_folder: Path) -> None:
    with pytest.raises(ResultsError, match="no table 'request'; nearest: requests"):
        open_run(run_folder).table("request")


def test_a_table_that_was_not_written_is_met_with_those_that_were(run_folder: Path) -> None:
    with pytest.raises(ResultsError, match="no table 'steps'; it has cards, requests, summary"):
        _ = open_run(run_folder).steps


def test_a_missing_file_is_named(run_folder: Path) -> None:
    (run_folder / "cards.parquet").unlink()

    with pytest.raises(ResultsError, match=r"cards\.parquet: missing"):
        open_run(run_folder)


def test_a_file_cut_short_is_named(run_folder: Path) -> None:
    path = run_folder / "requests.parquet"
    path.write_bytes(path.read_bytes()[:-100])

    with pytest.raises(ResultsError, match=r"requests\.parquet: \d+ bytes, but .* cut short"):
        open_run(run_folder)


@pytest.mark.parametrize("at", [60, -1])
def test_a_damaged_file_is_named(run_folder: Path, at: int) -> None:
    damage(run_folder / "requests.parquet", at)
    run = open_run(run_folder)

    with pytest.raises(ResultsError, match=r"requests\.parquet: cannot read the table"):
        _ = run.requests
