"""What limits a run, in words: rules over what the run left, each with its evidence and a remedy.

The first that holds is the verdict; the others that hold are told after it. A queue hides what is
behind it, so what causes a queue comes first.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from corsair_common.units import Floats
from results.api import Run
from results.causes import KNOWN_CAUSES, words_of
from results.figures.links import link_use
from results.figures.series import codes, count_at, numbers, time_edges, words
from results.report.assumptions import whole_of
from results.summary import flatten

ORDER = ("memory", "link", "queueing")
"""Of findings that are no bound: what causes a queue stands before the queue."""
QUEUE_SHARE = 0.5
"""Of the mean TTFT: a wait that is longer than the work itself."""
FULL = 0.75
"""Share of KV blocks that are taken while somebody waits, from which on they may be why: a newcomer
is let in only when its whole prompt has room beside what others still need, so few runs reach 1.
They are why if seats are not nearer to being all taken."""
SLOWER = 0.6
"""Of the bandwidth of its like: a cable that is worse than its datasheet."""
BUSY = 0.02
"""Mean utilisation from which such a cable matters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that limits a run."""

    what: str
    """memory, queueing, link, or one of BOUNDS."""
    headline: str
    evidence: str
    remedy: str


def findings(run: Run) -> list[Finding]:
    """All that limits the run, the verdict first; empty where nothing was done."""
    found = list(_bad_links(run))
    if "requests" in run.tables:
        found += _queue(run)
    return [*sorted(found, key=lambda one: ORDER.index(one.what)), *_bounds(run)]


def _queue(run: Run) -> Iterator[Finding]:
    """Refused for want of room, or waiting: for KV blocks, or for a seat and a turn."""
    summary = flatten(run.summary)
    status = run.table("requests")["status"].to_numpy(zero_copy_only=False)
    no_room = int(np.count_nonzero(status == "rejected_no_room"))
    if no_room:
        yield Finding(
            what="memory",
            headline="Memory: requests were refused because their KV can never fit.",
            evidence=f"{no_room:,} of {len(status):,} requests need more KV blocks than there are",
            remedy="more cards per replica, narrower weights or KV, or shorter contexts",
        )
    wait, ttft = summary.get("mean_queue_ms"), summary.get("mean_ttft_ms")
    if not isinstance(wait, float) or not isinstance(ttft, float) or wait < QUEUE_SHARE * ttft:
        return
    waited = f"requests wait {wait:,.4g} ms of {ttft:,.4g} ms mean TTFT before their first step"
    kv, seats = _taken_while_waiting(run)
    taken = f"{100 * kv:.0f} % of the KV blocks"
    taken += "" if seats is None else f" and {100 * seats:.0f} % of the seats (max_num_seqs)"
    evidence = f"{waited}; meanwhile {taken} are taken"
    if kv >= FULL and (seats is None or kv > seats):
        yield Finding(
            what="memory",
            headline="Memory: there are too few KV blocks for the requests at hand.",
            evidence=f"{evidence}, {summary.get('preemptions', 0):,} preemptions",
            remedy="room for KV: more cards per replica or replicas, narrower weights or KV, or KV "
            "that may spill to LPDDR",
        )
        return
    yield Finding(
        what="queueing",
        headline="Queueing: more is asked than the replicas can answer.",
        evidence=evidence,
        remedy="more replicas, a lower rate, more seats (scheduler.max_num_seqs) where KV has room "
        "and the answers may be slower, or a plan with more throughput (corsair-sim plan)",
    )


def _taken_while_waiting(run: Run) -> tuple[float, float | None]:
    """Mean shares of KV blocks and of seats in use while somebody waits.

    Of seats None for pools, whose requests sit in two of them one after the other.
    """
    edges = time_edges(run, bins=1000)
    status = run.table("requests")["status"].to_numpy(zero_copy_only=False)
    arrival = np.where(status == "completed", numbers(run, "requests", "arrival_s"), np.nan)
    begun = count_at(numbers(run, "requests", "first_scheduled_s"), edges)
    waits = count_at(arrival, edges) - begun
    if not waits.sum() > 0:
        return 0.0, 0.0
    scenario = run.manifest["scenario"]
    seats = None
    if not scenario.get("pools"):
        replicas = int(codes(run, "cards", "replica").max()) + 1
        most = replicas * (scenario.get("scheduler") or {}).get("max_num_seqs", np.inf)
        served = begun - count_at(numbers(run, "requests", "finish_s"), edges)
        seats = float(np.average(served / most, weights=waits))
    return _kv_while(run, edges, waits), seats


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
    """Cables that are slower than others of their kind and carry something, the busiest first."""
    mapped = {"links", "edges"} <= set(run.tables)  # a plain network has no map
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
            headline=f"A cable: {found[worst]} is the bottleneck of all that crosses it.",
            evidence=f"it has {100 * slow[found[worst]]:.0f} % of the bandwidth of its like and is "
            f"busy {100 * mean[worst]:.0f} % of the time, {100 * most[worst]:.0f} % at its busiest"
            f"{others}",
            remedy="replace the cable, or place the groups that cross it elsewhere",
        )


def _bounds(run: Run) -> Iterator[Finding]:
    """What most of the busy time (of a replay: of the critical path) goes into."""
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
    place = _place(run) if "critical" in run.tables else ""
    yield Finding(
        what=most,
        headline=f"Most of the {whole_of(run)} goes into {words_of(most)}.",
        evidence=f"{100 * known[most]:.0f} % {most}{then}{place}",
        remedy=KNOWN_CAUSES[most].remedy if most in KNOWN_CAUSES else "",
    )


def _place(run: Run) -> str:
    """The link or capacity that the critical path waits longest for, if for any."""
    link, time_s = words(run, "critical", "link_name"), numbers(run, "critical", "time_s")
    named = link != ""
    if not named.any():
        return ""
    names, where = np.unique(link[named].astype(str), return_inverse=True)
    waits_s = np.bincount(where, time_s[named])
    share = 100 * waits_s.max() / time_s.sum()
    return f"; of the places it waits longest for {names[waits_s.argmax()]}, {share:.0f} %"
