"""A replay as a trace for viewers."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from results.api import Run, open_run
from results.errors import ResultsError
from results.provenance import manifest
from results.timeline import LINKS_PID, Window, write_timeline


def operations(card: int, server: int, start_s: list[float], end_s: list[float]) -> dict[str, Any]:
    rows = len(start_s)
    return {
        "op": np.arange(rows),
        "card": card,
        "card_name": f"s{server}.c{card}",
        "server": server,
        "rank": card,
        "stream": np.arange(rows),
        "name": ["QKV", "all-reduce"][:rows],
        "kind": ["matmul", "collective"][:rows],
        "phase": "decode",
        "step": 0,
        "layer": 3,
        "microbatch": 0,
        "bound": ["stream", "network"][:rows],
        "start_s": start_s,
        "begin_s": np.ma.masked_equal([-1.0, 2.5e-6][:rows], -1.0),
        "end_s": end_s,
        **dict.fromkeys(("flop", "read_bytes", "write_bytes", "payload_bytes"), 7),
    }


@pytest.fixture
def run(write_run: Callable[..., Path], tmp_path: Path) -> Run:
    """Two cards on two servers, and a link that is half full, then empty."""
    now = datetime.now(UTC)
    made = manifest(
        run_id="abc", model_version=1, scenario={}, inputs=(), hardware={}, times=(now, now)
    )
    links = {
        "link": 0,
        "link_name": "a>b",
        "kind": "pcie",
        "bin": [0, 1, 2],
        "start_s": [0.0, 1e-6, 2e-6],
        "end_s": [1e-6, 2e-6, 3e-6],
        "bytes": [5, 5, 0],
        "busy_s": [5e-7, 5e-7, 0.0],
        "utilisation": [0.5, 0.5, 0.0],
    }
    tables: dict[str, Any] = {
        "ops": [
            operations(0, 0, [0.0, 2e-6], [2e-6, 3.000001e-6]),
            operations(9, 1, [1e-6], [2e-6]),
        ],
        "links": links,
    }
    return open_run(write_run(tmp_path / "runs", made, tables))


def events(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(path.read_text())["traceEvents"]
    return found


def test_servers_are_processes_and_cards_streams_are_threads(run: Run, tmp_path: Path) -> None:
    count = write_timeline(run, tmp_path / "trace.json")
    found = events(tmp_path / "trace.json")
    names = {
        (event["pid"], event.get("tid")): event["args"]["name"]
        for event in found
        if event["ph"] == "M"
    }

    assert count == len(found)
    assert names == {
        (0, None): "server 0",
        (0, 0): "s0.c0 compute",
        (0, 1): "s0.c0 network",
        (1, None): "server 1",
        (1, 9000): "s1.c9 compute",
        (LINKS_PID, None): "links",
    }


def test_times_are_microseconds_to_the_picosecond(run: Run, tmp_path: Path) -> None:
    write_timeline(run, tmp_path / "trace.json")
    slices = [event for event in events(tmp_path / "trace.json") if event["ph"] == "X"]

    assert [(each["ts"], each["dur"]) for each in slices] == [
        (0.0, 2.0),
        (2.0, 1.000001),
        (1.0, 1.0),
    ]
    assert slices[1]["args"]["waited_us"] == 0.5
    assert "waited_us" not in slices[0]["args"]


def test_links_are_counters_written_at_changes(run: Run, tmp_path: Path) -> None:
    write_timeline(run, tmp_path / "trace.json")
    loads = [event for event in events(tmp_path / "trace.json") if event["ph"] == "C"]

    assert [(each["ts"], each["args"]["utilisation"]) for each in loads] == [
        (0.0, 0.5),
        (2.0, 0.0),
        (3.0, 0),
    ]


def test_a_window_takes_what_touches_it(run: Run, tmp_path: Path) -> None:
    write_timeline(run, tmp_path / "trace.json", window=Window(from_s=2e-6))
    slices = [event for event in events(tmp_path / "trace.json") if event["ph"] == "X"]

    assert [each["name"] for each in slices] == ["all-reduce"]


def test_too_much_for_a_viewer_is_refused_with_the_way_out(run: Run, tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match=r"3 operations and 3 link loads .* --from and --until"):
        write_timeline(run, tmp_path / "trace.json", limit=5)
    with pytest.raises(ResultsError, match="no operation between 1 s and the end"):
        write_timeline(run, tmp_path / "trace.json", window=Window(from_s=1.0))
    with pytest.raises(ResultsError, match="a window goes from"):
        Window(from_s=float("nan"))
    assert not (tmp_path / "trace.json").exists()
