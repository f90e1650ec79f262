"""Reads request traces of any known format as columns, with cutting and scaling; writes our
Parquet.

A file whose rows are not in order of time is sorted; rows of equal time keep their order, and
``Requests.reordered`` counts the moved ones.
"""

import difflib
import math
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import numpy as np

from corsair_common.files import reason, replacing
from corsair_common.limits import refuse_device
from corsair_common.units import PS_PER_S, Integers
from workloads.readers.detect import FORMATS as FORMATS
from workloads.readers.detect import detect_form, named_form
from workloads.readers.trace_format import ReadOptions, Rows, TraceFormat, take
from workloads.readers.unit_notes import unit_notes
from workloads.requests import Requests, TraceError
from workloads.sessions import in_turn, turns_at, with_histories

_PS_PER_S = int(PS_PER_S)  # exact: fractions are taken of it
_INT64_MAX = 2**63 - 1
_SAFE = 2**62
LONGEST_S = _INT64_MAX // _PS_PER_S
"""The last second that int64 picoseconds reach: 106 days."""

_AS_IT_IS = ReadOptions()


def read_trace(  # noqa: PLR0913 - each is an option
    path: str | Path,
    format: str = "auto",
    *,
    limit: int | None = None,
    start_s: float = 0.0,
    duration_s: float | None = None,
    rate_scale: float = 1.0,
    options: ReadOptions = _AS_IT_IS,
    lengths_only: bool = False,
    parse: Callable[[Path, str, ReadOptions], Rows] | None = None,
) -> Requests:
    """Read a trace, or the part of it that arrives in ``[start_s, start_s + duration_s)``.

    The part is cut out in the trace's own time and ``start_s`` becomes time zero; then the first
    ``limit`` requests are kept; then times are divided by ``rate_scale`` (2 is twice the rate).
    A trace whose clock exceeds a run's limit begins at its first selected request instead.
    ``options`` supplies what the file does not contain. ``lengths_only`` allows a file with no
    arrivals, whose requests then all arrive at 0. ``parse`` replaces reading the whole
    file, for callers that keep its rows.
    Raises TraceError with file, line and column for anything wrong in the file.
    """
    path = Path(path)
    rate = _exact("rate_scale", rate_scale, positive=True)
    if limit is not None and limit < 1:
        raise TraceError(f"limit must be at least 1, got {limit}")
    rows = (parse or parse_trace)(path, format, options)
    if not (rows.timed or lengths_only):
        raise TraceError(
            f"{path}: has lengths and no arrivals; use it as lengths (workload.synthetic with "
            "prompt_tokens and output_tokens: {empirical: {trace: ...}}) with generated arrivals, "
            "or name the column of its times (workload.columns.time)"
        )
    rows = in_turn(rows)
    reordered = int(np.count_nonzero(np.maximum.accumulate(rows.ticks) > rows.ticks))
    order, start = _cut(path, rows, np.argsort(rows.ticks, kind="stable"), start_s, duration_s)
    kept = take(rows, order[:limit])
    start, moved = _within_clock(kept, start, rate)
    ps_per_tick = Fraction(_PS_PER_S, rows.ticks_per_s)
    arrival_ps = _rescaled(kept.ticks - start, ps_per_tick / rate, str(path))
    kept, arrival_ps, sessions = turns_at(kept, arrival_ps, int(ps_per_tick))
    return Requests(
        **sessions,
        common_tokens=kept.common_tokens if sessions else 0,
        arrival_ps=arrival_ps,
        prompt_tokens=kept.prompt_tokens,
        output_tokens=kept.output_tokens,
        hash_offsets=kept.hash_offsets,
        hash_ids=kept.hash_ids,
        hash_block_tokens=kept.hash_block_tokens,
        skipped=rows.skipped,
        reordered=reordered,
        notes=(*moved, *unit_notes(rows)),
    )


def write_trace(requests: Requests, path: str | Path) -> None:
    """Write our own Parquet atomically and replace an old file."""
    from workloads.readers.parquet import write_parquet

    try:
        with replacing(path) as file:
            write_parquet(file, requests)
    except OSError as error:
        raise TraceError(f"cannot write {path}: {reason(error)}") from None


def detect_format(path: str | Path, options: ReadOptions = _AS_IT_IS) -> str:
    """Detect a file's format from its content: Parquet's magic, the keys of the first object or the
    header line. Of several matches, the one with most of its own columns present is used.
    """
    form = detect_form(Path(path), options)
    return "parquet" if form is None else form.name


def scale_rate(arrival_ps: Integers, rate_scale: float) -> Integers:
    """Divide times by a rate factor in exact arithmetic, halves to even.

    The factor is the decimal that it prints as: 1.3 is 13/10.
    """
    rate = _exact("rate_scale", rate_scale, positive=True)
    return _rescaled(arrival_ps, 1 / rate, f"at rate_scale {rate_scale}")


