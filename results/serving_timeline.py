"""A run of requests as trace events: batches by replica and slot, requests as tracks and flows."""

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import numpy as np

from corsair_common.units import PS_PER_S, Integers

Event: TypeAlias = dict[str, object]
Named: TypeAlias = Callable[[int, int, str, str], None]

REQUESTS_PID = 2_000_000_001
"""The process of the requests' tracks; replicas have their own numbers."""
EVENTS_PER_REQUEST = 8
"""At most: begin and end of three phases, begin and end of its flow."""
_ARGUMENTS = ("tokens", "prefill_tokens", "emitted", "finished", "running", "waiting")
_PHASES = (
    ("queue", "arrival_s", "first_scheduled_s"),
    ("prefill", "first_scheduled_s", "first_token_s"),
    ("decode", "first_token_s", "finish_s"),
)


def step_events(
    steps: Any, microseconds: Callable[[Integers], list[float]], named: Named
) -> Iterator[Event]:
    """A slice for each batch on its way through all stages, on the thread of its slot."""
    start_ps, end_ps = (steps[name].to_numpy() for name in ("start_ps", "end_ps"))
    start, lasted = microseconds(start_ps), microseconds(end_ps - start_ps)
    rows = steps.select(("replica", "slot", *_ARGUMENTS)).to_pylist()
    for at, row in enumerate(rows):
        replica, slot = row["replica"], row["slot"]
        named(replica, slot, f"replica {replica}", f"slot {slot}")
        prefill, tokens = row["prefill_tokens"], row["tokens"]
        kind = "decode" if not prefill else "prefill" if prefill == tokens else "mixed"
        yield {
            "ph": "X",
            "pid": replica,
            "tid": slot,
            "ts": start[at],
            "dur": lasted[at],
            "name": kind,
            "cat": "step",
            "args": {name: row[name] for name in _ARGUMENTS},
        }


def request_events(
    requests: Any, steps: Any, microseconds: Callable[[Integers], list[float]], named: Named
) -> Iterator[Event]:
    """A track of phases for each request, and a flow from its first step to its last."""
    columns = ("replica", "slot", "start_ps")
    replica, slot, start_ps, end_ps = (steps[name].to_pylist() for name in (*columns, "end_ps"))
    ts = microseconds(steps["start_ps"].to_numpy())
    begins = dict(zip(zip(replica, start_ps, strict=True), range(len(ts)), strict=True))
    ends = dict(zip(zip(replica, end_ps, strict=True), range(len(ts)), strict=True))
    for row in requests.to_pylist():
        if row["finish_s"] is None:
            continue
        named(REQUESTS_PID, 0, "requests", "")
        same = {"cat": "request", "id": row["request_id"]}
        for name, begin, end in _PHASES:
            for mark, column in (("b", begin), ("e", end)):
                at = microseconds(np.array([_ps(row[column])]))[0]
                yield {**same, "ph": mark, "pid": REQUESTS_PID, "tid": 0, "ts": at, "name": name}
        first = begins.get((row["replica"], _ps(row["first_scheduled_s"])))
        last = ends.get((row["replica"], _ps(row["finish_s"])))
        if first is None or last is None or first == last:
            continue
        for mark, step in (("s", first), ("f", last)):
            where = {"pid": replica[step], "tid": slot[step], "ts": ts[step]}
            bind = {"bp": "e"} if mark == "f" else {}
            yield {**same, **where, **bind, "ph": mark, "name": f"request {row['request_id']}"}


def _ps(seconds: float) -> int:
    return round(seconds * PS_PER_S)
