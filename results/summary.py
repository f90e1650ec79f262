"""The summary of a run: vLLM's ``bench serve`` keys and our own, from columns of whole picoseconds.

Pure functions; undefined values are None, never NaN. As in vLLM, latencies are those of completed
requests; one-token outputs have no TPOT, and count as 0 against its SLO.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from corsair_common.names import SLOS, Status
from corsair_common.units import PS_PER_MS, PS_PER_S, Floats, Integers
from results.devices import DIMC, described
from results.drafts import NO_DRAFTS, Drafts
from results.engine_columns import Latency
from results.histogram import BINS, deviation_ps, percentiles_ps
from results.latency_shares import latency_shares
from results.schema import (
    FACILITY_PARTS,
    LATENCY_SHARES,
    METRICS,
    PERCENTILES,
    summary_statistics,
)
from results.sessions import session_summary
from results.summary_parts import Summary, ratio
from results.window import window_of

NESTED = (
    *("bound_share", "critical_share", "energy_share", "facility_power_w"),
    *LATENCY_SHARES,
)
"""Keys that hold others; further keys have dots of their own (``p99.9_ttft_ms``)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Energy:
    """Energy of the cards and their facility in the run's window."""

    parts_j: Sequence[float]
    """Of all cards, in the order of ``Machine.parts``."""
    mean_power_w: float | None
    peak_power_w: float | None
    facility_energy_j: float | None
    facility_power_w: Mapping[str, float] | None
    """By FACILITY_PARTS."""

    @property
    def total_j(self) -> float:
        return math.fsum(self.parts_j)


