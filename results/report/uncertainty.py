"""Reports of a sensitivity study, and of a decision between two plans."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from results.errors import ResultsError
from results.figures.studies import titled, tornado
from results.report.answer import Answer, amount, limits, meter, paragraph, section, shares, spread
from results.report.html import bullets, figure, table

CAPACITY, COST = "capacity_request_rate_per_s", "cost_per_million_output_tokens_usd"
LATENCIES = ("p99_ttft_ms", "p99_tpot_ms")
TORNADOS = 4
"""Metrics with a tornado of their own."""
LEAST = 0.005
"""Relative change of a metric below which no tornado is drawn."""

Payload = Mapping[str, Any]


def sensitivity_answer(payload: Payload) -> Answer:
    """The page of ``corsair-sim sensitivity``."""
    return Answer(
        title=f"{payload['name']}: how sure is it?",
        headline=_headline(payload),
        details=tuple(_details(payload)),
        sections=tuple(_sections(payload)),
    )


def decision_answer(payload: Payload) -> Answer:
    """The page of ``corsair-sim sensitivity --against``."""
    first, second, wins = payload["first"], payload["second"], payload["overall"]
    names = _names(first, second)
    slo = " and the SLO" if first["slo"] else ""
    headline = (
        f"{names[0]} beats {names[1]} in {payload['first_better']:.0%} of {wins['draws']} draws by "
        f"{titled(payload['by']).partition(', ')[0]}{slo}"
    )
    rows = [
        (titled(metric), *_cells(first, metric), *_cells(second, metric), *_wins(each))
        for metric, each in payload["metrics"].items()
    ]
    heads = (
        "metric",
        names[0],
        "5 to 95 %",
        names[1],
        "5 to 95 %",
        f"draws: {names[0]} better",
        f"{names[1]} better",
    )
    parts = [section("Side by side", table(heads, rows))]
    for name, found in zip(names, (first, second), strict=True):
        parts.append(section(name, paragraph(f"{_headline(found)}."), *_sections(found)))
    unlike = payload["unlike"]
    details = [f"They differ in {', '.join(unlike)} as well"] if unlike else []
    return Answer(
        title=f"{names[0]} against {names[1]}",
        headline=headline,
        details=tuple(details),
        sections=tuple(parts),
    )


def _names(first: Payload, second: Payload) -> tuple[str, str]:
    if first["name"] != second["name"]:
        return first["name"], second["name"]
    return f"{first['name']} (first)", f"{second['name']} (second)"


def _cells(found: Payload, metric: str) -> tuple[float, str]:
    band = found["bands"][metric]
    return band["base"], spread(band["p50"], band["p5"], band["p95"])


def _wins(wins: Mapping[str, int]) -> tuple[int, int]:
    return wins["first"], wins["second"]


def _headline(payload: Payload) -> str:
    met = payload["slo_met_as_it_is"]
    slo = {True: "The SLO is met", False: "The SLO is missed", None: "No SLO is set"}[met]
    bands = payload["bands"]
    times = ", ".join(
        amount(name, _band(bands[name])) for name in (*LATENCIES, "makespan_s") if name in bands
    )
    return f"{slo}: {times}" if times else slo


def _details(payload: Payload) -> Iterator[str]:
    """Shares of draws, and what the numbers in brackets are."""
    bands = payload["bands"].values()
    if payload["slo_met"] is not None:
        yield (
            f"With {limits(payload['slo'])} as bounds of the 99th percentiles, it is met in "
            f"{payload['slo_met']:.0%} of the draws"
        )
    count = max((band["samples"] for band in bands), default=0)
    yield f"In brackets: nine of ten of {count} draws of all that is uncertain about the hardware"
    outside = [titled(band["metric"]) for band in bands if not band["holds"]]
    if outside:
        yield f"As it is lies outside of the band of {', '.join(outside)}"


def _sections(payload: Payload) -> Iterator[str]:
    yield from _load(payload)
    yield from _cost(payload)
    if payload["bound_share"]:
        yield section("What limits", shares(payload["bound_share"]))
    if drawn := list(_tornados(payload)):
        yield section("What it hangs on", *drawn)
    rows = [
        (titled(name), *(band[key] for key in ("base", "p5", "p50", "p95", "samples")))
        for name, band in payload["bands"].items()
    ]
    heads = ("metric", "as it is", "5 %", "median", "95 %", "draws")
    yield section("All bands", table(heads, rows))
    if payload["failures"]:
        lines = [f"{each['count']:,}: {each['reason']}" for each in payload["failures"]]
        yield f'<div class="warnings"><strong>Could not be run</strong>{bullets(lines)}</div>'


def _load(payload: Payload) -> Iterator[str]:
    offered, band = payload["offered_request_rate_per_s"], payload["bands"].get(CAPACITY)
    if band is None:
        return
    words = f"{_band(band)} requests/s can be served, without regard to the SLO"
    if offered is None:
        yield section("Capacity", paragraph(f"{words}."))
        return
    loads = [offered / band[key] for key in ("base", "p95", "p5")]
    text = f"{offered:,.4g} requests/s come, {words}: a load of {100 * loads[0]:.0f} % "
    text += f"({100 * loads[1]:.0f} to {100 * loads[2]:.0f} %)."
    yield section("Load against capacity", meter(loads[0], text), paragraph(text))


def _cost(payload: Payload) -> Iterator[str]:
    if (band := payload["bands"].get(COST)) is not None:
        text = f"{_band(band)} USD for a million output tokens."
        yield section("Cost", paragraph(text))


def _tornados(payload: Payload) -> Iterator[str]:
    moved = [(name, rows) for name, rows in payload["swings"].items() if _widest(rows) >= LEAST]
    for name, rows in moved[:TORNADOS]:
        try:
            yield figure(f"tornado-{name}", tornado(rows, metric=name, most=10).to_dict())
        except ResultsError:  # no figure can be had at both of its ends
            continue


def _widest(rows: Sequence[Mapping[str, Any]]) -> float:
    """The largest relative move of a metric by one figure."""
    ends = [
        abs(row[end] / row["base"] - 1)
        for row in rows
        for end in ("low", "high")
        if row[end] is not None and row["base"]
    ]
    return max(ends, default=0.0)


def _band(band: Mapping[str, Any]) -> str:
    return spread(band["base"], band["p5"], band["p95"])
