import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cluster.api.serving import simulate
from cluster.commands.app import main
from cluster.scenario.load import load
from cluster.scenario.resolve import resolve
from cluster.studies.scoreboard import Point, ScoreError, board, points_of, scoreboard
from cluster.studies.scoreboard.fitted import scored_requests
from cluster.studies.scoreboard.names import device_of, model_of
from cluster.studies.scoreboard.page import Section, page_of
from cluster.studies.scoreboard.point import SetKey
from cluster.studies.scoreboard.predict import Predict, predictor
from cluster.studies.scoreboard.recipe import formats_of, scheduler_of
from topology.catalog import list_hardware, load_hardware
from workloads.model import list_models
from workloads.requests import TraceError

DATA = Path(__file__).parents[4] / "shared/data/measured"
Captured = pytest.CaptureFixture[str]

HEADER = (
    "id,provenance,backend,backend_version,model_path,system,precision,mode,isl,osl,concurrency,"
    "batch_size,tp_size,pp_size,attention_dp_size,moe_ep_size,silicon_ttft_ms,silicon_tpot_ms,mine\n"
)
LLAMA = "meta-llama/Llama-3.1-70B"
ROWS = (
    f"a,2026-04-06.csv,vllm,,{LLAMA},h100_sxm,fp8,agg,1024,512,64,64,4,1,1,1,100,20,x\n"
    f"b,2026-04-06.csv,vllm,,{LLAMA},h100_sxm,fp8,agg,1024,512,8,8,4,1,1,1,50,10,y\n"
    f"c,h100_sxm/old.csv,vllm,0.12.0,{LLAMA},h100_sxm,fp8,agg,1024,512,8,8,4,1,1,1,1,10,z\n"
    f"d,2026-04-06.csv,vllm,,{LLAMA},h100_sxm,fp8,agg,1024,512,16,4,4,1,4,1,50,10,w\n"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "whatever.csv").write_text(HEADER + ROWS)
    return tmp_path


def stub(**by_id: tuple[float, float]) -> Predict:
    """Predicted TPOT and TTFT in ms by the id of a point."""

    def predict(point: Point) -> dict[str, float]:
        tpot_ms, ttft_ms = by_id[str(point.row["id"])]
        return {"tpot_ms": tpot_ms, "ttft_ms": ttft_ms, "j_per_output_token": 1.5}

    return predict


def test_a_row_becomes_the_closed_loop_that_its_client_ran(folder: Path) -> None:
    point = points_of(folder)[0]
    resolved = resolve(load(dict(point.scenario)))

    assert point.key == SetKey("h100", "vllm", "llama-3.1-70b", "fp8", "agg")
    assert resolved.concurrency == 64
    assert len(resolved.requests) == 10 * 64
    assert not resolved.requests.arrival_ps.any()
    assert (resolved.requests.prompt_tokens.min(), resolved.requests.prompt_tokens.max()) == (
        819, 1024,
    )  # fmt: skip
    assert resolved.requests.output_tokens.min() >= 409
    assert resolved.plan.tensor_parallel_size == 4
    assert resolved.scenario.cluster.cards_per_server == 4
    assert resolved.scenario.scheduler.max_num_batched_tokens == 8192
    assert resolved.scenario.scheduler.max_num_seqs == 256
    assert resolved.scenario.scheduler.async_scheduling
    assert not resolved.prefix_caching
    assert (resolved.formats.kv.name, resolved.formats.weights.name) == ("bf16", "fp8_e4m3")


def test_where_the_protocol_is_unknown_lengths_are_nominal_and_ttft_is_not_scored(
    folder: Path,
) -> None:
    point = points_of(folder)[2]
    synthetic = point.scenario["workload"]["synthetic"]

    assert synthetic["prompt_tokens"] == {"uniform": {"low": 1024, "high": 1024}}
    assert not point.scores_ttft
    assert point.scenario["scheduler"]["async_scheduling"] is False


def test_sets_have_medians_percentiles_and_bias_of_the_rows_that_were_run(folder: Path) -> None:
    found = scoreboard(folder, predict=stub(a=(22, 90), b=(9, 60), c=(13, 99), d=(0, 0)))
    (one,) = found.sets

    assert {name: one[name] for name in SetKey._fields} == {
        "device": "h100", "engine": "vllm", "model": "llama-3.1-70b", "precision": "fp8",
        "mode": "agg",
    }  # fmt: skip
    assert (one["n"], one["refused"]) == (4, 1)
    assert one["tpot_median"] == pytest.approx(0.1)  # of +0.1, -0.1 and +0.3
    assert one["tpot_bias"] == pytest.approx(0.1)
    assert one["tpot_p90"] == pytest.approx(0.1 + 0.8 * 0.2)
    assert one["ttft_median"] == pytest.approx(0.15)  # of -0.1 and +0.2; c is not scored
    assert one["ttft_bias"] == pytest.approx(0.05)


