"""``corsair-sim calibrate``, as it is typed: files in, files out, errors."""

import json
from pathlib import Path

import pytest

from cluster.commands.app import main
from cluster.perf_model.calibrate import EIGHT_B, fit_dispatch_s
from cluster.studies.calibration import surface
from cluster.studies.machine_set import read_machines
from topology.catalog import load_hardware

HEAD = "metric,value,unit,model,cards,plan,batch,context,wire,error,norms,overlap\n"
POINT = "tpot,1.0,ms,llama-3.1-8b,8,4x2,60,1024,fp16,0.002,auto,none\n"
QUESTION = "tpot,,ms,llama-3.1-8b,8,4x2,30,1024,fp16,,auto,none\n"


def rows(folder: Path, *lines: str) -> str:
    path = folder / "points.csv"
    path.write_text(HEAD + "".join(lines))
    return str(path)


@pytest.fixture(autouse=True)
def few_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    """44 priced machines instead of 72: enough for one figure."""
    for name, count in {"TRAINED_PER_FIGURE": 6, "TRAINED": 16, "HELD_BACK": 4}.items():
        monkeypatch.setattr(surface, name, count)


FEW = ("--fit", "card.dispatch_s", "--samples", "4096", "--model-error", "0")


def test_a_point_gives_the_dispatch_that_the_catalogue_was_fitted_with(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, machines = tmp_path / "mine.yaml", tmp_path / "set.json"
    data = ["--data", rows(tmp_path, POINT, QUESTION)]

    assert main(["calibrate", *data, *FEW, "--out", str(out), "--machines", str(machines)]) == 0

    said = capsys.readouterr().out
    assert "What to measure next" in said
    assert "tpot of points.csv:3" in said  # the question
    figure = load_hardware(out).figures["card.dispatch_s"]
    assert figure.value == pytest.approx(fit_dispatch_s(EIGHT_B), rel=0.01)  # in closed form
    assert figure.low < figure.value < figure.high
    assert figure.source == "fitted on 1 rows by corsair-sim calibrate"
    assert load_hardware(out)["simd.lanes"] == load_hardware("corsair")["simd.lanes"]
    kept = read_machines(machines).machines
    assert len(kept) == 128
    assert {tuple(each.figures) for each in kept} == {("card.dispatch_s",)}


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("tpto,1,ms,llama-3.1-8b,8,,,1024,,,,\n", "'metric': unknown 'tpto'; did you mean 'tpot'?"),
        ("tpot,1,mss,llama-3.1-8b,8,,,1024,,,,\n", "'unit': found 'mss'; one of s, ms, us"),
        ("tpot,-1,ms,llama-3.1-8b,8,,,1024,,,,\n", "points.csv:2: column 'value'"),
        ("tpot,1,ms,llama-3.1-8,8,,,1024,,,,\n", "points.csv:2: column 'model'"),
        ("tpot,1,ms,llama-3.1-8b,,,,1024,,,,\n", ":2: column 'cards': found an empty value"),
        ("tpot,1,ms,llama-3.1-8b,8,4by2,,1024,,,,\n", "column 'plan': found '4by2'"),
        ("tpot,1,ms,llama-3.1-8b,8,3x2,,1024,,,,\n", "column 'plan': found '3x2'"),
        ("tpot,1,ms,llama-3.1-8b,8,,,,,,,\n", "column 'context': found an empty value"),
        ("tpot,1,ms,llama-3.1-8b,8,,,1024,fp61,,,\n", "column 'wire': found 'fp61'"),
        ("tpot,1,ms,llama-3.1-8b,8,,,1024,,5,,\n", "column 'error'"),
        ("card.dispatch_s,1,B,,,,,,,,,\n", "column 'unit': found 'B'"),
    ],
)  # fmt: skip
def test_a_wrong_row_is_named_with_its_line_and_column(
    line: str, error: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["calibrate", "--data", rows(tmp_path, line)]) == 2
    assert error in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "error"),
    [
        ("metric,unit\ntpot,ms\n", "misses column 'value'"),
        ("metric,value,unit,modle\ntpot,1,ms,x\n", "unknown column 'modle'; did you mean 'model'?"),
        (HEAD + QUESTION, "no row has a value"),
    ],
)
def test_a_wrong_file_is_named(
    content: str, error: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "points.csv"
    path.write_text(content)

    assert main(["calibrate", "--data", str(path)]) == 2
    assert error in capsys.readouterr().err


def test_bench_results_need_a_scenario(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "bench.json"
    path.write_text("{}")

    assert main(["calibrate", "--data", str(path)]) == 2
    assert "--scenario FILE names them" in capsys.readouterr().err


def test_bench_results_are_a_point_of_the_scenario_s_plan(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scenario, bench = tmp_path / "mine.yaml", tmp_path / "bench.json"
    scenario.write_text(
        "name: mine\nmodel: llama-3.1-8b\n"
        "plan: {tensor_parallel_size: 4, pipeline_parallel_size: 2}\n"
        "formats: {wire: fp16}\ncollectives: {norms: auto, overlap: none}\n"
        "workload: {synthetic: {preset: azure-conv-2023, requests: 8}}\n"
    )
    numbers = {"completed": 10, "duration": 1, "max_concurrency": 60, "mean_tpot_ms": 1.0}
    bench.write_text(
        json.dumps({**numbers, "total_input_tokens": 9240, "total_output_tokens": 2000})
    )  # 924 of prompt and half of 200

    line = ["--data", str(bench), "--scenario", str(scenario), "--error", "0.002"]
    line += ["--data", rows(tmp_path, QUESTION)]  # in place of the usual ones, which take longer
    assert main(["calibrate", *line, *FEW, "--json"]) == 0

    found = json.loads(capsys.readouterr().out)
    fitted = found["fitted"]["figures"]["card.dispatch_s"]
    assert fitted == pytest.approx(fit_dispatch_s(EIGHT_B), rel=0.01)
