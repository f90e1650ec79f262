"""Request traces: any known file becomes columns, cut and scaled on request; columns become a file.

A file whose rows are not in order of time is sorted; rows of equal time keep their order, and
``Requests.reordered`` counts those that stood too late.
"""

import contextlib
import difflib
import math
import os
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import numpy as np

from workloads.columns import Integers, Requests, TraceError
from workloads.readers.azure import AZURE
from workloads.readers.bailian import BAILIAN
from workloads.readers.burstgpt import BURSTGPT
from workloads.readers.form import Form, Rows, take
from workloads.readers.llmservingsim import LLMSERVINGSIM
from workloads.readers.mooncake import MOONCAKE
from workloads.readers.splitwise import SPLITWISE
from workloads.readers.vidur import VIDUR

FORMS = (AZURE, BAILIAN, BURSTGPT, LLMSERVINGSIM, MOONCAKE, SPLITWISE, VIDUR)
FORMATS = ("auto", "parquet", *(form.name for form in FORMS))
"""What ``format`` may be."""

PS_PER_S = 10**12
_INT64_MAX = 2**63 - 1
_SAFE = 2**62
LONGEST_S = _INT64_MAX // PS_PER_S
"""The last second that int64 picoseconds reach: 106 days."""

_MAGIC = b"PAR1"


def read_trace(
    path: str | Path,
    format: str = "auto",
    *,
    limit: int | None = None,
    start_s: float = 0.0,
    duration_s: float | None = None,
    rate_scale: float = 1.0,
    parse: Callable[[Path, str], Rows] | None = None,
) -> Requests:
    """Read a trace, or the part of it that arrives in ``[start_s, start_s + duration_s)``.

    The part is cut out in the trace's own time and ``start_s`` becomes time zero; then the first
    ``limit`` requests are kept; then times are divided by ``rate_scale`` (2 is twice the rate).
    ``parse`` gives the whole file's rows to who has them already; else they are read.
    Raises TraceError with file, line and column for anything wrong in the file.
    """
    path = Path(path)
    rate = _exact("rate_scale", rate_scale, positive=True)
    if limit is not None and limit < 1:
        raise TraceError(f"limit must be at least 1, got {limit}")
    rows = (parse or parse_trace)(path, format)
    reordered = int(np.count_nonzero(np.maximum.accumulate(rows.ticks) > rows.ticks))
    order, start = _cut(path, rows, np.argsort(rows.ticks, kind="stable"), start_s, duration_s)
    kept = take(rows, order[:limit])
    ps_per_tick = Fraction(PS_PER_S, rows.ticks_per_s)
    return Requests(
        arrival_ps=_rescaled(kept.ticks - start, ps_per_tick / rate, str(path)),
        prompt_tokens=kept.prompt_tokens,
        output_tokens=kept.output_tokens,
        hash_offsets=kept.hash_offsets,
        hash_ids=kept.hash_ids,
        hash_block_tokens=kept.hash_block_tokens,
        skipped=rows.skipped,
        reordered=reordered,
    )


def write_trace(requests: Requests, path: str | Path) -> None:
    """Write our own Parquet: whole or not at all, over whatever stood there."""
    from workloads.readers.parquet import write_parquet

    path = Path(path)
    part = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write_parquet(part, requests)
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else str(error)
        raise TraceError(f"cannot write {path}: {why}") from None
    finally:
        with contextlib.suppress(OSError):  # what is to be reported is why the write failed
            part.unlink()


def detect_format(path: str | Path) -> str:
    """Tell a file's format from its content: Parquet's magic, the keys of the first object or the
    header line. Of several that would do, the one with the most of its own columns present wins.
    """
    path = Path(path)
    names = _names(path)
    if names is None:
        return "parquet"
    fitting = [
        f for f in FORMS if set(f.needed + f.marks) <= set(names[1]) and f.container == names[0]
    ]
    if fitting:
        return max(fitting, key=lambda form: len(form.needed + form.marks)).name
    nearest = max(FORMS, key=lambda form: _likeness(form, names[1]))
    raise TraceError(
        f"{path}:1: cannot tell the format from {', '.join(map(repr, names[1])) or 'nothing'}; the "
        f"nearest is {nearest.name}, which has {', '.join(map(repr, nearest.needed))} (known: "
        f"{', '.join(FORMATS[1:])})"
    )


