import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from cluster.commands.app import main
from results.engine_columns import request_columns
from results.provenance import manifest
from results.summary import Machine, flatten, summarise


@pytest.fixture
def run_folder(write_run: Callable[..., Path], tmp_path: Path) -> Path:
    """A run of two requests."""
    names = ("arrival_ps", "first_scheduled_ps", "first_token_ps", "finish_ps")
    counts = (
        *("prompt_tokens", "output_tokens", "replica"),
        *("preemptions", "cached_tokens", "status"),
    )
    requests = {
        **{name: np.array([0, 10**12]) for name in names},
        **{name: np.array([0, 0]) for name in counts},
    }
    now = datetime.now(UTC)
    made = manifest(
        run_id="abc123", model_version=1, scenario={}, inputs=(), hardware={}, times=(now, now)
    )
    summary = summarise(requests, machine=Machine(cards=1))
    row = flatten({"run_id": "abc123", "model_version": 1, **summary})
    return write_run(
        tmp_path / "runs",
        made,
        {"requests": request_columns(requests), "summary": row},
    )


def test_export_writes_what_it_says(
    run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "bench.json"
    code = main(["export", str(run_folder), "--format", "vllm", "--out", str(out), "--json"])
    said = json.loads(capsys.readouterr().out)

    assert code == 0
    assert said == {"run_id": "abc123", "format": "vllm", "out": str(out), "rows": 2}
    assert json.loads(out.read_text())["completed"] == 2


def test_export_with_quiet_writes_csv_without_output(
    run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "requests.csv"
    code = main(["export", str(run_folder), "--format", "csv", "--out", str(out), "--quiet"])

    assert (code, capsys.readouterr().out) == (0, "")
    assert len(out.read_text().splitlines()) == 3


@pytest.mark.parametrize(
    ("run", "out", "message"),
    [
        ("abc124", "out.csv", "no such run; nearest: abc123"),
        ("abc123", "no/folder/out.csv", "cannot write"),
        ("abc123", ".", "it is a folder"),
    ],
)
def test_export_explains_what_it_cannot_do(
    run_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    run: str,
    out: str,
    message: str,
) -> None:
    where = str(run_folder.with_name(run))
    code = main(["export", where, "--format", "csv", "--out", str(tmp_path / out)])

    assert code == 2
    assert message in capsys.readouterr().err
