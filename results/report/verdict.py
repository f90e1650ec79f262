"""The bottleneck of a run as text: rules over its tables, each with evidence and a remedy.

The first rule that holds is the verdict; the others follow it. Causes of a queue come before the
queue.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from corsair_common.units import Floats
from results.api import Run
from results.causes import said
from results.figures.links import link_use
from results.figures.series import codes, count_at, numbers, time_edges, words
from results.report.assumptions import whole_of
from results.summary import flatten

CAUSES: Mapping[str, tuple[str, str]] = {
    "latency": (
        "the latency of messages",
        "fewer messages in a row over fewer hops: tensor groups under one switch, or larger "
        "batches, which send more tokens with each message",
    ),
    "contention": (
        "waiting for other messages on the same cables",
        "keep messages that are under way together off each other's cables: place groups "
        "apart, add NICs, or try another algorithm (collectives: in the scenario)",
    ),
    "recorded": (
        "times that the trace brought along",
        "nothing on this machine: these times stand in the trace and are not computed",
    ),
}
"""Of a replay's critical path beside the bounds: what it goes into, and what helps."""
ORDER = ("kv", "link", "queueing")
"""Of findings that are no bound: what causes a queue stands before the queue."""
QUEUE_SHARE = 0.5
"""Share of the mean TTFT: the wait is longer than the work itself."""
FULL = 0.75
"""Share of KV blocks in use while requests wait, from which on KV may be the cause: a request is
admitted only when its whole prompt fits, so few runs reach 1. KV is the cause if the share of
max_num_seqs in use is not larger."""
SLOWER = 0.6
"""Share of the bandwidth of similar cables: below it a cable is slow."""
BUSY = 0.02
"""Least mean utilisation of such a cable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that limits a run."""

    what: str
    """kv, queueing, link, or one of the device's bounds."""
    headline: str
    evidence: str
    remedy: str


def findings(run: Run) -> list[Finding]:
    """All findings, the verdict first; empty if no work was done."""
    found = list(_bad_links(run))
    if "requests" in run.tables:
        found += _queue(run)
    return [*sorted(found, key=lambda one: ORDER.index(one.what)), *_bounds(run)]


def _queue(run: Run) -> Iterator[Finding]:
    """Requests refused for KV, or waiting for KV blocks or for max_num_seqs."""
    summary = flatten(run.summary)
    status = run.table("requests")["status"].to_numpy(zero_copy_only=False)
    no_room = int(np.count_nonzero(status == "rejected_no_room"))
    if no_room:
        yield Finding(
            what="kv",
            headline="Memory: requests were refused because their KV can never fit.",
            evidence=f"{no_room:,} of {len(status):,} requests need more KV blocks than there are",
            remedy="more cards per replica, narrower weights or KV, or shorter contexts",
        )
    wait, ttft = summary.get("mean_queue_ms"), summary.get("mean_ttft_ms")
    if not isinstance(wait, float) or not isinstance(ttft, float) or wait < QUEUE_SHARE * ttft:
        return
    waited = f"requests wait {wait:,.4g} ms of {ttft:,.4g} ms mean TTFT before their first step"
    kv, sequences = _taken_while_waiting(run)
    taken = f"{100 * kv:.0f} % of the KV blocks"
    taken += "" if sequences is None else f" and {100 * sequences:.0f} % of max_num_seqs"
    evidence = f"{waited}; meanwhile {taken} are in use"
    slowest = latency_words(run, "p99_ttft_share", most=1)
    evidence += f"; p99 TTFT is {slowest}" if slowest else ""
    if kv >= FULL and (sequences is None or kv > sequences):
        yield Finding(
            what="kv",
            headline="Memory: there are too few KV blocks for the requests at hand.",
            evidence=f"{evidence}, {summary.get('preemptions', 0):,} preemptions",
            remedy=f"room for KV: {run.device.room_for_kv}",
        )
        return
    yield Finding(
        what="queueing",
        headline="Queueing: the load exceeds the capacity of the replicas.",
        evidence=evidence,
        remedy="more replicas, a lower rate, a larger scheduler.max_num_seqs where KV has room "
        "and TPOT may rise, or a plan with more throughput (corsair-sim plan)",
    )


def latency_words(run: Run, family: str, most: int = 4) -> str:
    """The largest causes of a latency, a family of shares of the summary; empty if unknown."""
    shares = run.summary.get(family)
    return said(shares, run.device, most) if isinstance(shares, Mapping) else ""


