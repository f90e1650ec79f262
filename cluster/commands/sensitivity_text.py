"""Text of a sensitivity study: effects of assumptions, and ranges of metrics."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster.commands import terminal

if TYPE_CHECKING:
    from cluster.studies.sensitivity import Band, Sensitivity, Swing

SHOWN = 10
"""Figures of each metric."""


def print_sensitivity(
    found: "Sensitivity", *, draw: Path | None, as_json: bool, quiet: bool
) -> None:
    """Print the study, and draw its first tornado if requested."""
    text = "\n\n".join(
        [
            *(_swings(metric, swings) for metric, swings in found.swings.items()),
            *([_bands(list(found.bands.values()))] if found.bands else []),
            _foot(found),
        ]
    )
    if draw is not None:
        _draw(found, draw)
    terminal.show(_payload(found), text, as_json=as_json, quiet=quiet)


def _swings(metric: str, swings: "Sequence[Swing]") -> str:
    if not swings:
        return f"{metric}: no figure changes it"
    rows = [
        [swing.figure, swing.confidence, swing.low, swing.high, f"{100 * swing.size:.1f} %"]
        for swing in swings[:SHOWN]
    ]
    more = f"\n({len(swings) - SHOWN} more figures change it less)" if len(swings) > SHOWN else ""
    head = f"{metric}: {swings[0].base:.4g} at the values"
    return (
        head
        + "\n"
        + terminal.table(("figure", "", "at its low", "at its high", "moves"), rows)
        + more
    )


def _bands(bands: "Sequence[Band]") -> str:
    rows = [[band.metric, band.base, band.p5, band.p50, band.p95] for band in bands]
    count = bands[0].samples
    return f"All figures at once, {count:,} draws over their ranges:\n" + terminal.table(
        ("metric", "at the values", "5 %", "median", "95 %"), rows
    )


def _foot(found: "Sensitivity") -> str:
    said = f"every point is in {found.sweep.path}"
    if found.unrun:
        return f"{found.unrun} points could not be run (status and reason say why); {said}"
    return said


def _payload(found: "Sensitivity") -> dict[str, object]:
    return {
        "sweep_dir": str(found.sweep.path),
        "unrun": found.unrun,
        "swings": {
            metric: [_row(one) for one in swings] for metric, swings in found.swings.items()
        },
        "bands": {metric: _row(band) for metric, band in found.bands.items()},
    }


def _row(record: Any) -> dict[str, object]:
    from dataclasses import asdict

    return asdict(record)


def _draw(found: "Sensitivity", path: Path) -> None:
    from results.figures import save, tornado

    metric = next(iter(found.swings))
    rows = [
        {"figure": swing.figure, "low": swing.low, "high": swing.high, "base": swing.base}
        for swing in found.swings[metric]
    ]
    save(tornado(rows, metric=metric), path)
