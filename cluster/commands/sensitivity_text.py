"""Text and JSON of a sensitivity study, and of a decision between two scenarios."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster.commands import terminal

if TYPE_CHECKING:
    from cluster.studies.bands import Band, Swing
    from cluster.studies.decision import Decision
    from cluster.studies.sensitivity import Sensitivity

SHOWN = 6
"""Figures of each metric."""
LEAST = 5e-4
"""Relative change below which a figure is not shown."""
LONGEST = 150
"""Most characters of a reason."""


def text_of(found: "Sensitivity") -> str:
    """The bands, then what moves each metric, then what could not be run."""
    parts = [
        *([_bands(list(found.bands.values()), found.slo_met)] if found.bands else []),
        *(_swings(metric, swings) for metric, swings in found.swings.items()),
        *_failures(found.failures),
        f"every point is in {found.sweep.path}",
    ]
    return "\n\n".join(parts)


def payload_of(found: "Sensitivity") -> dict[str, Any]:
    """As ``--json`` prints it, and as ``corsair-sim report`` reads it."""
    return {
        "kind": "sensitivity",
        "name": found.scenario.name,
        "sweep_dir": str(found.sweep.path),
        "draws": len(found.drawn),
        "slo": {name: value for name, value in found.scenario.slo.model_dump().items() if value},
        "slo_met_as_it_is": found.meets_as_it_is,
        "slo_met": found.slo_met,
        "offered_request_rate_per_s": found.offered_per_s,
        "bands": {metric: _band(band) for metric, band in found.bands.items()},
        "swings": {
            metric: [asdict(swing) for swing in swings] for metric, swings in found.swings.items()
        },
        "bound_share": {
            name.removeprefix("bound_share."): value
            for name, value in found.base.items()
            if name.startswith("bound_share.") and value is not None
        },
        "failures": [{"reason": why, "count": count} for why, count in found.failures.items()],
    }


def decision_text(decided: "Decision") -> str:
    """The answer in one sentence, metrics side by side, and what could not be run."""
    names = decided.first.scenario.name, decided.second.scenario.name
    one, other = ("the first", "the second") if names[0] == names[1] else names
    wins = decided.overall
    slo = " and the SLO" if any(decided.first.scenario.slo.model_dump().values()) else ""
    head = (
        f"{one} beats {other} in {wins.share:.0%} of {wins.draws} draws by {decided.by}{slo}"
        f" ({other} is better in {wins.second / wins.draws:.0%})"
    )
    rows = [
        [metric, *_span(decided.first, metric), *_span(decided.second, metric), f"{each.share:.0%}"]
        for metric, each in decided.metrics.items()
    ]
    headers = ("metric", one, "5-95 %", other, "5-95 %", f"{one} better")
    parts = [head, terminal.table(headers, rows)]
    for name, found in ((one, decided.first), (other, decided.second)):
        if found.slo_met is not None:
            parts.append(f"{name} meets the SLO in {found.slo_met:.0%} of the draws")
    if decided.first.failures == decided.second.failures:
        parts += _failures(decided.first.failures)
    else:
        parts += [
            f"{name}: {text}"
            for name, found in ((one, decided.first), (other, decided.second))
            for text in _failures(found.failures)
        ]
    if decided.unlike:
        parts.append(f"note: the scenarios differ in {', '.join(decided.unlike)} as well")
    return "\n\n".join(parts)


def decision_payload(decided: "Decision") -> dict[str, Any]:
    """As ``--json`` prints it."""
    return {
        "kind": "decision",
        "by": decided.by,
        "first_better": decided.overall.share,
        "overall": asdict(decided.overall),
        "metrics": {metric: asdict(wins) for metric, wins in decided.metrics.items()},
        "unlike": list(decided.unlike),
        "first": payload_of(decided.first),
        "second": payload_of(decided.second),
    }


def draw(found: "Sensitivity", path: Path) -> None:
    """Write the tornado of the first metric that a figure moves."""
    from results.figures import save, tornado

    metric = next((name for name, swings in found.swings.items() if swings), None)
    if metric is None:
        terminal.note(f"no figure moves anything: {path} is not written")
        return
    save(tornado([asdict(swing) for swing in found.swings[metric]], metric=metric), path)


def _band(band: "Band") -> dict[str, Any]:
    return {**asdict(band), "holds": band.holds}


def _bands(bands: "Sequence[Band]", slo_met: float | None) -> str:
    rows = [[band.metric, band.base, band.p5, band.p50, band.p95] for band in bands]
    text = f"All that is uncertain at once, {bands[0].samples:,} draws:\n" + terminal.table(
        ("metric", "as it is", "5 %", "median", "95 %"), rows
    )
    text += "" if slo_met is None else f"\nthe SLO is met in {slo_met:.0%} of them"
    if outside := [band.metric for band in bands if not band.holds]:
        text += f"\nnote: as it is lies outside of the band: {', '.join(outside)}"
    return text


def _swings(metric: str, swings: "Sequence[Swing]") -> str:
    if not swings or swings[0].size < LEAST:
        return f"{metric}: no figure moves it by {LEAST:.2%}"
    rows = [
        [swing.figure, swing.confidence, swing.low, swing.high, f"{100 * swing.size:.1f} %"]
        for swing in swings[:SHOWN]
        if swing.size >= LEAST
    ]
    more = f"\n({len(swings) - SHOWN} further figures move it less)" if len(swings) > SHOWN else ""
    table = terminal.table(("figure", "", "at its low", "at its high", "moves"), rows)
    return f"{metric}: {swings[0].base:.4g} as it is\n{table}{more}"


def _failures(failures: Mapping[str, int]) -> list[str]:
    if not failures:
        return []
    rows = [
        [count, reason if len(reason) <= LONGEST else f"{reason[:LONGEST]}..."]
        for reason, count in failures.items()
    ]
    return [f"could not be run:\n{terminal.table(('points', 'reason'), rows)}"]


def _span(found: "Sensitivity", metric: str) -> tuple[float, str]:
    band = found.bands[metric]
    return band.base, f"{band.p5:,.4g}-{band.p95:,.4g}"
