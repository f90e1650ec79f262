"""A run as a trace for Perfetto and chrome://tracing.

Of requests: see ``results.serving_timeline``. Of operations: one process per server, one thread per
card and stream, and the load of every link as a counter of a separate process. Times are in
microseconds, as those tools expect, exact to the picosecond. Perfetto truncates them to whole
nanoseconds and drops one of two overlapping slices, so times are chosen such that truncated slices
do not overlap.
"""

import gzip
import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from corsair_common.units import PS_PER_S, Integers
from results.api import Run
from results.errors import ResultsError, explained, replacing
from results.serving_timeline import EVENTS_PER_REQUEST, request_events, step_events

LIMIT = 1_000_000
"""Default limit of events: viewers become slow beyond it."""
LONGEST_S = 9.2e6
"""No run is longer: int64 picoseconds end there."""
LINKS_PID = 2_000_000_000
"""The process of the links' counters; servers have their own numbers."""
STREAMS = ("compute", "network", "memory", "sends", "receives", "host")
_STREAM_ROOM = 1000
_OP_COLUMNS = (
    *("op", "card", "card_name", "server", "rank", "stream", "name", "kind", "step", "layer"),
    *("microbatch", "bound", "start_s", "begin_s", "end_s", "payload_bytes"),
)
_ARGUMENTS = ("op", "rank", "step", "layer", "microbatch", "bound", "payload_bytes")


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """The selected part of a run, in seconds of the run."""

    from_s: float = 0.0
    until_s: float = math.inf

    def __post_init__(self) -> None:
        if not 0 <= self.from_s < self.until_s:
            raise ResultsError(
                f"a window goes from 0 or more to something later, got {self.from_s:g} to "
                f"{self.until_s:g} s"
            )

    def holds(self, table: Any) -> Any:
        """[row] whether any of it is inside; a zero-length interval is at its start."""
        touches = pc.and_(
            pc.less(table["start_s"], self.until_s), pc.greater(table["end_s"], self.from_s)
        )
        point = pc.and_(
            pc.equal(table["start_s"], table["end_s"]), pc.equal(table["start_s"], self.from_s)
        )
        return pc.or_(touches, point)


@dataclass(slots=True)
class _Writer:
    """Appends events to a file as one JSON object."""

    file: BinaryIO
    events: int = 0
    named: set[tuple[int, int]] = field(default_factory=set)

    def add(self, event: dict[str, object]) -> None:
        self.file.write(b",\n" if self.events else b'{"displayTimeUnit": "ns", "traceEvents": [\n')
        self.file.write(json.dumps(event, allow_nan=False).encode())
        self.events += 1

    def name(self, pid: int, tid: int, process: str, thread: str = "") -> None:
        """Write the name of a process, or of one of its threads, once."""
        for key, kind, name in (((pid, -1), "process_name", process), ((pid, tid), "", thread)):
            if name and key not in self.named:
                self.named.add(key)
                event = {"ph": "M", "pid": pid, "ts": 0, "name": kind or "thread_name"}
                place = {} if kind else {"tid": tid}
                self.add({**event, **place, "args": {"name": name}})


def write_timeline(run: Run, out: Path, *, window: Window | None = None, limit: int = LIMIT) -> int:
    """Write the operations of a replay and its link loads, or the steps and requests of a run.

    A name that ends in ``.gz`` is written packed, which viewers read as well. Returns the number
    of events.

    Raises
    ------
    ResultsError
        The run has neither operations nor steps, the window has none or more than ``limit``
        events, or the file cannot be written.
    """
    chosen = window or Window()
    with _opened(out) as file:
        writer = _Writer(file)
        (_write_replay if "ops" in run.tables else _write_served)(run, writer, chosen, limit)
        file.write(b"\n]}\n")
    return writer.events


@contextmanager
def _opened(out: Path) -> Iterator[BinaryIO]:
    with replacing(out) as file:
        if out.suffix != ".gz":
            yield file
            return
        with gzip.GzipFile(
            filename="", fileobj=file, mode="wb", compresslevel=5, mtime=0
        ) as packed:
            yield cast("BinaryIO", packed)


def _write_served(run: Run, writer: _Writer, chosen: Window, limit: int) -> None:
    if "steps" not in run.tables:
        raise ResultsError(
            f"{run.path}: has neither operations nor steps: serve it with --set store.steps=true"
        )
    from_ps = int(chosen.from_s * PS_PER_S)
    until_ps = int(min(chosen.until_s, LONGEST_S) * PS_PER_S)
    table = run.table("steps")
    inside = pc.and_(pc.less(table["start_ps"], until_ps), pc.greater(table["end_ps"], from_ps))
    steps, requests = table.filter(inside), run.table("requests")
    shown = pc.and_(
        pc.less(requests["arrival_s"], chosen.until_s),
        pc.greater(requests["finish_s"], chosen.from_s),
    )
    requests = requests.filter(shown)
    if not steps.num_rows:
        raise ResultsError(f"{run.path}: no step between {_said(chosen)}")
    if steps.num_rows + EVENTS_PER_REQUEST * requests.num_rows > limit:
        raise ResultsError(
            f"{run.path}: {steps.num_rows:,} steps and {requests.num_rows:,} requests between "
            f"{_said(chosen)}, at most {limit:,} events are written: reduce the window with "
            "--from and --until, or raise --limit"
        )
    for event in step_events(steps, microseconds, writer.name):
        writer.add(event)
    for event in request_events(requests, steps, microseconds, writer.name):
        writer.add(event)