def _taken_while_waiting(run: Run) -> tuple[float, float | None]:
    """Mean shares of KV blocks and of max_num_seqs in use while requests wait.

    The latter is None for pools, whose requests use two of them one after the other.
    """
    edges = time_edges(run, bins=1000)
    status = run.table("requests")["status"].to_numpy(zero_copy_only=False)
    arrival = np.where(status == "completed", numbers(run, "requests", "arrival_s"), np.nan)
    begun = count_at(numbers(run, "requests", "first_scheduled_s"), edges)
    waits = count_at(arrival, edges) - begun
    if not waits.sum() > 0:
        return 0.0, 0.0
    scenario = run.manifest["scenario"]
    sequences = None
    if not scenario.get("pools"):
        replicas = int(codes(run, "cards", "replica").max()) + 1
        most = replicas * (scenario.get("scheduler") or {}).get("max_num_seqs", np.inf)
        served = begun - count_at(numbers(run, "requests", "finish_s"), edges)
        sequences = float(np.average(served / most, weights=waits))
    return _kv_while(run, edges, waits), sequences


def _kv_while(run: Run, edges: Floats, waits: Floats) -> float:
    """Mean share of KV blocks in use over the bins of cards, by how many wait in them."""
    stage, held = codes(run, "cards", "stage"), numbers(run, "cards", "kv_fraction")
    begin, end = numbers(run, "cards", "start_s"), numbers(run, "cards", "end_s")
    chosen = (stage == 0) & np.isfinite(held)
    upto = np.concatenate([[0.0], np.cumsum(waits)])
    first = np.searchsorted(edges, begin[chosen])
    last = np.searchsorted(edges, end[chosen])
    weight = upto[last] - upto[first]
    return float(np.average(held[chosen], weights=weight)) if weight.sum() > 0 else 0.0


def _bad_links(run: Run) -> Iterator[Finding]:
    """Cables with traffic that are slower than others of their kind, the busiest first."""
    mapped = {"links", "edges"} <= set(run.tables)  # a plain network has no topology
    if not mapped or not run.table("links").num_rows:
        return
    kinds, rates = words(run, "edges", "kind"), numbers(run, "edges", "bandwidth_bytes_per_s")
    ends = zip(words(run, "edges", "src"), words(run, "edges", "dst"), strict=True)
    names = [f"{src}>{dst}" for src, dst in ends]
    usual = {kind: float(np.median(rates[kinds == kind])) for kind in set(kinds.tolist())}
    slow = {
        name: rates[i] / usual[kinds[i]]
        for i, name in enumerate(names)
        if rates[i] < SLOWER * usual[kinds[i]]
    }
    found, _, mean, most, _ = link_use(run)
    busiest = sorted(
        (i for i, name in enumerate(found) if name in slow and mean[i] >= BUSY),
        key=lambda i: -float(mean[i]),
    )
    if busiest:
        worst = busiest[0]
        others = f"; so are {', '.join(found[i] for i in busiest[1:4])}" if busiest[1:] else ""
        yield Finding(
            what="link",
            headline=f"A cable: {found[worst]} is the bottleneck of its traffic.",
            evidence=f"it has {100 * slow[found[worst]]:.0f} % of the bandwidth of its peers, "
            f"is busy {100 * mean[worst]:.0f} % of the time, {100 * most[worst]:.0f} % at its "
            f"busiest{others}",
            remedy="replace the cable, or place the groups that cross it elsewhere",
        )


def _bounds(run: Run) -> Iterator[Finding]:
    """The largest part of the busy time (of a replay: of the critical path)."""
    summary: Mapping[str, Any] = run.summary
    shares = summary.get("bound_share") or summary.get("critical_share") or {}
    known = {
        name: share for name, share in shares.items() if isinstance(share, float) and share > 0
    }
    if not known:
        return
    order = sorted(known, key=lambda name: -known[name])
    most = order[0]
    rest = ", ".join(f"{100 * known[name]:.0f} % {name}" for name in order[1:4])
    then = f"; then {rest}" if rest else ""
    used = [(name, summary.get(name)) for name in ("mbu", "mfu")]
    shown = [f"{name.upper()} {100 * share:.3g} %" for name, share in used if share is not None]
    then += f"; {', '.join(shown)} over the whole run" if shown else ""
    place = _place(run) if "critical" in run.tables else ""
    known_words = {bound.name: (bound.label, bound.advice) for bound in run.device.bounds}
    label, advice = {**known_words, **CAUSES}[most]
    yield Finding(
        what=most,
        headline=f"Most of the {whole_of(run)} goes into {label}.",
        evidence=f"{100 * known[most]:.0f} % {most}{then}{place}",
        remedy=advice,
    )


def _place(run: Run) -> str:
    """The link or capacity that the critical path waits longest for, if any."""
    link, time_s = words(run, "critical", "link_name"), numbers(run, "critical", "time_s")
    named = link != ""
    if not named.any():
        return ""
    names, where = np.unique(link[named].astype(str), return_inverse=True)
    waits_s = np.bincount(where, time_s[named])
    share = 100 * waits_s.max() / time_s.sum()
    return f"; it waits longest for {names[waits_s.argmax()]}, {share:.0f} %"
