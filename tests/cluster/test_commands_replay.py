"""``corsair-sim replay``: options, Ctrl-C, kill."""

import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import psutil
import pytest

from cluster.commands.app import main
from corsair_common.folders import standing
from results import open_run

Begin: TypeAlias = Callable[[Sequence[str], Path], "subprocess.Popen[str]"]
Interrupt: TypeAlias = Callable[["subprocess.Popen[str]"], tuple[str, str, float]]

COMMAND = [sys.executable, "-m", "cluster", "replay"]
RAY = ["--engine", "ray", "--cards-per-actor", "4"]


@pytest.fixture(scope="session")
def scenario_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seconds of work and of writing, also where one waits long for the sight of a folder."""
    program = {"phase": "decode", "batch": 8, "context": 512, "steps": 1200}
    scenario: dict[str, Any] = {
        "model": "llama-3.1-8b",
        "plan": {"tensor_parallel_size": 4, "pipeline_parallel_size": 2},
        "workload": {"program": program},
    }
    path = tmp_path_factory.mktemp("scenario_file") / "s.yaml"
    path.write_text(json.dumps(scenario), "utf-8")  # JSON is YAML
    return path


def visible(root: Path) -> list[Path]:
    """Runs that a reader would find."""
    return [path for path in root.iterdir() if not path.name.startswith(".")]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--cards-per-actor", "4"], "--ray-address and --cards-per-actor need --engine ray"),
        (["--ray-address", "auto"], "--ray-address and --cards-per-actor need --engine ray"),
        ([*RAY[:2], "--cards-per-actor", "0"], "auto or a number of at least 1, got '0'"),
        ([*RAY[:2], "--cards-per-actor", "-1"], "auto or a number of at least 1, got '-1'"),
        ([*RAY[:2], "--cards-per-actor", "2.5"], "auto or a number of at least 1, got '2.5'"),
        ([*RAY[:2], "--cards-per-actor", "some"], "auto or a number of at least 1, got 'some'"),
        (["--engine", "dask"], "'dask' is not one of 'local', 'ray'"),
    ],
)
@pytest.mark.parametrize("command", ["serve", "replay"])
def test_options_of_ray_that_make_no_sense_are_refused(
    command: str, options: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, "nothing.yaml", *options, "--json"]) == 2
    assert says in json.loads(capsys.readouterr().out)["error"]


@pytest.mark.slow
def test_ctrl_c_ends_a_replay_at_once_and_leaves_nothing(
    begin: Begin, interrupt: Interrupt, scenario_file: Path, tmp_path: Path
) -> None:
    with begin(["replay", str(scenario_file)], tmp_path) as process:
        out, err, cpu_s = interrupt(process)

    assert process.returncode == 130
    assert 0 < cpu_s < 2
    assert out == ""
    assert err.endswith("stopped; nothing was written\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_killed_replay_is_never_seen(begin: Begin, scenario_file: Path, tmp_path: Path) -> None:
    with begin(["replay", str(scenario_file)], tmp_path) as process:
        process.kill()
        process.communicate()

    assert visible(tmp_path) == []


@pytest.mark.soak
@pytest.mark.ray
@pytest.mark.parametrize("engine", [[], RAY], ids=["local", "ray"])
@pytest.mark.parametrize("blow", [signal.SIGINT, signal.SIGKILL])
def test_a_blow_at_any_moment_leaves_a_whole_run_or_none_and_no_process(
    engine: list[str], blow: signal.Signals, begin: Begin, scenario_file: Path, tmp_path: Path
) -> None:
    moments = random.Random(0)
    for _ in range(4):
        with begin(["replay", str(scenario_file), *engine], tmp_path) as process:
            others = psutil.Process(process.pid).children(recursive=True)
            time.sleep(moments.uniform(0, 3))
            process.send_signal(blow)
            process.communicate(timeout=60)
        _, left = psutil.wait_procs(others, timeout=90)  # Ray looks after its own in turns

        assert left == []
        for path in visible(tmp_path):
            assert standing(tmp_path, path.name) == path
            assert open_run(path).ops.num_rows == open_run(path).summary["operations"]
    done = subprocess.run(
        [*COMMAND, str(scenario_file), "--out", str(tmp_path), "--json", *engine],
        capture_output=True,
        text=True,
        check=True,
    )

    assert [path.name for path in tmp_path.iterdir()] == [json.loads(done.stdout)["run_id"]]


def test_operations_saved_as_chakra_and_as_a_program_replay_in_the_same_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Attention of step i meets i more tokens; a trace has every repeat written out.

    Of a message between stages a trace has the size, not the price: its time is rounded anew, twice
    a step at most.
    """
    program = {"phase": "decode", "batch": 1, "context": 60, "steps": 8, "growing": True}
    plan = {"tensor_parallel_size": 4, "pipeline_parallel_size": 2}
    scenario: dict[str, Any] = {
        "model": "llama-3.1-8b",
        "plan": plan,
        "workload": {"program": program},
    }
    trace, file = str(tmp_path / "trace"), str(tmp_path / "p.parquet")
    again = {
        "chakra": {"workload": {"chakra": trace}},
        "program": {**scenario, "workload": {"program": file}},
    }
    (tmp_path / "s.yaml").write_text(json.dumps(scenario), "utf-8")
    saved = ["--save-chakra", trace, "--save-program", file]
    common = ["--json", "--out", str(tmp_path / "runs")]

    assert main(["replay", str(tmp_path / "s.yaml"), *saved, *common]) == 0
    first = json.loads(capsys.readouterr().out)
    for name, scenario in again.items():
        (tmp_path / f"{name}.yaml").write_text(json.dumps(scenario), "utf-8")
        assert main(["replay", str(tmp_path / f"{name}.yaml"), *common]) == 0
        second = json.loads(capsys.readouterr().out)

        assert second["operations"] == first["operations"], name
        rounding_s = 2 * 8 * 1e-12 if name == "chakra" else 0
        assert second["makespan_s"] == pytest.approx(first["makespan_s"], rel=0, abs=rounding_s)


@pytest.mark.parametrize(
    ("target", "says"),
    [
        (["--save-chakra", "."], "holds 's.yaml', not a Chakra trace; not replaced"),
        (["--save-chakra", "s.yaml"], "holds 's.yaml', not a Chakra trace; not replaced"),
        (["--save-program", "."], "cannot write .: it is a folder"),
        (["--save-program", "none/p.parquet"], "cannot write none/p.parquet: No such file"),
    ],
)
def test_a_place_for_saved_operations_that_cannot_be_written_is_one_error(
    target: list[str],
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    program = {"phase": "decode", "batch": 1, "context": 16, "steps": 1}
    scenario = {"plan": {"tensor_parallel_size": 8}, "workload": {"program": program}}
    Path("s.yaml").write_text(json.dumps({"model": "llama-3.1-8b", **scenario}), "utf-8")

    assert main(["replay", "s.yaml", *target, "--json", "--out", "runs"]) == 2
    assert says in json.loads(capsys.readouterr().out)["error"]
