"""The result of ``calibrate`` as text and as JSON."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict

from cluster.commands import terminal
from cluster.studies.calibration.answers import UNMOVED, Odds, settings_text
from cluster.studies.calibration.cases import RATES, SHARED, TIMED
from cluster.studies.calibration.measurements import measured
from cluster.studies.calibration.study import Calibration
from topology.catalog import load_hardware
from topology.units import from_si

MOST_ODDS = 10
MOST_WORTH = 8


def text_of(found: Calibration) -> str:
    """Rows, settings, answers, figures, and what to measure next."""
    return "\n".join(_lines(found)).rstrip()


def _lines(found: Calibration) -> Iterator[str]:
    sample = found.after
    yield (
        f"{len(measured(found.rows))} rows, {len(found.figures)} figures, "
        f"{sample.evaluations:,} evaluations of {found.surface.priced} priced machines, "
        f"{sample.effective:,.0f} effective; {found.cpu_s:.0f} s of CPU"
    )
    yield f"answers differ from the exact model's by at most {100 * found.surface_error:.1f} %\n"
    yield from _rows(found)
    yield "\nWhat explains the rows\n"
    shown = found.odds[:MOST_ODDS]
    yield terminal.table(
        ("odds", "settings", *(_short(label) for label in _open(shown))),
        [
            [f"{100 * each.share:.0f} %", settings_text(each.settings), *each.rows.values()]
            for each in shown
        ],
    )
    rest = math.fsum(each.share for each in found.odds[MOST_ODDS:])
    if rest:
        yield f"{len(found.odds) - MOST_ODDS} others: {100 * rest:.0f} % together"
    for name in found.undecided:
        yield f"not decided by the rows: {name} ({' or '.join(SHARED[name])})"
    yield "\nWhat the rows say of other questions (5 to 95 %)\n"
    yield terminal.table(
        ("question", "unit", "before", "after", "median"),
        [
            [
                each.label,
                unit,
                _span(each.before, scale),
                _span(each.after, scale),
                f"{each.after[1] * scale:.4g}",
            ]
            for each in found.answers
            for unit, scale in [_unit(each.metric)]
        ],
    )
    yield from _figures(found)
    yield from _next(found)


def _rows(found: Calibration) -> Iterator[str]:
    cells = []
    for row, exact in zip(measured(found.rows), found.as_fitted, strict=True):
        unit, scale = _unit(row.cases[0].metric)
        assert row.value is not None
        cells.append(
            [
                row.label,
                unit,
                f"{row.value * scale:.4g}",
                f"{exact * scale:.4g}",
                f"{100 * (exact / row.value - 1):+.1f} %",
            ]
        )
    yield terminal.table(("row", "unit", "measured", "as fitted", "off"), cells)


def _figures(found: Calibration) -> Iterator[str]:
    moved = [each for each in found.figures if each.width < UNMOVED]
    if moved:
        yield "\nFigures that the rows narrow\n"
        yield terminal.table(
            ("figure", "unit", "before", "after", "width left"),
            [
                [
                    each.name,
                    unit,
                    _span(each.before, scale),
                    _span(each.after, scale),
                    f"{100 * each.width:.0f} %",
                ]
                for each in moved
                for unit, scale in [_unit(each.name)]
            ],
        )
    if still := [each.name for each in found.figures if each.width >= UNMOVED]:
        yield f"\nas uncertain as before: {', '.join(still)}"
    if found.surface.unmoved:
        yield f"without effect on rows and questions: {', '.join(found.surface.unmoved)}"
    yield f"independent combinations of figures that the rows hold: {found.held}"
    for one, other, correlation in found.together:
        yield f"cannot be told apart: {one} and {other} (correlation {correlation:+.2f})"


def _next(found: Calibration) -> Iterator[str]:
    if not found.next:
        return
    best = found.next[0]
    yield f"\nWhat to measure next: {best.label}\n"
    yield terminal.table(
        ("measurement", "answers narrower by", *(f"q{i + 1}" for i in range(len(found.answers)))),
        [
            [each.label, *(f"{100 * share:.0f} %" for share in (each.narrower, *each.by_question))]
            for each in found.next[:MOST_WORTH]
        ],
    )


def _open(shown: Sequence[Odds]) -> list[str]:
    return list(shown[0].rows) if shown else []


def _short(label: str) -> str:
    return label.split(",", maxsplit=1)[0]


def _unit(metric: str) -> tuple[str, float]:
    """Unit of a metric, and the factor from SI."""
    if metric in RATES:
        return "tok/s", 1.0
    if metric in TIMED:
        return "ms", 1e3
    unit = load_hardware("corsair").figures[metric].datasheet_unit
    return unit, from_si(1.0, unit)


def _span(band: tuple[float, float, float], scale: float) -> str:
    return f"{band[0] * scale:.4g} to {band[2] * scale:.4g}"


def payload_of(found: Calibration) -> dict[str, object]:
    """All numbers in SI."""
    return {
        "kind": "calibration",
        "rows": [
            {"label": row.label, "measured": row.value, "as_fitted": exact}
            for row, exact in zip(measured(found.rows), found.as_fitted, strict=True)
        ],
        "settings": [asdict(each) for each in found.odds],
        "undecided": list(found.undecided),
        "answers": [asdict(each) for each in found.answers],
        "figures": [asdict(each) for each in found.figures],
        "without_effect": list(found.surface.unmoved),
        "together": [list(each) for each in found.together],
        "held": found.held,
        "next": [asdict(each) for each in found.next],
        "fitted": {"figures": dict(found.fitted.figures), "settings": dict(found.fitted.settings)},
        "evaluations": found.after.evaluations,
        "effective": found.after.effective,
        "surface_error": found.surface_error,
        "cpu_s": found.cpu_s,
    }