@dataclass(frozen=True, slots=True, kw_only=True)
class Useful:
    """What the model needs of the cards that have a rank, and what these can do at most."""

    moved_bytes: int
    """Of weights and KV, read once each by a step."""
    flop: int
    peak_bytes_per_s: float
    """Of the near memories of all these cards together,"""
    peak_flop_per_s: float
    """and in the formats of weights and activations."""

    def __add__(self, other: "Useful") -> "Useful":
        return Useful(
            moved_bytes=self.moved_bytes + other.moved_bytes,
            flop=self.flop + other.flop,
            peak_bytes_per_s=self.peak_bytes_per_s + other.peak_bytes_per_s,
            peak_flop_per_s=self.peak_flop_per_s + other.peak_flop_per_s,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Figures of a run that do not follow from its requests; None if not measured."""

    cards: int
    bounds: tuple[str, ...] = DIMC.bound_names
    parts: tuple[str, ...] = DIMC.part_names
    """What can set the time of a card, and where its energy goes."""
    mean_batch_size: float | None = None
    """Mean number of requests in a step of a slot."""
    peak_kv_fraction: float | None = None
    max_output_tokens_per_s: float | None = None
    """Most tokens emitted within one second."""
    prefix_caching: bool = False
    busy_ps: Sequence[int] | None = None
    """Of all cards, in the order of ``bounds`` (Python's integers: sums may pass 2**63)."""
    useful: "Useful | None" = None
    energy: Energy | None = None
    clock_hz: float | None = None
    drafts: Drafts | None = None


def summarise(
    requests: Mapping[str, Integers],
    *,
    machine: Machine,
    itl_count: Integers | None = None,
    slo: Mapping[str, float | None] | None = None,
    warmup_s: float = 0.0,
    flags: Sequence[str] = (),
    latency: Latency | None = None,
) -> Summary:
    """The summary of a run, without its run_id and model_version.

    Parameters
    ----------
    requests:
        As for ``results.engine_columns.request_columns``.
    itl_count:
        Counts in the bins of ``results.histogram``; without it the spread of ITL is None.
    slo:
        Seconds by ``ttft_s``, ``tpot_s``, ``e2e_s``; None or absent is no objective.
    warmup_s:
        Requests that arrived within this time after the first are left out. ITL's percentiles still
        include their tokens.
    flags:
        Notes to show beside the numbers.
    latency:
        The requests' latencies by cause; without it there are no shares of them.

    Raises
    ------
    ValueError
        An SLO that is not in SLOS or not a number above zero; a histogram of other bins.
    """
    if itl_count is not None and itl_count.shape != (BINS,):
        raise ValueError(f"the ITL histogram has shape {itl_count.shape}, not ({BINS},)")
    window = window_of(requests["arrival_ps"], requests["finish_ps"], warmup_s)
    counted = _where(requests, requests["arrival_ps"] >= window.begin_ps)
    done = _where(counted, counted["status"] == Status.COMPLETED)
    duration_s = window.length_s if len(counted["status"]) else None
    early = (
        ["itl percentiles include the warm-up"] if warmup_s > 0 and itl_count is not None else []
    )
    return {
        **_speeds(counted, done, duration_s, machine=machine, itl_count=itl_count, slo=slo or {}),
        "preemptions": int(counted["preemptions"].sum()),
        "rejected": len(counted["status"]) - len(done["status"]),
        **_transfers(done),
        **session_summary(done),
        **_machine_side(machine, done),
        **latency_shares(latency, requests, window.begin_ps, described(machine.bounds)),
        **_utilisation(machine.useful, duration_s),
        "clock_hz": machine.clock_hz,
        **NO_DRAFTS,
        **(machine.drafts.summary() if machine.drafts else {}),
        **energy_side(machine.energy, int(done["output_tokens"].sum()), machine.parts),
        "flags": [*flags, *early],
    }


def _speeds(
    counted: Mapping[str, Integers],
    done: Mapping[str, Integers],
    duration_s: float | None,
    *,
    machine: Machine,
    itl_count: Integers | None,
    slo: Mapping[str, float | None],
) -> Summary:
    """Counts, rates and latencies."""
    completed, arrived = len(done["status"]), len(counted["status"])
    input_tokens, output_tokens = int(done["prompt_tokens"].sum()), int(done["output_tokens"].sum())
    good = _good(done, slo)
    card_s = None if duration_s is None else duration_s * machine.cards
    latencies = _latencies(done, itl_count)
    if machine.drafts and itl_count is not None:  # tokens that come together are one gap
        gaps, tokens = int(itl_count.sum()), int((done["output_tokens"] - 1).sum())
        mean_ms = latencies["mean_itl_ms"]
        latencies["mean_itl_ms"] = None if mean_ms is None else mean_ms * tokens / max(1, gaps)
    return {
        "completed": completed,
        "failed": arrived - completed,
        "duration": duration_s,
        "total_input_tokens": input_tokens,
        "total_output_tokens": output_tokens,
        "request_throughput": ratio(completed, duration_s),
        "request_goodput": ratio(good, duration_s),
        "output_throughput": ratio(output_tokens, duration_s),
        "total_token_throughput": ratio(input_tokens + output_tokens, duration_s),
        "max_output_tokens_per_s": machine.max_output_tokens_per_s,
        "max_concurrent_requests": _peak_concurrency(done),
        **latencies,
        "goodput": ratio(good, duration_s),
        "slo_attainment": ratio(good, arrived),
        "output_tokens_per_s_per_user": ratio(1e3, latencies["mean_tpot_ms"]),
        "output_tokens_per_s_per_card": ratio(output_tokens, card_s),
    }


OF_OUTPUT = ("output", "tpot", "itl", "total_token_throughput")
"""Parts of the names of a summary's keys that speak of generated tokens."""


def without_output(summary: Summary) -> Summary:
    """The summary of a model that generates nothing: None for what speaks of output, no tokens."""
    found = {
        key: None if any(part in key for part in OF_OUTPUT) else value
        for key, value in summary.items()
    }
    return found | {"total_output_tokens": 0}


def rate(summary: Mapping[str, Any], counted: str) -> float | None:
    """What was counted by second of the run."""
    return ratio(summary[counted], summary["duration"])


def flatten(summary: Mapping[str, object]) -> dict[str, object]:
    """Nested keys as dotted ones: the one row of the table ``summary``."""
    row: dict[str, object] = {}
    for key, value in summary.items():
        if isinstance(value, Mapping):
            row.update({f"{key}.{inner}": each for inner, each in value.items()})
        else:
            row[key] = value
    return row


def nest(row: Mapping[str, object]) -> Summary:
    """The inverse of ``flatten``."""
    summary: Summary = {}
    for key, value in row.items():
        outer, _, inner = key.partition(".")
        shares = summary.setdefault(outer, {}) if outer in NESTED else None
        if isinstance(shares, dict):
            shares[inner] = value
        else:
            summary[key] = value
    return summary


def _where(
    requests: Mapping[str, Integers], chosen: npt.NDArray[np.bool_]
) -> Mapping[str, Integers]:
    """The chosen rows; the columns themselves where all are."""
    if chosen.all():
        return requests
    return {name: column[chosen] for name, column in requests.items()}


def _good(done: Mapping[str, Integers], slo: Mapping[str, float | None]) -> int | None:
    """The number of completed requests that meet every objective; None without objectives."""
    limits_ps: dict[str, int] = {}
    for name, limit_s in slo.items():
        if name not in SLOS:
            raise ValueError(f"unknown SLO {name!r}, allowed are {', '.join(SLOS)}")
        if limit_s is None:
            continue
        if not 0 < limit_s < np.inf:
            raise ValueError(f"SLO {name} must be a number above zero, got {limit_s!r}")
        limits_ps[name] = round(limit_s * PS_PER_S)
    if not limits_ps:
        return None
    spent_ps = {
        "ttft_s": done["first_token_ps"] - done["arrival_ps"],
        "e2e_s": done["finish_ps"] - done["arrival_ps"],
        "tpot_s": -(
            (done["first_token_ps"] - done["finish_ps"]) // np.maximum(done["output_tokens"] - 1, 1)
        ),
    }
    met = [spent_ps[name] <= limit for name, limit in limits_ps.items()]
    return int(np.logical_and.reduce(met).sum())


def _peak_concurrency(done: Mapping[str, Integers]) -> int:
    """Most completed requests in the system at once, each from its arrival until its finish."""
    arrivals, finishes = np.sort(done["arrival_ps"]), np.sort(done["finish_ps"])
    here = np.arange(1, len(arrivals) + 1) - np.searchsorted(finishes, arrivals, side="right")
    return int(here.max(initial=0))


def _latencies(done: Mapping[str, Integers], itl_count: Integers | None) -> dict[str, float | None]:
    arrival, first, finish = done["arrival_ps"], done["first_token_ps"], done["finish_ps"]
    later = done["output_tokens"] - 1
    decode = finish - first
    samples: dict[str, Callable[[], npt.NDArray[Any]]] = {  # one at a time in memory
        "ttft": lambda: first - arrival,
        "tpot": lambda: decode[later > 0] / later[later > 0],
        "e2el": lambda: finish - arrival,
        "queue": lambda: done["first_scheduled_ps"] - arrival,
    }
    table = {metric: _of_sample(ps().astype(np.float64)) for metric, ps in samples.items()}
    table["itl"] = _of_histogram(
        ratio(float(decode.sum(dtype=np.float64)), int(later.sum())), itl_count
    )
    return {
        key: None if ps is None else ps / PS_PER_MS
        for metric in METRICS
        for (key, _), ps in zip(summary_statistics(metric), table[metric], strict=True)
    }


def _of_sample(ps: Floats) -> list[float | None]:
    """Mean, median, deviation and percentiles; ``ps`` is left in another order."""
    if not len(ps):
        return [None] * (3 + len(PERCENTILES))
    mean, deviation = ps.mean(), ps.std()  # first: sums hang on the order
    middle = np.median(ps, overwrite_input=True)
    spread = np.percentile(ps, PERCENTILES, overwrite_input=True)
    return [*map(float, (mean, middle, deviation, *spread))]


def _of_histogram(mean_ps: float | None, counts: Integers | None) -> list[float | None]:
    """The same for ITL. Its mean is exact: a request's gaps sum to finish - first token."""
    spread = None if counts is None else percentiles_ps(counts, [50.0, *PERCENTILES])
    if counts is None or spread is None:
        return [mean_ps] + [None] * (2 + len(PERCENTILES))
    return [mean_ps, float(spread[0]), deviation_ps(counts), *map(float, spread[1:])]


def _transfers(done: Mapping[str, Integers]) -> Summary:
    """KV transfer times of a disaggregated run."""
    moved = done.get("kv_transfer_ps")
    if moved is None or not len(moved):
        names = ("mean_kv_transfer_ms", "p99_kv_transfer_ms")
        return dict.fromkeys((*names, "kv_transfer_bytes", "kv_transfer_share_of_ttft"))
    waited_ps = float((done["first_token_ps"] - done["arrival_ps"]).sum(dtype=np.float64))
    return {
        "mean_kv_transfer_ms": float(moved.mean()) / PS_PER_MS,
        "p99_kv_transfer_ms": float(np.percentile(moved, 99)) / PS_PER_MS,
        "kv_transfer_bytes": int(done["kv_transfer_bytes"].sum()),
        "kv_transfer_share_of_ttft": ratio(float(moved.sum(dtype=np.float64)), waited_ps),
    }


def energy_side(energy: Energy | None, output_tokens: int | None, parts: Sequence[str]) -> Summary:
    """Keys of a summary that tell of energy; ``output_tokens`` of the same window."""
    total_j = None if energy is None else energy.total_j
    parts_j = [None] * len(parts) if energy is None else energy.parts_j
    shares = {part: ratio(part_j, total_j) for part, part_j in zip(parts, parts_j, strict=True)}
    facility_j = None if energy is None else energy.facility_energy_j
    facility_w = (energy.facility_power_w if energy else None) or {}
    return {
        "energy_j": total_j,
        "joules_per_output_token": ratio(total_j, output_tokens),
        "mean_power_w": None if energy is None else energy.mean_power_w,
        "peak_power_w": None if energy is None else energy.peak_power_w,
        "output_tokens_per_s_per_w": ratio(output_tokens, total_j),
        "energy_share": shares,
        "facility_energy_j": facility_j,
        "facility_joules_per_output_token": ratio(facility_j, output_tokens),
        "facility_power_w": {part: facility_w.get(part) for part in FACILITY_PARTS},
    }


def _utilisation(useful: Useful | None, duration_s: float | None) -> Summary:
    """MBU and MFU: shares of the peaks over the whole run, idle time included."""
    if useful is None:
        return {"mbu": None, "mfu": None}
    return {
        "mbu": ratio(ratio(useful.moved_bytes, duration_s), useful.peak_bytes_per_s),
        "mfu": ratio(ratio(useful.flop, duration_s), useful.peak_flop_per_s),
    }


def _machine_side(machine: Machine, done: Mapping[str, Integers]) -> Summary:
    busy_ps = machine.busy_ps or [0] * len(machine.bounds)
    total_ps = sum(busy_ps)
    shares = {name: ratio(ps, total_ps) for name, ps in zip(machine.bounds, busy_ps, strict=True)}
    cached, prompts = int(done["cached_tokens"].sum()), int(done["prompt_tokens"].sum())
    return {
        "mean_batch_size": machine.mean_batch_size,
        "peak_kv_fraction": machine.peak_kv_fraction,
        "prefix_hit_rate": ratio(cached, prompts) if machine.prefix_caching else None,
        "bound_share": shares,
    }