def scale_rate(arrival_ps: Integers, rate_scale: float) -> Integers:
    """Divide times by a rate factor in exact arithmetic, halves to even.

    The factor is the decimal that it prints as: 1.3 is 13/10.
    """
    rate = _exact("rate_scale", rate_scale, positive=True)
    return _rescaled(arrival_ps, 1 / rate, f"at rate_scale {rate_scale}")


def parse_trace(path: Path, format: str) -> Rows:
    """All rows of a trace, in the file's order and its own ticks; raises TraceError."""
    if format not in FORMATS:
        near = difflib.get_close_matches(format, FORMATS, n=1)
        hint = f"; is it {near[0]!r}?" if near else ""
        raise TraceError(f"unknown trace format {format!r}{hint} (known: {', '.join(FORMATS)})")
    _check_file(path)
    name = detect_format(path) if format == "auto" else format
    if name == "parquet":
        from workloads.readers.parquet import read_parquet

        rows = read_parquet(path)
    else:
        rows = _read_text(path, next(form for form in FORMS if form.name == name))
    if not len(rows):
        failed = f" but {rows.skipped} failed ones" if rows.skipped else ""
        raise TraceError(f"{path}: holds no requests{failed}")
    return rows


def _read_text(path: Path, form: Form) -> Rows:
    if form.container == "csv":
        from workloads.readers.csvfile import read_csv

        return read_csv(path, form)
    from workloads.readers.jsonl import read_jsonl

    return read_jsonl(path, form)


def _check_file(path: Path) -> None:
    try:
        with path.open("rb") as file:
            if not file.read(1):
                raise TraceError(f"{path}: the file is empty")
    except OSError as error:
        raise TraceError(f"cannot read trace {path}: {error.strerror}") from None


def _names(path: Path) -> tuple[str, list[str]] | None:
    """Give the container and the column names of a text file, None for Parquet."""
    with path.open("rb") as file:
        start = file.read(256)
    if start.startswith(_MAGIC):
        return None
    if start.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{"):
        from workloads.readers.jsonl import first_object

        return "jsonl", list(first_object(path))
    from workloads.readers.csvfile import head

    return "csv", head(path)[0]


def _likeness(form: Form, names: list[str]) -> float:
    return sum(
        max((difflib.SequenceMatcher(None, needed, name).ratio() for name in names), default=0.0)
        for needed in form.needed
    )


def _exact(name: str, value: float, *, positive: bool = False) -> Fraction:
    if not (math.isfinite(value) and (value > 0 or (value == 0 and not positive))):
        allowed = "positive" if positive else "zero or positive"
        raise TraceError(f"{name} must be finite and {allowed}, got {value}")
    return Fraction(str(value))


def _cut(
    path: Path, rows: Rows, order: Integers, start_s: float, duration_s: float | None
) -> tuple[Integers, int]:
    """Keep of the sorted order what arrives in the wanted stretch; say at which tick it starts."""
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
            f"{path}: no request arrives between {start_s} s and {until}; the trace's first comes "
            f"at {first:.6g} s, its last at {last:.6g} s"
        )
    return kept, round(start)


def _rescaled(times: Integers, factor: Fraction, whose: str) -> Integers:
    """Multiply sorted, non-negative times by an exact factor, halves to even."""
    last = int(times[-1]) * factor.numerator // factor.denominator
    if last >= _INT64_MAX:
        raise TraceError(
            f"{whose}: the last request arrives {Decimal(last // PS_PER_S):.7g} s after the start, "
            f"a run holds {LONGEST_S} s (106 days): cut the trace with start_s and duration_s"
        )
    over, under = factor.numerator, factor.denominator
    # A factor of many digits would overflow int64: the same lines then run on Python's integers.
    exact = times if over * under < _SAFE else times.astype(object)
    rest = exact % under * over
    scaled = exact // under * over + rest // under
    twice = rest % under * 2
    up = (twice > under) | ((twice == under) & (scaled % 2 == 1))
    return np.asarray(scaled + up, dtype=np.int64)