def test_rows_that_a_hardware_file_was_fitted_on_are_listed_but_no_evidence(tmp_path: Path) -> None:
    fitted = ROWS.splitlines()[0].replace("1024,512,64,64", "1024,1024,64,64")
    other_engine = fitted.replace("vllm", "trtllm")
    text = "\n".join((fitted, other_engine, ROWS.splitlines()[1]))
    (tmp_path / "points.csv").write_text(f"{HEADER}{text}\n")
    found = scoreboard(tmp_path, predict=stub(a=(22, 90), b=(9, 60)))

    assert [row["fitted"] for row in found.rows] == [True, False, False]
    assert found.rows[0]["predicted_tpot_ms"] == 22
    assert [(one["engine"], one["n"], one["fitted"]) for one in found.sets] == [
        ("vllm", 1, 1),
        ("trtllm", 1, 0),
    ]
    assert found.sets[0]["tpot_median"] == pytest.approx(0.1)  # of b alone


def test_only_requests_of_a_log_that_nothing_was_fitted_on_are_scored() -> None:
    run, numbers = "RTXPRO6000/Llama-3.1-8B", np.array([0, 99, 100, 299])

    assert scored_requests("rtx-pro-6000", run, numbers).tolist() == [False, False, True, True]
    assert scored_requests("h100", run, numbers).all()
    assert scored_requests("rtx-pro-6000", "RTXPRO6000/other", numbers).all()


def test_rows_keep_their_columns_beside_predicted_and_measured(folder: Path) -> None:
    found = scoreboard(folder, predict=stub(a=(22, 90), b=(9, 60), c=(13, 99)))
    first, last = found.rows[0], found.rows[3]

    assert (first["mine"], first["isl"], first["silicon_tpot_ms"]) == ("x", 1024, 20.0)
    assert (first["predicted_tpot_ms"], first["measured_tpot_ms"]) == (22, 20.0)
    assert (first["predicted_ttft_ms"], first["measured_ttft_ms"]) == (90, 100.0)
    assert first["predicted_j_per_output_token"] == 1.5
    assert first["refused"] is None
    assert last["refused"] == "attention data parallelism (4) is not simulated"
    assert last["predicted_tpot_ms"] is None


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "h100_sxm,fp8",
            "h1000_sxm,fp8",
            "no hardware file for 'h1000_sxm'; the nearest is 'h100'",
        ),
        (f"{LLAMA},h100", "meta-llama/Llama-3.1-71B,h100", "no bundled model is 'meta-llama/"),
        ("agg,1024", "disagg,1024", "separate prefill and decode pools take no closed loop"),
        ("512,64,64,4,1,1,1", "512,,,4,1,1,1", "neither concurrency nor batch_size"),
        ("512,64,64,4,1,1,1", "512,64,64,4,1,1,3", "moe_ep_size 3 does not divide tp_size 4"),
    ],
)
def test_what_cannot_be_run_is_a_row_with_a_reason(
    tmp_path: Path, old: str, new: str, expected: str
) -> None:
    (tmp_path / "one.csv").write_text(HEADER + ROWS.splitlines()[0].replace(old, new) + "\n")
    (point,) = points_of(tmp_path)

    assert point.refused.startswith(expected)
    assert not point.scenario


def test_an_error_of_a_run_is_the_rows_reason_and_a_fault_is_not_hidden(folder: Path) -> None:
    class UnfitError(ValueError):
        exit_code = 3

    def refusing(point: Point) -> dict[str, float]:
        if point.row["id"] == "a":
            raise UnfitError("it does not fit\nby much")
        return {"tpot_ms": 1.0}

    def faulty(point: Point) -> dict[str, float]:
        raise ValueError(point.row["id"])

    assert scoreboard(folder, predict=refusing).rows[0]["refused"] == "it does not fit"
    with pytest.raises(ValueError, match=r"^a$"):
        scoreboard(folder, predict=faulty)


