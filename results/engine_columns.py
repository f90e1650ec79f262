"""Converts the engines' whole picoseconds to columns: differences first, then seconds."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from corsair_common.units import NEVER, PS_PER_S, Floats, Integers

REQUESTS_AT_ONCE = 1 << 17
"""Rows of a part of ``requests``."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Coded:
    """A column of words as positions in a list of them."""

    codes: npt.NDArray[np.signedinteger[Any]]
    words: Sequence[str]

    def __len__(self) -> int:
        return len(self.codes)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Latency:
    """Latencies of requests by cause, in whole picoseconds."""

    causes: tuple[str, ...]
    """Names of ``results.causes``."""
    whole: Integers
    """[request, cause] of the end-to-end latency, to which a row sums."""
    first: Integers
    """[request, cause] of the time to first token."""
    done: npt.NDArray[np.bool_]
    """[request] False if it was refused; its row is 0."""

    def later(self, cause: str, by_ps: Integers | int) -> "Latency":
        """The same with ``by_ps``, of each request or of all, added to a cause."""
        if not np.any(by_ps):
            return self
        causes, whole, first = self.causes, self.whole, self.first
        if cause not in causes:
            causes = (*causes, cause)
            whole, first = (np.pad(parts, ((0, 0), (0, 1))) for parts in (whole, first))
        place, added = causes.index(cause), np.where(self.done, by_ps, 0)
        whole, first = whole.copy(), first.copy()
        whole[:, place] += added
        first[:, place] += added
        return Latency(causes=causes, whole=whole, first=first, done=self.done)


def seconds(ps: Integers) -> Floats:
    """The nearest float64 to each whole number of picoseconds, NEVER as NaN (null in a file)."""
    return np.where(ps == NEVER, np.nan, ps / PS_PER_S)


def elapsed_ps(start: Integers, end: Integers) -> Integers:
    """``end - start`` where both happened, else NEVER."""
    return np.where((start == NEVER) | (end == NEVER), NEVER, end - start)


def request_parts(requests: Mapping[str, Any]) -> Iterator[dict[str, npt.ArrayLike]]:
    """The columns of ``request_columns`` in parts, so that the whole never lies in memory."""
    for first in range(0, max(1, len(requests["arrival_ps"])), REQUESTS_AT_ONCE):
        part = {name: column[first : first + REQUESTS_AT_ONCE] for name, column in requests.items()}
        yield request_columns(part, first)


def request_columns(requests: Mapping[str, Any], first: int = 0) -> dict[str, npt.ArrayLike]:
    """Columns of the table ``requests``, request_id being the row number, counted from ``first``.

    ``requests`` holds ``arrival_ps, first_scheduled_ps, first_token_ps, finish_ps`` (NEVER where
    it did not happen), ``prompt_tokens, output_tokens, replica`` (-1: none), ``preemptions,
    cached_tokens`` and ``status`` (position in ``results.schema.STATUSES``); ``energy_j`` where it
    was measured; ``session`` and ``turn`` if there are sessions; of a disaggregated run also
    ``decode_replica, kv_transfer_ps, kv_transfer_bytes``.
    """
    arrival, finish = requests["arrival_ps"], requests["finish_ps"]
    first_token, output = requests["first_token_ps"], requests["output_tokens"]
    decode_ps = elapsed_ps(first_token, finish)
    has_tpot = (decode_ps != NEVER) & (output > 1)
    tpot_s = np.full(len(output), np.nan)
    tpot_s[has_tpot] = decode_ps[has_tpot] / ((output[has_tpot] - 1) * PS_PER_S)
    return {
        "request_id": np.arange(first, first + len(arrival)),
        "arrival_s": seconds(arrival),
        "first_scheduled_s": seconds(requests["first_scheduled_ps"]),
        "first_token_s": seconds(first_token),
        "finish_s": seconds(finish),
        "prompt_tokens": requests["prompt_tokens"],
        "output_tokens": output,
        "replica": np.ma.masked_less(requests["replica"], 0),
        "preemptions": requests["preemptions"],
        "cached_tokens": requests["cached_tokens"],
        "status": requests["status"],
        "ttft_s": seconds(elapsed_ps(arrival, first_token)),
        "tpot_s": tpot_s,
        "e2e_s": seconds(elapsed_ps(arrival, finish)),
        "energy_j": requests.get("energy_j", np.full(len(arrival), np.nan)),
        "queue_s": seconds(elapsed_ps(arrival, requests["first_scheduled_ps"])),
        **{name: requests[name] for name in ("session", "turn") if name in requests},
        **(_transfer_columns(requests) if "kv_transfer_ps" in requests else {}),
    }


