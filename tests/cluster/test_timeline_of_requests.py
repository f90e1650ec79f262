"""A run of requests as a trace for viewers: its steps, and requests from queue to last token."""

import gzip
import json
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from cluster.commands.app import main
from results import open_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty requests whose steps are stored."""
    out = tmp_path_factory.mktemp("runs")
    sets = ["workload.synthetic.requests=20", "store.steps=true"]
    assert main(["serve", "-q", "--out", str(out), *(w for s in sets for w in ("--set", s))]) == 0
    (folder,) = out.iterdir()
    return folder


def events(run: Path, out: Path, *words: str) -> list[dict[str, Any]]:
    """The events of the file that the command writes."""
    assert main(["timeline", str(run), "--out", str(out), "-q", *words]) == 0
    content = gzip.decompress(out.read_bytes()) if out.suffix == ".gz" else out.read_bytes()
    found: list[dict[str, Any]] = json.loads(content)["traceEvents"]
    return found


def test_every_step_is_a_slice_and_slices_of_a_slot_do_not_overlap(
    run: Path, tmp_path: Path
) -> None:
    slices = [each for each in events(run, tmp_path / "t.json") if each["ph"] == "X"]
    steps = open_run(run).steps

    by_slot = defaultdict(list)
    for each in slices:
        by_slot[each["pid"], each["tid"]].append((each["ts"], each["ts"] + each["dur"]))
    assert len(slices) == steps.num_rows
    assert sum(each["args"]["emitted"] for each in slices) == sum(steps["emitted"].to_pylist())
    for times in by_slot.values():
        assert all(end <= start + 1e-6 for (_, end), (start, _) in pairwise(times))


def test_every_request_has_its_phases_and_a_flow_from_its_first_step_to_its_last(
    run: Path, tmp_path: Path
) -> None:
    found = events(run, tmp_path / "t.json")
    requests = open_run(run).requests.to_pylist()

    for mark in ("s", "f"):
        assert sorted(each["id"] for each in found if each["ph"] == mark) == list(range(20))
    decodes = [each for each in found if each["name"] == "decode" and each.get("id") == 7]
    begin, end = (each["ts"] for each in decodes)
    assert begin == pytest.approx(1e6 * requests[7]["first_token_s"])
    assert end == pytest.approx(1e6 * requests[7]["finish_s"])


def test_a_name_that_ends_in_gz_holds_the_same_packed(run: Path, tmp_path: Path) -> None:
    packed = events(run, tmp_path / "t.json.gz")

    assert packed == events(run, tmp_path / "t.json")
    assert (tmp_path / "t.json.gz").stat().st_size * 3 < (tmp_path / "t.json").stat().st_size


def test_a_window_and_a_limit_hold(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    part = events(run, tmp_path / "t.json", "--until", "1")
    assert 0 < len(part) < len(events(run, tmp_path / "t.json"))

    assert main(["timeline", str(run), "--out", str(tmp_path / "x"), "--limit", "100"]) == 2
    assert "steps and 20 requests between 0 s and the end" in capsys.readouterr().err


def test_a_run_without_steps_names_the_setting(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["serve", "-q", "--out", str(tmp_path), "--set", "workload.synthetic.requests=2"]
    assert main(words) == 0
    (folder,) = tmp_path.iterdir()

    assert main(["timeline", str(folder), "--out", str(tmp_path / "t.json")]) == 2
    assert "serve it with --set store.steps=true" in capsys.readouterr().err
