"""The command line: help, JSON, quiet, pipes, Ctrl-C, kill."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

import pytest

from cluster.commands.app import COMMANDS, main
from corsair_common.folders import standing
from results import open_run

Begin: TypeAlias = Callable[[Sequence[str], Path], "subprocess.Popen[str]"]
Interrupt: TypeAlias = Callable[["subprocess.Popen[str]"], tuple[str, str, float]]

COMMAND = [sys.executable, "-m", "cluster"]
SHORT = ["--set", "workload.synthetic.requests=50"]
LONG = ["--set", "workload.synthetic.requests=3000000"]


def answered(argv: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[str, str]:
    """What a command that must succeed prints on stdout and stderr."""
    assert main(argv) == 0
    out, err = capsys.readouterr()
    return out, err


def test_help_lists_every_command_and_imports_none_of_the_heavy_libraries() -> None:
    code = (
        "import sys; from cluster.commands.app import main; code = main(['--help']);"
        "heavy = {'numba', 'pyarrow', 'networkx', 'pydantic', 'numpy', 'ray'} & set(sys.modules);"
        "sys.exit(code or (f'imported {heavy}' if heavy else 0))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert all(f"\n  {name} " in done.stdout for name in COMMANDS)


@pytest.mark.parametrize(
    ("command", "without"),
    [("check", {"pyarrow"}), ("serve", {"ray", "cluster.actors.engine", "cluster.replay.engine"})],
)
def test_a_warm_run_imports_no_library_that_it_does_not_need(
    command: str, without: set[str], tmp_path: Path
) -> None:
    out = ["--out", str(tmp_path)] if command == "serve" else []
    argv = [command, *SHORT, "--quiet", *out]
    assert main(argv) == 0  # compiles what is not yet
    heavy = {"numba", "pandas"} | without
    code = (
        f"import sys; from cluster.commands.app import main; code = main({argv!r});"
        f"heavy = {heavy!r} & set(sys.modules);"
        "sys.exit(code or (f'imported {heavy}' if heavy else 0))"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_has_help_json_and_quiet(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out, err = answered([name, "--help"], capsys)
    if "\nCommands:" in out:
        listed = out.partition("\nCommands:")[2].split("\n")
        inner = [line.split()[0] for line in listed if line.startswith("  ") and line[2] != " "]
    else:
        inner = []
    pages = [answered([name, each, "--help"], capsys)[0] for each in inner] or [out]

    assert err == ""
    assert all("--json" in page and "--quiet" in page for page in pages)


def test_version_is_that_of_the_distribution(capsys: pytest.CaptureFixture[str]) -> None:
    out, _ = answered(["--version"], capsys)

    assert out.split()[0] == "corsair-sim"
    assert out.split()[1][0].isdigit()


def test_a_new_scenario_is_checked_served_and_described(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    answered(["init", "mine.yaml"], capsys)
    checked = json.loads(answered(["check", "mine.yaml", "--json", *SHORT], capsys)[0])
    served = json.loads(answered(["serve", "mine.yaml", "--json", *SHORT], capsys)[0])
    schema = json.loads(answered(["scenario", "schema"], capsys)[0])

    assert checked["run_id"] == served["run_id"]
    assert served["completed"] == 50
    assert open_run(served["run_id"]).path == Path(served["run_dir"])
    assert {"model", "workload", "plan"} <= schema["properties"].keys()
    assert main(["init", "mine.yaml"]) == 2


def test_json_is_one_object_with_the_words_that_others_build_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, err = answered(["serve", "--json", "--out", str(tmp_path), *SHORT], capsys)
    said = json.loads(out)

    assert out.count("\n") == 1
    assert err == ""
    assert (tmp_path / said["run_id"]).samefile(said["run_dir"])
    assert said["output_tokens_per_s_per_user"] == pytest.approx(1000 / said["mean_tpot_ms"])
    assert said["completed"] == 50
    assert said["failed"] == 0
    assert {
        "duration", "total_input_tokens", "total_output_tokens", "request_throughput",
        "output_throughput", "mean_ttft_ms", "median_ttft_ms", "p99_tpot_ms", "mean_itl_ms",
        "goodput", "output_tokens_per_s_per_card", "mean_batch_size", "peak_kv_fraction",
        "preemptions", "rejected", "bound_share", "flags", "model_version",
    } <= said.keys()  # fmt: skip


def test_quiet_prints_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, err = answered(["serve", "--quiet", "--out", str(tmp_path), *SHORT], capsys)

    assert (out, err) == ("", "")


def test_people_read_a_report_of_the_same_numbers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["serve", "--out", str(tmp_path), *SHORT]
    said = json.loads(answered([*argv, "--json"], capsys)[0])
    out, _ = answered(argv, capsys)

    assert f"(run {said['run_id']})" in out
    assert "50 requests completed, 0 refused" in out
    assert f"wrote {said['run_dir']}" in out
    assert f"{said['output_throughput']:,.0f} output tokens/s" in out


def test_a_terminal_without_the_letters_of_a_name_still_shows_the_report(tmp_path: Path) -> None:
    done = subprocess.run(
        [*COMMAND, "serve", "--out", str(tmp_path), "--set", "name=Zürich", *SHORT],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        check=True,
    )

    assert done.stdout.startswith(rb"Z\xfcrich (run ")


@pytest.mark.slow
def test_ctrl_c_ends_a_long_run_at_once_and_leaves_nothing(
    begin: Begin, interrupt: Interrupt, tmp_path: Path
) -> None:
    with begin(["serve", *LONG], tmp_path) as process:
        out, err, cpu_s = interrupt(process)

    assert process.returncode == 130
    assert 0 < cpu_s < 2
    assert out == ""
    assert err == "stopped; nothing was written\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_killed_run_is_never_seen_and_the_next_one_clears_it_away(
    begin: Begin, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with begin(["serve", *LONG], tmp_path) as process:
        process.kill()
        process.communicate()
    visible = [path for path in tmp_path.iterdir() if not path.name.startswith(".")]
    said = json.loads(answered(["serve", "--json", "--out", str(tmp_path), *SHORT], capsys)[0])

    assert visible == []
    assert [path.name for path in tmp_path.iterdir()] == [said["run_id"]]
    assert standing(tmp_path, said["run_id"]) == tmp_path / said["run_id"]


@pytest.mark.parametrize(
    ("argv", "unbuffered"),
    [
        (["--help"], ""),
        (["--help"], "1"),
        (["hardware", "show"], ""),
        (["scenario", "schema", "--json"], "1"),
    ],
)
def test_a_reader_that_leaves_early_is_no_fault(argv: list[str], unbuffered: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as closed:
        done = subprocess.run(
            [*COMMAND, *argv],
            stdout=closed,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
            check=False,
        )

    assert (done.returncode, done.stderr) == (0, "")
