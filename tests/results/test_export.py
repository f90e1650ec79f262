import csv
import json
from pathlib import Path

import pyarrow as pa
import pytest

from results.api import open_run
from results.errors import ResultsError
from results.export import _spelled, export

# fmt: off
VLLM_KEYS = {
    "date", "endpoint_type", "backend", "label", "model_id", "tokenizer_id", "num_prompts",
    "request_rate", "burstiness", "max_concurrency", "duration", "completed", "failed",
    "total_input_tokens", "total_output_tokens", "request_throughput", "request_goodput",
    "output_throughput", "total_token_throughput", "max_output_tokens_per_s",
    "max_concurrent_requests", "input_lens", "output_lens", "ttfts", "start_times",
    "generated_texts", "errors",
    *(
        f"{word}_{metric}_ms"
        for word in ("mean", "median", "std", "p99")
        for metric in ("ttft", "tpot", "itl", "e2el")
    ),
}
# fmt: on


def test_the_json_has_the_keys_of_a_detailed_vllm_result(run_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "bench.json"
    rows = export(open_run(run_folder), out, form="vllm")
    written = json.loads(out.read_text())

    assert rows == 4
    assert set(written) >= VLLM_KEYS
    assert written["date"] == "20260102-030406"
    assert written["model_id"] == "llama-3.1-8b"
    assert written["request_rate"] == 3.0  # four arrivals within one second


def test_the_json_holds_every_request_a_refused_one_as_failed(
    run_folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "bench.json"
    export(open_run(run_folder), out, form="vllm")
    written = json.loads(out.read_text())

    assert written["input_lens"] == [100, 200, 50, 9000]
    assert written["output_lens"] == [5, 3, 1, 0]
    assert written["ttfts"] == [0.012, 0.02, 0.005, 0.0]
    assert written["errors"] == ["", "", "", "rejected_too_long"]
    assert written["total_output_tokens"] == sum(written["output_lens"])
    assert "itls" not in written
    assert "histogram" in written["itls_omitted"]


def test_the_csv_has_a_header_and_nothing_where_nothing_happened(
    run_folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "requests.csv"
    export(open_run(run_folder), out, form="csv")
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))

    assert [row["status"] for row in rows] == ["completed"] * 3 + ["rejected_too_long"]
    assert float(rows[0]["tpot_s"]) == 0.01
    assert (rows[3]["replica"], rows[3]["finish_s"]) == ("", "")


@pytest.mark.parametrize("table", ["summary", "cards"])
def test_any_table_can_be_written_as_csv(run_folder: Path, tmp_path: Path, table: str) -> None:
    run, out = open_run(run_folder), tmp_path / "table.csv"
    rows = export(run, out, form="csv", table=table)
    lines = out.read_text().splitlines()

    assert len(lines) == rows + 1 == run.table(table).num_rows + 1
    assert lines[0].split(",") == run.table(table).column_names


def test_an_unknown_format_is_refused(run_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match="unknown format 'xlsx', allowed are vllm, csv"):
        export(open_run(run_folder), tmp_path / "out", form="xlsx")


def test_a_failed_export_leaves_the_old_file(run_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    out.write_text("old")

    with pytest.raises(ResultsError, match="no table"):
        export(open_run(run_folder), out, form="csv", table="nothing")
    assert out.read_text() == "old"


@pytest.mark.parametrize("word", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1"])
def test_words_that_a_spreadsheet_would_run_get_an_apostrophe(word: str) -> None:
    words = pa.array(["plain", word, None, "plain"])

    for column in (words, words.dictionary_encode()):
        assert _spelled(column).to_pylist() == ["plain", f"'{word}", None, "plain"]
    assert _spelled(pa.array([[word, "b"]])).to_pylist() == [f"'{word}; b"]
    assert _spelled(pa.array([-1.5])).to_pylist() == [-1.5]
