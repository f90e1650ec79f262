"""Text output of ``corsair-sim plan``."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster.commands import terminal

if TYPE_CHECKING:
    from cluster.studies.plan.study import Plans


def plan_text(
    found: "Plans", best: Sequence[Mapping[str, Any]], out: Path | None, write: Path | None
) -> str:
    """Print counts, the best candidates, simulations, and infeasible candidates by reason."""
    scored = found.scored
    limits = ", ".join(f"{name} {value:g}" for name, value in found.slo.items() if value)
    parts = [
        f"{found.resolved.model.name} on {scored.cards} cards: "
        f"{len(scored.shape):,} candidates scored ({scored.scoring_s:.2f} s, and "
        f"{scored.pricing_s:.1f} s of pricing), SLO on the means: {limits or 'none'}",
        "",
        _ranking(best) if best else "no candidate meets the SLO",
        "",
        f"* Pareto front of tokens/s/user and tokens/s/card "
        f"({int(found.columns['pareto'].sum()):,} such candidates in all)",
        *([*_verified(found)] if found.verified else []),
        "",
        "infeasible: "
        + (", ".join(f"{times:,} {why}" for why, times in found.infeasible.items()) or "none"),
        *([f"wrote {out}"] if out else []),
        *([f"wrote {write}; next: corsair-sim serve {write}"] if write else []),
    ]
    return "\n".join(parts)


def _ranking(best: Sequence[Mapping[str, Any]]) -> str:
    headers = (
        *("", "plan", "memory", "weights", "KV", "seqs", "budget", "TTFT ms", "TPOT ms"),
        *("tokens/s", "/card", "/user", "J/token", "USD/M tokens", "USD/h", "free MB"),
    )
    rows = [
        [
            f"{place}{'*' if each['pareto'] else ''}",
            shape(each),
            each["memory_mode"],
            each["weights"],
            each["kv"],
            each["max_num_seqs"],
            each["max_num_batched_tokens"],
            each["ttft_ms"],
            each["tpot_ms"],
            each["output_throughput"],
            each["output_tokens_per_s_per_card"],
            each["output_tokens_per_s_per_user"],
            each["joules_per_output_token"],
            _band(each, "cost_per_million_output_tokens_usd"),
            _band(each, "cost_per_hour_usd"),
            each["headroom_bytes"] / 1e6,
        ]
        for place, each in enumerate(best, 1)
    ]
    return terminal.table(headers, rows)


def _band(candidate: Mapping[str, Any], name: str) -> str:
    """``0.61 (0.33-1.7)``."""
    amount, low, high = (candidate[f"{name}{end}"] for end in ("", "_low", "_high"))
    return f"{amount:.3g} ({low:.3g}-{high:.3g})"


def shape(candidate: Mapping[str, Any]) -> str:
    """``2 x (TP 4 x PP 2, EP 4)``."""
    experts = candidate["expert_parallel_size"]
    return (
        f"{candidate['replicas']} x (TP {candidate['tensor_parallel_size']} x PP "
        f"{candidate['pipeline_parallel_size']}{f', EP {experts}' if experts > 1 else ''})"
    )


def _verified(found: "Plans") -> list[str]:
    """Analytic beside simulated, and what only the simulation knows."""
    headers = (
        *("", "TTFT ms", "simulated", "error", "TPOT ms", "simulated", "error"),
        *("tokens/s", "simulated", "J/token", "simulated", "p99 TTFT", "p99 TPOT", "in SLO %"),
    )
    rows = []
    for place, each in enumerate(found.verified, 1):
        errors, summary, candidate = each.errors, each.summary, each.candidate
        simulated = each.simulated
        attained = summary["slo_attainment"]
        rows.append(
            [
                str(place),
                candidate["ttft_ms"],
                simulated["ttft_ms"],
                _percent(errors["ttft_ms"]),
                candidate["tpot_ms"],
                simulated["tpot_ms"],
                _percent(errors["tpot_ms"]),
                candidate["output_throughput"],
                simulated["output_throughput"],
                candidate["joules_per_output_token"],
                simulated["joules_per_output_token"],
                summary["p99_ttft_ms"],
                summary["p99_tpot_ms"],
                None if attained is None else 100 * attained,
            ]
        )
    return ["", "Simulated on the scenario's requests:", terminal.table(headers, rows)]


def _percent(error: float | None) -> str:
    return "-" if error is None else f"{100 * error:+.1f} %"
