"""The report of ``corsair-sim plan``."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from corsair_common.units import HOURS_PER_MONTH
from results.errors import ResultsError
from results.figures.studies import pareto
from results.report.answer import Answer, limits, meter, paragraph, section, shares, spread
from results.report.html import bullets, figure, number, table

COLUMNS = {
    "cards": "cards",
    "memory_mode": "memory",
    "weights": "weights",
    "kv": "KV",
    "max_num_seqs": "seqs",
    "max_num_batched_tokens": "budget",
    "ttft_ms": "TTFT, ms",
    "tpot_ms": "TPOT, ms",
    "output_throughput": "tokens/s",
}
"""Of the table of candidates, by their key."""

Candidate = Mapping[str, Any]


def plan_answer(payload: Mapping[str, Any]) -> Answer:
    """The page of a plan study."""
    best = next(iter(payload["candidates"]), None)
    title = f"{payload['model']}: which plan?"
    if best is None:
        headline = f"No plan on {payload['cards']} cards meets the SLO"
        return Answer(
            title=title,
            headline=headline,
            details=(_slo(payload),),
            sections=tuple(_others(payload)),
        )
    return Answer(
        title=title,
        headline=f"{_met(payload)}: {best['plan']}, weights {best['weights']}, KV {best['kv']}, on "
        f"{best['cards']} cards",
        details=tuple(_details(payload, best)),
        sections=(*_load(best), _cost(best), *_limits(payload), *_others(payload)),
    )


def _met(payload: Mapping[str, Any]) -> str:
    """Whether the SLO is met, by the simulation where there is one."""
    if not any(payload["slo"].values()):
        return "No SLO is set"
    simulated = next(iter(payload["simulated"]), None)
    if simulated is None:
        return "The means of the scores meet the SLO"
    if simulated["meets_slo"]:
        return "In simulation the SLO is met"
    return "No simulated plan meets the SLO; the nearest"


def _slo(payload: Mapping[str, Any]) -> str:
    bounds = {name: value for name, value in payload["slo"].items() if value}
    return f"SLO: {limits(bounds)}" if bounds else "No SLO is set"


def _details(payload: Mapping[str, Any], best: Candidate) -> Iterator[str]:
    yield _slo(payload)
    yield (
        f"Mean TTFT {number(best['ttft_ms'])} ms, mean TPOT {_number(best['tpot_ms'])} ms, "
        f"{number(best['output_throughput'])} tokens/s at {number(best['request_rate_per_s'])} "
        f"requests/s; max_num_seqs {best['max_num_seqs']}, max_num_batched_tokens "
        f"{best['max_num_batched_tokens']}, memory mode {best['memory_mode']}"
    )
    for each in payload["simulated"][:1]:
        found = each["summary"]
        yield (
            f"Simulated: p99 TTFT {_number(found['p99_ttft_ms'])} ms, p99 TPOT "
            f"{_number(found['p99_tpot_ms'])} ms, {_number(found['output_throughput'])} tokens/s"
        )


def _load(best: Candidate) -> Iterator[str]:
    most = best["capacity_output_throughput"]
    if not most:
        return
    share = best["output_throughput"] / most
    text = (
        f"{number(best['output_throughput'])} of {number(most)} tokens/s that it can do with every "
        f"seat taken: a load of {100 * share:.0f} %."
    )
    yield section("Load against capacity", meter(share, text), paragraph(text))


def _cost(best: Candidate) -> str:
    hour = [best[f"cost_per_hour_usd{end}"] for end in ("", "_low", "_high")]
    million = [best[f"cost_per_million_output_tokens_usd{end}"] for end in ("", "_low", "_high")]
    rows = [
        ("a million output tokens", *million),
        ("an hour", *hour),
        ("a month", *(HOURS_PER_MONTH * each for each in hour)),
    ]
    heads = ("USD for", "as catalogued", "all prices low", "all prices high")
    power = f"{best['power_w'] / 1e3:,.3g} kW for the servers of {best['cards']} cards."
    return section(
        "Cost",
        paragraph(f"{spread(million[0], *million[1:])} USD for a million output tokens; {power}"),
        table(heads, rows),
    )


def _limits(payload: Mapping[str, Any]) -> Iterator[str]:
    if payload.get("bound_share"):
        words = "Of a decode step at the mean number of requests, by what sets its time:"
        yield section("What limits", paragraph(words), shares(payload["bound_share"]))


def _others(payload: Mapping[str, Any]) -> Iterator[str]:
    candidates: Sequence[Candidate] = payload["candidates"]
    if candidates:
        yield section("The best plans", _table(candidates), *_front(payload["pareto"]))
    lines = [f"{count:,}: {reason}" for reason, count in payload["infeasible"].items()]
    if lines:
        yield section("Left out", bullets(lines))


def _table(candidates: Sequence[Candidate]) -> str:
    rows = [
        [
            each["plan"],
            *(each[name] for name in COLUMNS),
            each["power_w"] / 1e3,
            each["cost_per_million_output_tokens_usd"],
            HOURS_PER_MONTH * each["cost_per_hour_usd"],
            each.get("alike"),
        ]
        for each in candidates
    ]
    heads = ("plan", *COLUMNS.values(), "kW", "USD/M tokens", "USD a month", "like it")
    return f'<div class="plans">{table(heads, rows)}</div>'


def _front(candidates: Sequence[Candidate]) -> Iterator[str]:
    try:
        yield figure("pareto", pareto(candidates, series="cards").to_dict())
    except ResultsError:
        return


def _number(value: float | None) -> str:
    return "-" if value is None else number(value)
