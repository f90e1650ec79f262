"""ServeGen traffic (github.com/alibaba/ServeGen): many clients, each with its own rate and lengths.

A table of client rates by window of ten minutes (columns model, client, t_start_s, rate_rps,
family, param0, param1) and an archive of ``chunk-<client>-dataset.json`` files with the lengths
of each client by window. All rates are scaled by one factor to the requested total.
"""

import ast
import json
import lzma
import math
import re
import tarfile
import zlib
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from corsair_common.limits import refuse_beyond_memory, unpacked_bytes
from corsair_common.units import PS_PER_S, Integers
from workloads.requests import MOST_TOKENS, Requests, TraceError

WINDOW_S = 600
_MOST_REQUESTS = 10**8
_FAMILIES = ("Gamma", "Weibull")
_RANGES = {
    "client": (0, 2**31),
    "t_start_s": (0, 1e8),
    "rate_rps": (0.0, 1e9),
    "param0": (1e-9, 1e9),
}
"""Smallest and largest value of each column."""
_CHUNK = re.compile(r"chunk-(\d+)-dataset\.json$")

_TORN = (
    *(tarfile.TarError, OSError, EOFError, lzma.LZMAError, zlib.error, RecursionError, MemoryError),
    *(ValueError, KeyError, TypeError, AttributeError, SyntaxError, OverflowError),
)
"""What a torn archive, or one of another content, raises."""

Table: TypeAlias = tuple[Integers, Any]
"""Lengths in tokens, and the cumulative probability of each."""


def generate_servegen(
    rates: Path, lengths: Path, model: str, rate_per_s: float, duration_s: float, seed: int
) -> Requests:
    """Draw the first ``duration_s`` of a model's clients at a mean of ``rate_per_s`` in all.

    A window of a client has a Poisson number of requests; their gaps have the client's fitted
    shape. Time beyond the measurement repeats it from the start.
    """
    if not (0 < rate_per_s < np.inf and 0 < duration_s < np.inf):
        raise TraceError(f"rate and duration must be positive, got {rate_per_s} and {duration_s}")
    if rate_per_s * duration_s > _MOST_REQUESTS:
        raise TraceError(f"{rate_per_s * duration_s:.3g} requests, at most {_MOST_REQUESTS} fit")
    rng = np.random.default_rng(seed)
    windows = _windows(rates, model)
    tables = _lengths(lengths)
    period = max(row["t_start_s"] for row in windows) + WINDOW_S
    placed = [
        (row["t_start_s"] + turn * period, row)
        for turn in range(int(np.ceil(duration_s / period)))
        for row in windows
        if row["t_start_s"] + turn * period < duration_s and row["client"] in tables
    ]
    total = math.fsum(row["rate_rps"] * min(WINDOW_S, duration_s - start) for start, row in placed)
    if not total:
        raise TraceError(f"{lengths}: no client of {model!r} has both a rate and lengths")
    scale = rate_per_s * duration_s / total
    parts = []
    for start, row in placed:
        span = min(WINDOW_S, duration_s - start)
        count = int(rng.poisson(row["rate_rps"] * span * scale))
        if count:
            times = start + _times(row, count, rng) * span
            parts.append((times, *_drawn(tables[row["client"]], row["t_start_s"], count, rng)))
    if not parts:
        raise TraceError("no request falls into this time; raise the rate or the duration")
    when, prompt, output = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.argsort(when, kind="stable")
    return Requests(
        arrival_ps=np.rint(when[order] * PS_PER_S).astype(np.int64),
        prompt_tokens=prompt[order],
        output_tokens=output[order],
    )


def _windows(path: Path, model: str) -> list[dict[str, Any]]:
    try:
        refuse_beyond_memory(
            3 * unpacked_bytes(pq.read_metadata(path)), f"reading {path}", "cut it"
        )
        table = pq.read_table(path)
        names = table["model"].cast(pa.string())
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        raise TraceError(f"{path}: not a table of ServeGen's client rates ({error})") from None
    rows: list[dict[str, Any]] = table.filter(pc.equal(names, model)).to_pylist()
    if not rows:
        known = ", ".join(sorted(names.drop_null().unique().to_pylist())) or "none"
        raise TraceError(f"{path}: column 'model': no {model!r}; it has {known}")
    for number, row in enumerate(rows):
        if row.get("family") not in _FAMILIES:
            raise TraceError(
                f"{path}: row {number} of {model}: column 'family': found {row.get('family')!r}; "
                f"allowed: {', '.join(_FAMILIES)}"
            )
        for name, (least, most) in _RANGES.items():
            value = row.get(name)
            if not (isinstance(value, int | float) and least <= value <= most):
                raise TraceError(
                    f"{path}: row {number} of {model}: column {name!r}: found {value!r}; a number "
                    f"of {least:g} to {most:g} is needed"
                )
    return rows


def _times(row: dict[str, Any], count: int, rng: np.random.Generator) -> Any:
    """Return ``count`` times in [0, 1): gaps of the fitted shape, stretched to fill the window."""
    shape = row["param0"]  # the scale is not needed: the count gives the rate
    if row["family"] == "Weibull":  # ServeGen's fits: shape, then scale
        gaps = rng.weibull(shape, count + 1)
    else:
        gaps = rng.gamma(shape, 1.0, count + 1)
    total = gaps.sum()
    return np.cumsum(gaps)[:-1] / total if total > 0 else rng.random(count)


def _lengths(path: Path) -> dict[int, dict[int, tuple[Table, Table]]]:
    """Read each client's (prompt, output) length distributions by the window's start."""
    found: dict[int, dict[int, tuple[Table, Table]]] = {}
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                match = _CHUNK.search(member.name)
                file = archive.extractfile(member) if match else None
                if match and file:
                    windows = {
                        int(start): (_table(each["input_tokens"]), _table(each["output_tokens"]))
                        for start, each in json.load(file).items()
                        if len(each["input_tokens"]) > 2 and len(each["output_tokens"]) > 2
                    }
                    if windows:
                        found[int(match[1])] = windows
    except _TORN as error:
        raise TraceError(f"{path}: not an archive of ServeGen's lengths ({error})") from None
    return found


def _table(text: str) -> Table:
    shares = {int(tokens): share for tokens, share in ast.literal_eval(text).items()}
    kept = {tokens: share for tokens, share in shares.items() if tokens > 0 and share > 0}
    if not kept or max(kept) > MOST_TOKENS or not math.fsum(kept.values()) < np.inf:
        raise ValueError("a distribution without any tokens, or beyond bounds")
    share = np.cumsum(list(kept.values()))
    return np.array(list(kept), dtype=np.int64), share / share[-1]


def _drawn(
    windows: dict[int, tuple[Table, Table]], start_s: int, count: int, rng: np.random.Generator
) -> tuple[Integers, Integers]:
    """Draw lengths of the latest window that began by ``start_s``, else of the first one."""
    at = max((each for each in windows if each <= start_s), default=min(windows))
    prompt, output = (
        tokens[np.searchsorted(below, rng.random(count), side="right").clip(max=len(tokens) - 1)]
        for tokens, below in windows[at]
    )
    return prompt, output