def test_names_of_devices_and_models_are_recognised() -> None:
    gpus = [name for name in list_hardware() if load_hardware(name).kind == "gpu"]
    systems = (
        "h100_sxm",
        "b200_sxm",
        "rtx_pro_6000_server",
        "RTXPRO6000",
        "MI300X",
        "gaudi2",
        "gb200",
    )
    paths = {
        "nvidia/Qwen3-32B-NVFP4": "qwen3-32b",
        "meta-llama/Meta-Llama-3.1-8B-Instruct-FP8": "llama-3.1-8b",
        "Qwen/Qwen3-235B-A22B-FP8": "qwen3-235b-a22b",
        "deepseek-ai/DeepSeek-R1": "deepseek-v3",
        "MiniMaxAI/MiniMax-M2.5": "minimax-m2.5",
    }

    assert [device_of(system, gpus) for system in systems] == [
        "h100", "b200", "rtx-pro-6000", "rtx-pro-6000", "mi300x", "gaudi2", "gb200-nvl72",
    ]  # fmt: skip
    assert {path: model_of(path, list_models(), None) for path in paths} == paths


def test_a_model_that_is_not_bundled_is_found_in_a_folder_of_configs(tmp_path: Path) -> None:
    (tmp_path / "Strange-7B-Instruct").mkdir()
    (tmp_path / "Strange-7B-Instruct/config.json").write_text("{}")

    found = model_of("some/Strange-7B-Instruct", list_models(), tmp_path)

    assert found == str(tmp_path / "Strange-7B-Instruct")


def test_formats_and_schedulers_follow_the_recipes() -> None:
    assert formats_of({"precision": "fp4"}, "b200", "gpt-oss-120b")["activations"] == "bf16"
    assert formats_of({"precision": "fp4"}, "b200", "llama-3.1-70b")["weights"] == "nvfp4"
    assert formats_of({"precision": "fp8"}, "b200", "llama-3.1-70b")["kv"] == "fp8"
    assert formats_of({"precision": "fp8"}, "h100", "llama-3.1-70b")["kv"] == "bf16"
    assert formats_of({"precision": "fp8"}, "b200", "qwen3-32b")["kv"] == "bf16"
    assert formats_of({"precision": ""}, "b200", "qwen3-32b")["weights"] == "bf16"
    assert scheduler_of("trtllm", "1.0.0rc3", 1)["max_num_batched_tokens"] == 16384
    assert scheduler_of("vllm", "0.18.0", 1)["async_scheduling"]
    assert not scheduler_of("vllm", "", 2)["async_scheduling"]


def log(path: Path) -> None:
    queued = [0.0, 0.5, 0.25]
    columns = {
        "run": ["RTXPRO6000/Llama-3.1-8B"] * 3, "request": [0, 1, 2], "trace_arrival_s": queued,
        "trace_input": [8] * 3, "trace_output": [2] * 3, "input_toks": [10, 30, 20],
        "output_toks": [5, 7, 6], "queued_s": queued, "scheduled_s": queued,
        "first_token_s": [0.1, 0.7, 0.4], "last_token_s": [1.0, 2.5, 1.25],
        "ttft_ms": [100.0, 200.0, 150.0], "tpot_ms": [30.0, 40.0, 20.0],
        "e2e_ms": [1000.0, 2000.0, 1000.0],
    }  # fmt: skip
    pq.write_table(pa.table(columns), path)
    path.with_name("vllm_meta.json").write_text(
        json.dumps({"vllm_version": "0.19.0", "engine_kwargs": {"max_num_seqs": 128}})
    )


def test_a_log_is_one_point_with_its_own_arrivals_and_settings(tmp_path: Path) -> None:
    log(tmp_path / "log.parquet")
    (point,) = points_of(tmp_path)

    assert point.key == SetKey("rtx-pro-6000", "vllm", "llama-3.1-8b", "bf16", "log")
    assert point.scenario["scheduler"]["max_num_seqs"] == 128
    assert point.requests is not None
    assert point.requests.arrival_ps.tolist() == [0, 250_000_000_000, 500_000_000_000]
    assert point.requests.prompt_tokens.tolist() == [10, 20, 30]
    assert point.measured["ttft_ms"] == 150.0
    assert point.measured["tpot_ms"] == 30.0
    assert point.measured["e2e_p99_ms"] == pytest.approx(1980.0)