def parse_trace(path: Path, format: str, options: ReadOptions = _AS_IT_IS) -> Rows:
    """All rows of a trace, in the file's order and its own ticks; raises TraceError."""
    if format not in FORMATS:
        near = difflib.get_close_matches(format, FORMATS, n=1)
        hint = f"; is it {near[0]!r}?" if near else ""
        raise TraceError(f"unknown trace format {format!r}{hint} (known: {', '.join(FORMATS)})")
    _check_file(path)
    form: TraceFormat | None = None
    if format == "auto":
        form = detect_form(path, options)
    elif format != "parquet":
        form = named_form(path, format, options)
    rows = _read_parquet(path, options) if form is None else _read_text(path, form)
    if not len(rows):
        failed = f" but {rows.skipped} failed ones" if rows.skipped else ""
        raise TraceError(f"{path}: holds no requests{failed}")
    if options.later_prompts == "added":
        if rows.previous is None:
            raise TraceError(f"{path}: later_prompts: added is for sessions; found none")
        return with_histories(rows)
    return rows


def _read_parquet(path: Path, options: ReadOptions) -> Rows:
    from workloads.readers.parquet import read_parquet

    if options.names_columns or options.time_unit:
        raise TraceError(
            f"{path}: our Parquet says its units and columns itself; time_unit and columns are for "
            "CSV and JSON lines"
        )
    return read_parquet(path, options.hash_block_tokens)


def _read_text(path: Path, form: TraceFormat) -> Rows:
    if form.container == "csv":
        from workloads.readers.csvfile import read_csv

        return read_csv(path, form)
    from workloads.readers.jsonl import read_jsonl

    return read_jsonl(path, form)


def _check_file(path: Path) -> None:
    try:
        refuse_device(path)
        with path.open("rb") as file:
            if not file.read(1):
                raise TraceError(f"{path}: the file is empty")
    except OSError as error:
        raise TraceError(f"cannot read trace {path}: {error.strerror}") from None


def _exact(name: str, value: float, *, positive: bool = False) -> Fraction:
    if not (math.isfinite(value) and (value > 0 or (value == 0 and not positive))):
        allowed = "positive" if positive else "zero or positive"
        raise TraceError(f"{name} must be finite and {allowed}, got {value}")
    return Fraction(str(value))


def _cut(
    path: Path, rows: Rows, order: Integers, start_s: float, duration_s: float | None
) -> tuple[Integers, int]:
    """Select the requests of the time range, in order; also return its first tick."""
    ticks = rows.ticks[order]
    start = _exact("start_s", start_s) * rows.ticks_per_s
    low, high = math.ceil(start), int(ticks[-1]) + 1
    if duration_s is not None:
        length = _exact("duration_s", duration_s, positive=True) * rows.ticks_per_s
        high = min(high, math.ceil(start + length))
    kept = order[np.searchsorted(ticks, min(low, high)) : np.searchsorted(ticks, high)]
    if not len(kept):
        until = "its end" if duration_s is None else f"{start_s + duration_s} s"
        first, last = (float(tick) / rows.ticks_per_s for tick in (ticks[0], ticks[-1]))
        raise TraceError(
            f"{path}: no request arrives between {start_s} s and {until}; its first request is "
            f"at {first:.6g} s, its last at {last:.6g} s"
        )
    return kept, round(start)


def _within_clock(kept: Rows, start: int, rate: Fraction) -> tuple[int, tuple[str, ...]]:
    """Start at the first selected request if the clock, but not the span, is too long for a run."""
    first, last = int(kept.ticks[0]), int(kept.ticks[-1])
    most = Fraction(_INT64_MAX, _PS_PER_S) * kept.ticks_per_s * rate
    if last - start < most or last - first >= most:
        return start, ()
    seconds = (first - start) / kept.ticks_per_s
    where = f"the first request arrives at {seconds:.10g} s of the trace; that is time zero"
    return first, (where,)


def _rescaled(times: Integers, factor: Fraction, whose: str) -> Integers:
    """Multiply sorted, non-negative times by an exact factor, halves to even."""
    last = int(times[-1]) * factor.numerator // factor.denominator
    if last >= _INT64_MAX:
        raise TraceError(
            f"{whose}: the last request arrives {Decimal(last // _PS_PER_S):.7g} s after the "
            f"start, a run holds {LONGEST_S} s (106 days): cut the trace with start_s and "
            "duration_s"
        )
    over, under = factor.numerator, factor.denominator
    # A factor of many digits would overflow int64: the same lines then run on Python's integers.
    exact = times if over * under < _SAFE else times.astype(object)
    rest = exact % under * over
    scaled = exact // under * over + rest // under
    twice = rest % under * 2
    up = (twice > under) | ((twice == under) & (scaled % 2 == 1))
    return np.asarray(scaled + up, dtype=np.int64)
