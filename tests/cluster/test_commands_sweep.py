import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cluster.commands.app import main
from results import open_sweep

TEXT = """
base:
  model: llama-3.1-8b
  plan: {tensor_parallel_size: 4, pipeline_parallel_size: 2}
  workload: {synthetic: {requests: 12, preset: azure-conv-2023}}
axes: {scheduler.max_num_seqs: [4, 8], workload.rate_scale: [1, 2]}
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "mine.yaml"
    path.write_text(TEXT)
    return path


def test_a_sweep_is_run_in_parts_looked_at_and_ranked(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sweep", str(file), "--limit", "3", "--json"]) == 0
    begun = json.loads(capsys.readouterr().out)
    assert main(["sweep", "status", "mine"]) == 0
    text, _ = capsys.readouterr()
    assert main(["sweep", "resume", "mine", "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")
    assert main(["sweep", "show", "mine", "--sort", "mean_tpot_ms", "--top", "2", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)

    assert (begun["completed"], begun["pending"], begun["sweep_dir"]) == (
        3,
        1,
        "results/sweeps/mine",
    )
    assert "mine: 4 points: 3 completed, 1 pending" in text
    assert "continue with: corsair-sim sweep resume results/sweeps/mine" in text
    assert shown["points"][0]["mean_tpot_ms"] <= shown["points"][1]["mean_tpot_ms"]


def test_what_is_wrong_ends_with_two_and_one_line(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sweep", str(file), "--ray-address", "auto"]) == 2
    assert "--ray-address needs --engine ray" in capsys.readouterr().err
    file.write_text(TEXT + "metrics: [mean_tfft_ms]\n")
    assert main(["sweep", str(file)]) == 2
    assert "mine.yaml:7: no metric 'mean_tfft_ms'; did you mean" in capsys.readouterr().err
    assert main(["sweep", "show", "nothing"]) == 2
    assert "no such sweep" in capsys.readouterr().err


def test_ctrl_c_keeps_what_is_done_and_says_how_to_go_on(file: Path) -> None:
    file.write_text(TEXT.replace("[1, 2]", f"[{', '.join(map(str, range(1, 400)))}]"))
    command = [sys.executable, "-m", "cluster", "sweep", str(file)]
    child = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    folder = file.parent / "results" / "sweeps" / "mine"
    wait_for(folder / "sweep.json", newer_than_ns=0)
    time.sleep(1.0)
    child.send_signal(signal.SIGINT)
    _, printed = child.communicate(timeout=60)

    assert child.returncode == 130
    assert "points are stored: repeat the command or use" in printed
    assert "Traceback" not in printed
    assert open_sweep(folder).status_counts["pending"] > 0


def test_a_killed_sweep_is_finished_by_the_next_one_which_keeps_what_was_there(file: Path) -> None:
    manifest = Path("results/sweeps/mine/sweep.json")
    assert main(["sweep", str(file), "--quiet", "--limit", "2"]) == 0
    before = seconds_of_runs()
    told_ns = manifest.stat().st_mtime_ns
    child = subprocess.Popen([sys.executable, "-m", "cluster", "sweep", str(file), "--quiet"])
    wait_for(manifest, newer_than_ns=told_ns)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()

    assert main(["sweep", str(file), "--quiet"]) == 0
    assert open_sweep("results/sweeps/mine").status_counts["completed"] == 4
    assert len(before) == 2
    assert before.items() <= seconds_of_runs().items()


def seconds_of_runs() -> dict[str, float]:
    """What each point took when it was computed, by its run."""
    rows = open_sweep("results/sweeps/mine").points.to_pylist()
    return {row["run_id"]: row["seconds"] for row in rows}


def wait_for(path: Path, *, newer_than_ns: int) -> None:
    """Wait until a file is there, or there anew."""
    for _ in range(3000):
        if path.exists() and path.stat().st_mtime_ns > newer_than_ns:
            return
        time.sleep(0.02)
    raise AssertionError(f"{path} does not come")
