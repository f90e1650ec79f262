"""Timelines of real runs obey the rules by which viewers of Chrome traces take or drop events."""

import json
import math
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster import ReplayRun, replay_trace
from cluster.commands.app import main
from results.timeline import microseconds

Event: TypeAlias = dict[str, Any]

MICRO = Path(__file__).resolve().parents[2] / ".." / "shared" / "data" / "chakra" / "astra-sim"
MICRO = MICRO / "microbenchmarks" / "all_reduce" / "8npus_1MB"
DECODE: dict[str, Any] = {
    "model": "llama-3.1-8b",
    "plan": {"tensor_parallel_size": 4, "pipeline_parallel_size": 2},
    "workload": {"program": {"phase": "decode", "batch": 1, "context": 64, "steps": 1}},
}
UINT32 = 1 << 32


def breaches(trace: Event) -> list[str]:
    """Whatever a viewer would refuse, drop or show wrongly."""
    found: list[str] = []
    if trace.get("displayTimeUnit") not in ("ms", "ns"):
        found.append("displayTimeUnit is ms or ns")
    for number, event in enumerate(trace["traceEvents"]):
        found += [f"event {number}: {what}" for what in _breaches_of(event)]
    named = {(event["pid"], event.get("tid")) for event in trace["traceEvents"] if _named(event)}
    for track, slices in _tracks(trace["traceEvents"]).items():
        if track not in named or (track[0], None) not in named:
            found.append(f"thread {track} or its process has no name")
        found += [f"thread {track}: {what}" for what in _unnested(slices)]
    return found


def _breaches_of(event: Event) -> list[str]:
    wanted = {"X": ("dur", "tid", "name"), "C": ("name", "args"), "M": ("name", "args")}
    found = [f"no {name}" for name in ("ph", "ts", "pid") if name not in event]
    found += [f"no {name}" for name in wanted.get(event["ph"], ()) if name not in event]
    if event["ph"] not in wanted:
        found.append(f"phase {event['ph']!r}")
    for name in ("ts", "dur"):
        value = event.get(name, 0)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e15:
            found.append(f"{name} {value!r} is no time")
    for name in ("pid", "tid"):
        value = event.get(name, 0)
        if not isinstance(value, int) or not 0 <= value < UINT32:
            found.append(f"{name} {value!r} is no 32-bit number")
    if event["ph"] == "C":
        values = event["args"].values()
        if not values or not all(type(v) in (int, float) and math.isfinite(v) for v in values):
            found.append(f"counter holds {event['args']}")
    if event["ph"] == "M" and not _named(event):
        found.append(f"metadata {event['name']!r} with {event['args']}")
    return found


def _named(event: Event) -> bool:
    """Whether it gives a name to a process (without tid) or to a thread (with one)."""
    kinds = {"process_name": False, "thread_name": True}
    return (
        event["ph"] == "M"
        and kinds.get(event["name"]) == ("tid" in event)
        and bool(event["args"].get("name"))
    )


def _tracks(events: list[Event]) -> dict[tuple[int, int], list[tuple[int, int]]]:
    """Slices of each thread as a viewer holds them: whole nanoseconds, cut off."""
    found: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for event in events:
        if event["ph"] == "X":
            from_ns = int(event["ts"] * 1000)
            until_ns = from_ns + int(event["dur"] * 1000)
            found.setdefault((event["pid"], event["tid"]), []).append((from_ns, until_ns))
    return found


def _unnested(slices: list[tuple[int, int]]) -> list[str]:
    """Slices that begin inside another and end after it."""
    found: list[str] = []
    stack: list[int] = []
    for from_ns, until_ns in sorted(slices, key=lambda each: (each[0], -each[1])):
        while stack and stack[-1] <= from_ns:
            stack.pop()
        if stack and until_ns > stack[-1]:
            found.append(f"the slice from {from_ns} to {until_ns} ns ends after that around it")
        stack.append(until_ns)
    return found


def trace_of(run: ReplayRun, folder: Path, *window: str) -> Event:
    """What ``corsair-sim timeline`` writes of a run."""
    out = folder / "trace.json"
    assert main(["timeline", str(run.run_dir), "--out", str(out), *window, "--quiet"]) == 0
    trace: Event = json.loads(out.read_text("utf-8"))
    return trace


def test_a_window_of_a_decode_step_breaks_no_rule(tmp_path: Path) -> None:
    run = replay_trace(DECODE, out=tmp_path)
    makespan_s = run.summary["makespan_s"]
    whole = trace_of(run, tmp_path)
    part = trace_of(run, tmp_path, "--from", str(makespan_s / 3), "--until", str(makespan_s / 2))
    slices = [event for event in whole["traceEvents"] if event["ph"] == "X"]

    assert breaches(whole) == []
    assert breaches(part) == []
    assert len(slices) == run.summary["operations"]
    assert 100 < len(part["traceEvents"]) < len(whole["traceEvents"])
    assert max(each["ts"] + each["dur"] for each in slices) == pytest.approx(makespan_s * 1e6)


def test_collectives_as_messages_and_contention_break_no_rule(tmp_path: Path) -> None:
    fabric = {"fabric": {"collectives": "messages"}}

    assert breaches(trace_of(replay_trace({**DECODE, **fabric}, out=tmp_path), tmp_path)) == []


@pytest.mark.data
@pytest.mark.skipif(not MICRO.exists(), reason="the Chakra microbenchmarks are not at hand")
def test_a_chakra_trace_breaks_no_rule(tmp_path: Path) -> None:
    network = tmp_path / "ring.yml"
    network.write_text("topology: [Ring]\nnpus_count: [8]\nbandwidth: [50.0]\nlatency: [500.0]\n")
    requested = {"network": str(network), "workload": {"chakra": str(MICRO)}}
    trace = trace_of(replay_trace(requested, out=tmp_path), tmp_path)

    assert breaches(trace) == []
    assert {event["ph"] for event in trace["traceEvents"]} == {"M", "X", "C"}


def test_the_rules_find_what_is_wrong() -> None:
    slices = [
        {"ph": "X", "pid": 0, "tid": 1, "ts": 0, "dur": 2, "name": "a"},
        {"ph": "X", "pid": 0, "tid": 1, "ts": 1, "dur": 2, "name": "b"},
        {"ph": "C", "pid": 0, "ts": 0, "name": "c", "args": {"load": "high"}},
        {"ph": "X", "pid": -1, "tid": 1, "ts": math.nan, "name": "d", "dur": 0},
    ]

    assert breaches({"displayTimeUnit": "ns", "traceEvents": slices[:3]}) == [
        "event 2: counter holds {'load': 'high'}",
        "thread (0, 1) or its process has no name",
        "thread (0, 1): the slice from 1000 to 3000 ns ends after that around it",
    ]
    assert len(_breaches_of(slices[3])) == 2


@settings(max_examples=60, derandomize=True, database=None, deadline=None)
@given(ends_ps=st.lists(st.integers(0, 10**15), min_size=2, max_size=20).map(sorted))
def test_slices_that_touch_do_not_overlap_once_they_are_cut_to_nanoseconds(
    ends_ps: list[int],
) -> None:
    start, end = np.array(list(pairwise(ends_ps))).T
    starts, lasted = microseconds(start), microseconds(end - start)
    cut = [
        (int(at * 1000), int(at * 1000) + int(dur * 1000))
        for at, dur in zip(starts, lasted, strict=True)
    ]

    assert [round(at * 1e6) for at in starts] == start.tolist()
    assert all(before[1] <= after[0] for before, after in pairwise(cut))
