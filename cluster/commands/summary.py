"""Summary of a run as plain text: scenario, metrics, bounds."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from cluster.commands.sparklines import spread
from cluster.commands.terminal import table
from cluster.scenario.pools import POOLS
from results.causes import said
from results.devices import described

if TYPE_CHECKING:
    from cluster.scenario.resolve import Resolved
    from workloads.plan import Plan

LATENCIES = (
    ("TTFT", "ttft"),
    ("TPOT", "tpot"),
    ("ITL", "itl"),
    ("end to end", "e2el"),
    ("queueing", "queue"),
)


def report(title: str, machine: str, summary: Mapping[str, Any], foot: str) -> str:
    """Format a summary; ``title`` and ``machine`` head it, ``foot`` names the run's folder."""
    rows = [
        [f"{name}, ms", *(summary[f"{part}_{key}_ms"] for part in ("mean", "median", "p90", "p99"))]
        for name, key in LATENCIES
    ]
    parts = [
        title,
        machine,
        "",
        _counts(summary),
        _rates(summary),
        "",
        table(("", "mean", "p50", "p90", "p99"), rows),
        "",
        *_extras(summary),
        *_latency(summary),
        _bounds(summary["bound_share"]),
        *energy_lines(summary),
        *_cost(summary),
        "",
        foot,
    ]
    return "\n".join(parts)


def pictures(requests: Mapping[str, Any]) -> str:
    """Histograms of TTFT and TPOT, a line each, without the slowest hundredth."""
    lines = []
    for name, column in (("TTFT", "ttft_s"), ("TPOT", "tpot_s")):
        known_ms = 1e3 * np.asarray(requests[column], np.float64)
        known_ms = known_ms[np.isfinite(known_ms)]
        if len(known_ms):
            usual = known_ms[known_ms <= np.percentile(known_ms, 99)]
            lines.append(f"{name}, ms (to p99)  {spread(usual.tolist())}")
    return "\n".join(lines)


def machine_lines(resolved: "Resolved", cards: int) -> str:
    """Model, cards and plan of the run, for each pool if there are pools."""
    weights = dict.fromkeys(pool.scenario.formats.weights for pool in resolved.pools or (resolved,))
    head = f"{resolved.model.name}, weights {' and '.join(weights)}, on {cards} cards"
    if resolved.pools is None:
        return f"{head}: {plan_words(resolved.plan)}"
    lines = [
        f"  {name}: {len(pool.cards or ())} cards{_of_kind(pool)}, {plan_words(pool.plan)}, "
        f"{pool.scenario.memory.mode} mode"
        for name, pool in zip(POOLS, resolved.pools, strict=True)
    ]
    return "\n".join([f"{head} in two pools", *lines])


def _of_kind(pool: "Resolved") -> str:
    """Which of two kinds the cards of a pool are."""
    return "" if pool.mixed is None else f" of {pool.hardware.name}"


def plan_words(plan: "Plan") -> str:
    """``2 x (TP 4 x PP 2)``"""
    return f"{plan.replicas} x (TP {plan.tensor_parallel_size} x PP {plan.pipeline_parallel_size})"


def _counts(summary: Mapping[str, Any]) -> str:
    return (
        f"{summary['completed']:,} requests completed, {summary['rejected']:,} refused, "
        f"{summary['preemptions']:,} preemptions in {_duration(summary['duration'])} of traffic"
    )


def _rates(summary: Mapping[str, Any]) -> str:
    if not summary["duration"]:
        return "no duration"
    if summary["output_throughput"] is None:  # an embedding model
        read = summary["total_input_tokens"] / summary["duration"]
        return f"{summary['request_throughput']:,.2f} requests/s, {read:,.0f} input tokens/s"
    return (
        f"{summary['request_throughput']:,.2f} requests/s, "
        f"{summary['output_throughput']:,.0f} output tokens/s, "
        f"{summary['total_token_throughput']:,.0f} tokens/s in all"
    )


