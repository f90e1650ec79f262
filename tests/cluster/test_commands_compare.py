"""``corsair-sim compare``, as it is typed."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from cluster import Run
from cluster.commands.app import main


def test_two_runs_are_compared_with_their_changes(
    run_small: Callable[..., Run], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = [
        str(run_small(hardware_set={"card.dispatch_s": seconds}).save(tmp_path))
        for seconds in (1e-6, 2e-6)
    ]

    assert main(["compare", *folders, "--json"]) == 0

    printed = json.loads(capsys.readouterr().out)
    assert printed["settings"] == {"hardware.card.dispatch_s": [1e-6, 2e-6]}
    slower = printed["metrics"]["mean_tpot_ms"]
    assert slower["values"][1] > slower["values"][0]
    assert slower["changes"][1] == pytest.approx(slower["values"][1] / slower["values"][0] - 1)

    assert main(["compare", *folders]) == 0
    said = capsys.readouterr().out
    assert "card.dispatch_s" in said
    assert "worse" in said


def test_a_run_alone_is_refused(
    run_small: Callable[..., Run], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", str(run_small().save(tmp_path))]) == 2
    assert "two or more" in capsys.readouterr().err


def test_a_run_is_set_beside_measured_results(
    run_small: Callable[..., Run], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = run_small()
    folder, bench = str(run.save(tmp_path)), tmp_path / "bench.json"
    summary = run.summary
    numbers = {
        "completed": summary["completed"],
        "duration": 2 * summary["duration"],
        "mean_ttft_ms": summary["mean_ttft_ms"],
        "mean_tpot_ms": 100 * summary["mean_tpot_ms"],  # outside of any band
        "total_input_tokens": summary["total_input_tokens"] + 1,
        "ttfts": [1.0],
    }
    bench.write_text(json.dumps(numbers))

    assert main(["compare", folder, str(bench), "--json"]) == 0

    found = json.loads(capsys.readouterr().out)
    assert found["metrics"]["duration"]["ratio"] == pytest.approx(0.5)
    assert found["metrics"]["duration"]["inside"] is None
    assert found["metrics"]["mean_ttft_ms"]["inside"] is True
    assert found["metrics"]["mean_tpot_ms"]["ratio"] == pytest.approx(0.01)
    assert found["metrics"]["mean_tpot_ms"]["inside"] is False
    low, high = found["metrics"]["mean_tpot_ms"]["band"]
    assert low < summary["mean_tpot_ms"] < high
    assert found["other_traffic"] == ["total_input_tokens"]

    assert main(["compare", folder, str(bench)]) == 0
    assert "not the same traffic: total_input_tokens differ" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "error"),
    [
        ("[1]", "must hold one JSON object"),
        ("{", "not JSON"),
        ('{"completed": 3}', "misses duration"),
    ],
)
def test_what_is_no_result_of_vllm_bench_is_refused(
    content: str,
    error: str,
    run_small: Callable[..., Run],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    bench = tmp_path / "bench.json"
    bench.write_text(content)

    assert main(["compare", str(run_small().save(tmp_path)), str(bench)]) == 2
    assert error in capsys.readouterr().err