def test_the_predictor_gives_what_a_run_of_the_scenario_gives(folder: Path) -> None:
    """On Corsair, whose prices need no measured point."""
    scenario = {
        "hardware": "corsair",
        "model": "llama-3.1-8b",
        "plan": {"tensor_parallel_size": 4, "replicas": 1},
        "memory": {"mode": "capacity"},
        "workload": {
            "synthetic": {
                "requests": 20,
                "arrivals": {"concurrency": 2},
                "prompt_tokens": {"uniform": {"low": 80, "high": 100}},
                "output_tokens": {"fixed": 10},
            }
        },
    }
    point = points_of(folder)[0]
    predict = predictor()
    made = Point(key=point.key, row={}, measured={}, scenario=scenario)
    summary = simulate(scenario).summary

    assert predict(made) == predict(made)
    assert predict(made)["tpot_ms"] == summary["mean_tpot_ms"]
    assert predict(made)["ttft_ms"] == summary["mean_ttft_ms"]
    assert predict(made)["j_per_output_token"] == summary["joules_per_output_token"]


def test_the_page_lists_sets_misses_and_what_was_not_run(folder: Path) -> None:
    text = page_of(scoreboard(folder, predict=stub(a=(22, 90), b=(9, 61), c=(13, 99))), "Title")

    assert text.startswith("# Title\n")
    assert "| h100 | vllm | llama-3.1-70b | fp8 | 4 | 1 | 0 | 10.0 % | 26.0 % | +10.0 % |" in text
    assert "| b | h100 | vllm | llama-3.1-70b | 4 | 1024 | 512 | 8 |  | -10.0 % | +22.0 % |" in text
    assert "| c | h100 | vllm | llama-3.1-70b | 4 | 1024 | 512 | 8 |  | +30.0 % | - |" in text
    assert "| a |" not in text
    assert "| attention data parallelism (4) is not simulated | 1 |" in text


def test_the_page_has_operations_and_sections_after_the_sets(folder: Path) -> None:
    found = scoreboard(folder, predict=stub(a=(22, 90), b=(9, 60), c=(13, 99)))
    part = {"kind": "gemm", "device": "h100", "precision": "bf16", "n": 7}
    errors = {"median": 0.1, "p90": 0.25, "bias": -0.05}
    section = Section(title="Mine", headers=("a", "b"), rows=[("1", "2")], text="Why.")
    text = page_of(found, "Title", operations=[part | errors], sections=[section])

    assert "## Mine\n\nWhy.\n\n| a | b |\n| --- | --- |\n| 1 | 2 |" in text
    assert "| gemm | h100 | bf16 | 7 | 10.0 % | 25.0 % | -5.0 % |" in text
    assert text.index("## Sets") < text.index("## Mine") < text.index("## Operations")
    assert "## Logs\n\nSigned errors" in text


def test_the_command_prints_sets_and_rows_and_writes_the_page(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    found = stub(a=(22, 90), b=(9, 60), c=(13, 99))
    monkeypatch.setattr(board, "predictor", lambda: found)
    page = folder / "page.md"

    assert main(["validate", "--data", str(folder), "--json", "--page", str(page)]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert [one["n"] for one in printed["sets"]] == [4]
    assert len(printed["rows"]) == 4
    assert page.read_text().startswith("# Real machines")

    assert main(["validate", "--data", str(folder), "--only", "b200"]) == 0
    assert "h100" not in capsys.readouterr().out
    assert main(["validate", "--only", "b200"]) == 2
    assert "--only goes with --data" in capsys.readouterr().err


def test_data_without_points_is_refused(tmp_path: Path, capsys: Captured) -> None:
    (tmp_path / "a.csv").write_text("set,model,mode,num_speculative_tokens,mean_accepted_length\n")

    with pytest.raises(ScoreError, match="holds no end-to-end points"):
        points_of(tmp_path)
    with pytest.raises(TraceError, match="no such folder"):
        points_of(tmp_path / "nowhere")
    assert main(["validate", "--data", str(tmp_path / "nowhere")]) == 2
    assert main(["validate", "--data", str(tmp_path), "--constants", "mine"]) == 2
    assert "no such folder" in capsys.readouterr().err


@pytest.mark.data
@pytest.mark.skipif(not DATA.is_dir(), reason=f"{DATA} is not here")
def test_every_real_point_is_a_scenario_or_has_a_reason() -> None:
    points = points_of(DATA)
    reasons = [point.refused for point in points if point.refused]

    assert len(points) == 1054
    assert sum("closed loop" in why for why in reasons) == 85
    assert sum("attention data parallelism" in why for why in reasons) == 15
    assert len(reasons) == 100
    for point in points[::25]:
        traffic = {"workload": {"synthetic": {"requests": 1, "preset": "azure-conv-2023"}}}
        if not point.refused:
            assert load({**traffic, **point.scenario}).model == point.key.model
    scored = [p for p in points if p.scores_ttft and p.key.model == "llama-3.1-70b"]
    assert len(scored) == 309
    assert all((p.measured["tpot_ms"] or 0) > 0 for p in points)