def _extras(summary: Mapping[str, Any]) -> list[str]:
    lines = []
    if summary["goodput"] is not None:
        share = (summary["slo_attainment"] or 0) * 100
        lines.append(f"goodput {summary['goodput']:,.2f} requests/s: {share:.1f} % meet the SLO")
    if summary["mean_batch_size"] is not None:
        lines.append(
            f"mean batch {summary['mean_batch_size']:.2f}, "
            f"peak KV {100 * (summary['peak_kv_fraction'] or 0):.1f} % of the blocks"
        )
    if summary["mbu"] is not None:
        lines.append(
            f"memory bandwidth used for weights and KV {_share(summary['mbu'])} (MBU), "
            f"model flop {_share(summary['mfu'])} of the peak (MFU)"
        )
    if summary["mean_kv_transfer_ms"] is not None:
        lines.append(
            f"KV between the pools: {summary['kv_transfer_bytes'] / 1e9:,.2f} GB, mean "
            f"{summary['mean_kv_transfer_ms']:.3g} ms, p99 {summary['p99_kv_transfer_ms']:.3g} ms, "
            f"{100 * (summary['kv_transfer_share_of_ttft'] or 0):.1f} % of the TTFT"
        )
    if summary.get("spec_decode_num_drafts"):
        lines.append(
            f"drafts: {summary['spec_decode_acceptance_rate']:.1f} % of "
            f"{summary['spec_decode_draft_tokens']:,} accepted, "
            f"{summary['spec_decode_acceptance_length']:.2f} tokens a verification"
        )
    if summary["prefix_hit_rate"] is not None:
        lines.append(f"prefix cache: {100 * summary['prefix_hit_rate']:.1f} % of prompt tokens hit")
    if summary["sessions"] is not None:
        lines.append(
            f"{summary['sessions']:,} sessions of {summary['mean_turns']:.3g} turns, "
            f"{summary['mean_session_s']:.3g} s in the mean, p99 {summary['p99_session_s']:.3g} s; "
            f"mean TTFT of first turns {_ms(summary['mean_first_turn_ttft_ms'])}, "
            f"of later ones {_ms(summary['mean_later_turn_ttft_ms'])}"
        )
    return lines


def _latency(summary: Mapping[str, Any]) -> list[str]:
    """What the slowest first tokens and the mean latency consist of."""
    device = described(tuple(summary["bound_share"]))
    families = (("p99 TTFT", "p99_ttft_share"), ("mean latency", "latency_share"))
    found = [(name, said(summary[family], device)) for name, family in families]
    return [f"{name}: {words}" for name, words in found if words]


def _ms(milliseconds: float | None) -> str:
    return "-" if milliseconds is None else f"{milliseconds:.3g} ms"


def _share(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.3g} %"


def _bounds(shares: Mapping[str, float | None]) -> str:
    known = sorted(((share or 0.0, name) for name, share in shares.items()), reverse=True)
    labels = {bound.name: bound.label for bound in described(tuple(shares)).bounds}
    words = [f"{100 * share:.1f} % {labels[name]}" for share, name in known if share >= 0.0005]
    return "busy time: " + (", ".join(words) or "none")


def energy_lines(summary: Mapping[str, Any]) -> list[str]:
    """Energy of the cards and its parts; empty without duration."""
    if not summary["energy_j"]:
        return []
    peak, token = summary["peak_power_w"], summary["joules_per_output_token"]
    most = "" if peak is None else f", {peak:,.0f} W at most"
    each = "" if token is None else f", {token:.3g} J per output token"
    around = summary["facility_joules_per_output_token"]
    whole = "" if around is None else f" ({around:.3g} J with hosts, NICs, switches and cooling)"
    shares = sorted(
        ((share, part) for part, share in summary["energy_share"].items()), reverse=True
    )
    words = [f"{100 * share:.1f} % {part}" for share, part in shares if share >= 0.0005]
    return [
        f"cards draw {summary['mean_power_w']:,.0f} W on average{most}{each}{whole}",
        "energy: " + ", ".join(words),
    ]


def _cost(summary: Mapping[str, Any]) -> list[str]:
    """Costs, always with their range: no price of this hardware is public."""
    hour, tokens = "cost_per_hour_usd", "cost_per_million_output_tokens_usd"
    if summary[hour] is None:
        return []
    text = f"cost: {_dollars(summary, hour)} an hour"
    if summary[tokens] is not None:
        text += f", {_dollars(summary, tokens)} per million output tokens"
    elif summary["cost_per_request_usd"] is not None:
        text += f", {_dollars(summary, 'cost_per_million_input_tokens_usd')} per million input"
        text += f" tokens, {_dollars(summary, 'cost_per_request_usd')} a request"
    return [f"{text} (prices are assumed)"]


def _dollars(summary: Mapping[str, Any], key: str) -> str:
    low, high = (f"{summary[f'{key}_{end}']:,.3g}" for end in ("low", "high"))
    return f"{summary[key]:,.3g} USD ({low} to {high})"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "no time"
    if seconds < 120:
        return f"{seconds:,.2f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes:,} min {rest} s"