def latency_parts(latency: "Latency") -> Iterator[dict[str, npt.ArrayLike]]:
    """The columns of ``latency_breakdown`` in parts, so that the whole never lies in memory."""
    for first in range(0, max(1, len(latency.done)), REQUESTS_AT_ONCE):
        rows = slice(first, first + REQUESTS_AT_ONCE)
        done = latency.done[rows]
        part: dict[str, npt.ArrayLike] = {"request_id": np.arange(first, first + len(done))}
        for before, parts in (("", latency.whole), ("ttft_", latency.first)):
            for name, column in zip(latency.causes, parts[rows].T, strict=True):
                part[f"{before}{name}_s"] = np.where(done, column / PS_PER_S, np.nan)
        yield part


def _transfer_columns(requests: Mapping[str, Integers]) -> dict[str, npt.ArrayLike]:
    """The additional columns of a disaggregated run."""
    refused = requests["kv_transfer_ps"] == NEVER
    return {
        "decode_replica": np.ma.masked_less(requests["decode_replica"], 0),
        "kv_transfer_s": seconds(requests["kv_transfer_ps"]),
        "kv_transfer_bytes": np.ma.masked_where(refused, requests["kv_transfer_bytes"]),
    }


def bin_columns(edges_ps: Integers) -> dict[str, npt.ArrayLike]:
    """``bin, start_s, end_s`` of the bins between ``edges_ps`` (one more edge than bins)."""
    return {
        "bin": np.arange(len(edges_ps) - 1),
        "start_s": seconds(edges_ps[:-1]),
        "end_s": seconds(edges_ps[1:]),
    }


def card_columns(
    edges_ps: Integers, busy_ps: Integers, bounds: Sequence[str]
) -> dict[str, npt.ArrayLike]:
    """One card's times in the table ``cards``; the caller adds who the card is.

    ``busy_ps`` is [bins, bounds]. What is not busy is idle, in whole picoseconds.

    Raises
    ------
    ValueError
        A bin is busier than it is long, or there are not as many bounds as columns.
    """
    return bin_columns(edges_ps) | busy_columns(np.diff(edges_ps), busy_ps, bounds)


def busy_columns(
    lasts_ps: Integers | int, busy_ps: Integers, bounds: Sequence[str]
) -> dict[str, npt.ArrayLike]:
    """The columns of ``card_columns`` that cards do not share; bins last ``lasts_ps``."""
    idle_ps = lasts_ps - busy_ps.sum(axis=1)
    if idle_ps.size and int(idle_ps.min()) < 0:
        worst = int(np.argmin(idle_ps))
        raise ValueError(f"bin {worst} is busy {-int(idle_ps[worst])} ps longer than it lasts")
    return {
        **{
            f"busy_{bound}_s": column / PS_PER_S
            for bound, column in zip(bounds, busy_ps.T, strict=True)
        },
        "idle_s": idle_ps / PS_PER_S,
    }


def energy_columns(spent_j: Floats, parts: Sequence[str]) -> dict[str, npt.ArrayLike]:
    """One card's energy in the table ``cards``; ``spent_j`` is [bins, parts]."""
    columns = zip(parts, spent_j.T, strict=True)
    return {f"energy_{part}_j": column for part, column in columns}


def names_in(columns: Iterable[str], before: str, after: str = "") -> tuple[str, ...]:
    """What stands between ``before`` and ``after`` in the names of columns, in their order.

    Examples
    --------
    >>> names_in(["card", "busy_mac_s", "busy_simd_s", "idle_s"], "busy_", "_s")
    ('mac', 'simd')
    """
    return tuple(
        name.removeprefix(before).removesuffix(after)
        for name in columns
        if name.startswith(before) and name.removeprefix(before).endswith(after)
    )


def link_columns(
    edges_ps: Integers, sent_bytes: Integers, busy_ps: Integers
) -> dict[str, npt.ArrayLike]:
    """One link's load in the table ``links``; the caller adds the link's name."""
    return bin_columns(edges_ps) | load_columns(np.diff(edges_ps), sent_bytes, busy_ps)


def load_columns(
    lasts_ps: Integers | int, sent_bytes: Integers, busy_ps: Integers
) -> dict[str, npt.ArrayLike]:
    """The columns of ``link_columns`` that links do not share; bins last ``lasts_ps``."""
    return {
        "bytes": sent_bytes,
        "busy_s": busy_ps / PS_PER_S,
        "utilisation": busy_ps / lasts_ps,
    }
