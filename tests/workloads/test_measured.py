import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from workloads.measured import LAYOUTS, detect_layout, find_measured, read_measured
from workloads.requests import TraceError

DATA = Path(__file__).parents[3] / "shared/data/measured"
SILICON = """\
backend,model_path,system,precision,mode,isl,osl,concurrency,tp_size,silicon_ttft_ms,silicon_tpot_ms,note
vllm,meta-llama/Llama-3.1-70B,h100_sxm,fp8,agg,1024,512,64.0,4,100.5,20,first
trtllm,meta-llama/Llama-3.1-8B,h100_sxm,,agg,128,128,,1,,7.25,second
"""


def written(folder: Path, text: str, name: str = "points.csv") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_a_points_file_is_read_by_its_columns_whatever_its_name(tmp_path: Path) -> None:
    points = read_measured(written(tmp_path, SILICON, "anything.csv"))

    assert points.layout.name == "silicon"
    assert points["concurrency"].tolist() == [64, 0]
    assert points["silicon_tpot_ms"].tolist() == [20.0, 7.25]
    assert points.si("silicon_ttft_ms")[0] == 0.1005
    assert points["moe_ep_size"].tolist() == [0, 0]


def test_a_row_keeps_its_own_columns_and_says_none_where_a_number_is_missing(
    tmp_path: Path,
) -> None:
    row = read_measured(written(tmp_path, SILICON)).row(1)

    assert (row["note"], row["backend"], row["isl"]) == ("second", "trtllm", 128)
    assert row["silicon_ttft_ms"] is None
    assert row["precision"] == ""


def test_parquet_tables_keep_words_counts_and_empty_cells(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    columns = {
        "system": pa.array(["h100_sxm", "h100_sxm"]).dictionary_encode(),
        "table": ["nccl_perf"] * 2,
        "library": ["nccl/2.28.9"] * 2,
        "op_name": ["all_reduce"] * 2,
        "dtype": ["half"] * 2,
        "implementation": pa.array(["vllm_graph", None]).dictionary_encode(),
        "num_gpus": pa.array([4, 8], pa.int8()),
        "message_size": pa.array([128, 256], pa.int32()),
        "latency": pa.array([0.005, 0.25], pa.float32()),
    }
    pq.write_table(pa.table(columns), path)
    table = read_measured(path)

    assert table.layout.name == "collectives"
    assert table["implementation"].tolist() == ["vllm_graph", ""]
    assert table["num_gpus"].dtype == np.int64
    np.testing.assert_allclose(table.si("latency"), [5e-6, 250e-6], rtol=1e-6)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "agg,1024",
            "disag,1024",
            ":2: column 'mode': found 'disag'; one of agg, disagg is needed",
        ),
        ("agg,1024", "disag,1024", "did you mean 'disagg'?"),
        ("vllm,meta", ",meta", ":2: column 'backend': found an empty value; text is needed"),
        (
            ",64.0,4",
            ",64.5,4",
            ":2: column 'concurrency': found '64.5'; a whole number of at least",
        ),
        (",7.25,", ",fast,", ":3: column 'silicon_tpot_ms': found 'fast'; a number of at least 0"),
        (",7.25,", ",-1,", ":3: column 'silicon_tpot_ms': found '-1'; a number of at least 0"),
        (",7.25,", ",inf,", ":3: column 'silicon_tpot_ms': found 'inf'"),
        ("agg,128,128", "agg,,128", ":3: column 'isl': found an empty value; a whole number"),
        (",second", "", ":3: found 11 cells; the header has 12"),
        ("osl,", "isl,", ":1: column 'isl' is given twice"),
        ("silicon_tpot_ms", "silicon_tpo_ms", "the nearest is silicon, of which it misses "),
        ("silicon_tpot_ms", "silicon_tpo_ms", "(it has 'silicon_tpo_ms')"),
    ],
)
def test_a_bad_file_gives_one_error_that_names_the_place(
    tmp_path: Path, old: str, new: str, expected: str
) -> None:
    path = written(tmp_path, SILICON.replace(old, new, 1))

    with pytest.raises(TraceError, match=re.escape(expected)) as caught:
        read_measured(path)
    assert str(caught.value).startswith(f"{path}:")
    assert "\n" not in str(caught.value)


def test_a_wrong_cell_of_parquet_is_named_by_its_row(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    columns = {"set": ["a", "a"], "model": ["m", "m"], "mode": ["on", "on"],
               "num_speculative_tokens": [1, 2], "mean_accepted_length": [1.5, 0.5]}  # fmt: skip
    pq.write_table(pa.table(columns), path)

    with pytest.raises(TraceError, match=r"row 1: column 'mean_accepted_length': found '0\.5'"):
        read_measured(path)


def test_torn_and_missing_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "torn.parquet").write_bytes(b"PAR1torn")

    with pytest.raises(TraceError, match=r"torn\.parquet: not a readable Parquet file"):
        read_measured(tmp_path / "torn.parquet")
    with pytest.raises(TraceError, match=r"none\.csv: cannot be read"):
        read_measured(tmp_path / "none.csv")


def test_a_folder_is_searched_for_files_of_known_layouts_only(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    points = written(tmp_path / "deep", SILICON, "b.csv")
    written(tmp_path, "a,b\n1,2\n", "other.csv")
    written(tmp_path, "not read", "notes.txt")

    assert [(path, layout.name) for path, layout in find_measured(tmp_path)] == [
        (points, "silicon")
    ]
    assert [path for path, _ in find_measured(points)] == [points]
    for folder, why in ((tmp_path / "nowhere", "no such folder"), (tmp_path / "x", "no such")):
        with pytest.raises(TraceError, match=why):
            find_measured(folder)


def test_no_two_layouts_can_be_taken_for_each_other() -> None:
    for layout in LAYOUTS:
        others = [other for other in LAYOUTS if set(other.needed) <= set(layout.needed)]

        assert others == [layout]


@pytest.mark.skipif(not DATA.exists(), reason=f"{DATA} is not here")
def test_the_real_files_have_the_rows_that_their_readme_names() -> None:
    found = [(path.stem, layout) for path, layout in find_measured(DATA)]
    names = {stem: layout.name for stem, layout in found}
    silicon = read_measured(DATA / "silicon/silicon_dev.csv")
    requests = read_measured(DATA / "llmservingsim/requests_dev.parquet")

    assert names["context_attention"] == names["generation_attention"] == "attention"
    assert set(names.values()) == {layout.name for layout in LAYOUTS}
    assert len(silicon) == 1053
    assert silicon["precision_inferred"].sum() == 267
    assert len(requests) == 300
    np.testing.assert_allclose(
        requests.si("ttft_ms"), requests["first_token_s"] - requests["queued_s"], atol=1e-9
    )


def test_detection_reads_no_more_than_the_header(tmp_path: Path) -> None:
    assert detect_layout(written(tmp_path, SILICON.splitlines()[0] + "\n")).name == "silicon"
