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
