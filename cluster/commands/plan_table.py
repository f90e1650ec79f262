"""The table of a plan study's best candidates, and what limits the first."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cluster.commands import terminal
from corsair_common.units import HOURS_PER_MONTH

if TYPE_CHECKING:
    from cluster.studies.plan.study import Plans

HEADERS = (
    *("", "plan", "cards", "memory", "weights", "KV", "SQNR dB", "seqs", "budget", "TTFT ms"),
    *("simulated", "p99", "TPOT ms", "simulated", "p99", "in SLO %", "tokens/s", "simulated"),
    *("/card", "J/token", "kW", "USD/M tokens", "USD/month", "free MB", ""),
)

Candidate = Mapping[str, Any]


def candidates_of(found: "Plans", objective: str, count: int) -> list[dict[str, Any]]:
    """The best of each shape; ``alike`` is the number of batches that are as good, ``plan`` says
    its parallelism, ``beats_published`` which published point it beats."""
    from cluster.studies.best_plan import beaten
    from cluster.studies.plan.alike import alike

    rows = found.order[:count]
    groups = (found.scored.shape, found.scored.replicas)
    others = alike(found.columns, objective, groups, rows)
    best = [found.candidate(int(row)) for row in rows]
    return [
        {
            **each,
            "plan": shape(each),
            "alike": int(number),
            "beats_published": beaten(
                found.resolved, each["cards"], each["tpot_ms"], each["output_throughput"]
            )
            or None,
        }
        for each, number in zip(best, others, strict=True)
    ]


def ranking_text(best: Sequence[Candidate]) -> str:
    """A row per plan, near-duplicates folded into it."""
    rows = [
        [
            f"{place}{'*' if each['pareto'] else ''}",
            each["plan"],
            each["cards"],
            each["memory_mode"],
            each["weights"],
            each["kv"],
            _accuracy(each),
            each["max_num_seqs"],
            each["max_num_batched_tokens"],
            each["ttft_ms"],
            each["simulated_ttft_ms"],
            each["simulated_p99_ttft_ms"],
            each["tpot_ms"],
            each["simulated_tpot_ms"],
            each["simulated_p99_tpot_ms"],
            _percent(each["simulated_slo_attainment"]),
            each["output_throughput"],
            each["simulated_output_throughput"],
            each["output_tokens_per_s_per_card"],
            each["joules_per_output_token"],
            each["power_w"] / 1e3,
            _band(each, "cost_per_million_output_tokens_usd", 1.0),
            _band(each, "cost_per_hour_usd", HOURS_PER_MONTH),
            each["headroom_bytes"] / 1e6,
            f"and {each['alike']:,} like it" if each["alike"] else "",
        ]
        for place, each in enumerate(best, 1)
    ]
    return terminal.table(HEADERS, rows)


def _accuracy(candidate: Candidate) -> str | None:
    """``18.8/16.4``, on normal and heavy-tailed numbers; None for formats of more than 4 bits."""
    values = candidate["sqnr_db"], candidate["sqnr_heavy_tailed_db"]
    return None if None in values else "/".join(f"{value:.1f}" for value in values)


def _percent(part: float | None) -> float | None:
    return None if part is None else 100 * part


def shape(candidate: Candidate) -> str:
    """``2 x (TP 4 x PP 2, EP 4)``."""
    experts = candidate["expert_parallel_size"]
    return (
        f"{candidate['replicas']} x (TP {candidate['tensor_parallel_size']} x PP "
        f"{candidate['pipeline_parallel_size']}{f', EP {experts}' if experts > 1 else ''})"
    )


def bound_share(found: "Plans", best: Candidate) -> dict[str, float]:
    """What sets the time of a decode step of a candidate at its mean number of requests.

    Shares of the loop of a slot, by the bounds of its device; at the mean context.
    """
    from cluster.perf_model.devices import device_words
    from cluster.perf_model.prices import steady_decode
    from cluster.scenario.resolve import resolve
    from cluster.serving.run import lay_out, priced

    resolved = resolve(found.scenario(best))
    requests = resolved.requests
    context = int(requests.prompt_tokens.mean() + requests.output_tokens.mean() / 2)
    users = max(1, round(best["mean_requests"]))
    steady = steady_decode(priced(lay_out(resolved)).prices, batch=users, context=max(1, context))
    names = device_words(resolved.hardware).bound_names
    whole = float(steady.loop_by_bound_ps.sum()) or 1.0
    return dict(zip(names, (steady.loop_by_bound_ps / whole).tolist(), strict=True))


def _band(candidate: Candidate, name: str, times: float) -> str:
    """``0.61 (0.33-1.7)``."""
    amounts = (times * candidate[f"{name}{end}"] for end in ("", "_low", "_high"))
    amount, low, high = (f"{each:,.0f}" if each >= 1000 else f"{each:.3g}" for each in amounts)
    return f"{amount} ({low}-{high})"