def _write_replay(run: Run, writer: _Writer, chosen: Window, limit: int) -> None:
    ops, links = _parts(run, "ops", _OP_COLUMNS), run.table("links")
    found = sum(int(pc.sum(chosen.holds(part)).as_py() or 0) for part in ops)
    loads = links.filter(chosen.holds(links))
    if not found:
        raise ResultsError(f"{run.path}: no operation between {_said(chosen)}")
    if found + loads.num_rows > limit:
        raise ResultsError(
            f"{run.path}: {found:,} operations and {loads.num_rows:,} link loads between "
            f"{_said(chosen)}, at most {limit:,} are written: reduce the window with "
            "--from and --until, or raise --limit"
        )
    for part in _parts(run, "ops", _OP_COLUMNS):
        _write_ops(writer, part.filter(chosen.holds(part)))
    _write_loads(writer, loads)


def _said(window: Window) -> str:
    until = "the end" if math.isinf(window.until_s) else f"{window.until_s:g} s"
    return f"{window.from_s:g} s and {until}"


def _parts(run: Run, name: str, columns: tuple[str, ...]) -> Iterator[Any]:
    """The table, row group by row group."""
    path = run.checked_file(name)
    with explained(path, "read the table"):
        try:
            file = pq.ParquetFile(path, page_checksum_verification=True)
            for group in range(file.num_row_groups):
                yield file.read_row_group(group, columns=list(columns))
        except pa.ArrowException as error:
            raise ResultsError(f"{path}: cannot read the table: {error}") from error


def _write_ops(writer: _Writer, table: Any) -> None:
    start_ps, end_ps = (_picoseconds(table[name]) for name in ("start_s", "end_s"))
    waited_ps = _picoseconds(table["begin_s"].fill_null(0.0)) - start_ps
    start, lasted = microseconds(start_ps), microseconds(end_ps - start_ps)
    waited = microseconds(np.maximum(0, waited_ps))
    for index, row in enumerate(table.select(_OP_COLUMNS).to_pylist()):
        pid, stream = row["server"], row["stream"]
        tid = row["card"] * _STREAM_ROOM + stream
        kind = STREAMS[stream] if stream < len(STREAMS) else f"stream {stream}"
        writer.name(pid, tid, f"server {pid}", f"{row['card_name']} {kind}")
        arguments = {name: row[name] for name in _ARGUMENTS if row[name] is not None}
        if row["begin_s"] is not None:
            arguments["waited_us"] = waited[index]
        writer.add(
            {
                "ph": "X",
                "pid": pid,
                "tid": tid,
                "ts": start[index],
                "dur": lasted[index],
                "name": row["name"] or row["kind"],
                "cat": row["kind"],
                "args": arguments,
            }
        )


def _write_loads(writer: _Writer, table: Any) -> None:
    """A counter holds its value until the next event: write its changes, and a final zero."""
    start, end = (microseconds(_picoseconds(table[name])) for name in ("start_s", "end_s"))
    names, shares = (table[name].to_pylist() for name in ("link_name", "utilisation"))
    last = ("", 0.0)
    for index, here in enumerate(zip(names, shares, strict=True)):
        writer.name(LINKS_PID, 0, "links")
        counter = {"ph": "C", "pid": LINKS_PID, "name": here[0]}
        if here != last:
            writer.add({**counter, "ts": start[index], "args": {"utilisation": here[1]}})
        if index + 1 == len(names) or names[index + 1] != here[0]:
            writer.add({**counter, "ts": end[index], "args": {"utilisation": 0}})
        last = here


def _picoseconds(column: Any) -> Integers:
    whole: Integers = np.rint(column.to_numpy() * PS_PER_S).astype(np.int64)
    return whole


def microseconds(ps: Integers) -> list[float]:
    """Microseconds of whole picoseconds, never below the nanosecond that they lie in.

    Truncating 1.001 x 1000 gives 1000; the next float above gives 1001.

    Examples
    --------
    >>> [int(value * 1000) for value in (1.001, *microseconds(np.array([1_001_000, 1_001_999])))]
    [1000, 1001, 1001]
    """
    values = ps / 1e6
    values = np.where(np.floor(values * 1e3) < ps // 1000, np.nextafter(values, np.inf), values)
    found: list[float] = values.tolist()
    return found
