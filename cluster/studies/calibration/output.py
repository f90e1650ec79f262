"""What a calibration leaves for other commands: a hardware file, and its set of machines."""

from collections.abc import Iterator
from pathlib import Path

from cluster.studies.calibration.measurements import measured
from cluster.studies.calibration.study import Calibration
from cluster.studies.draws import CALIBRATED
from cluster.studies.machine_set import MachineSet, PossibleMachine, write_machines
from corsair_common import files
from topology.catalog import Figure, load_hardware
from topology.units import from_si

DIGITS = 6
"""Significant digits of a figure in the file."""


def write_hardware(found: Calibration, path: Path) -> None:
    """Write the fitted machine over the catalogue's Corsair.

    Each figure has the ends of its 90 % band as low and high; figures that the rows do not narrow
    are left to the catalogue.
    """
    files.write_text(path, "\n".join(_lines(found, path.stem)) + "\n")


def _lines(found: Calibration, name: str) -> Iterator[str]:
    rows = measured(found.rows)
    settings = ", ".join(f"{key} {value}" for key, value in found.fitted.settings.items())
    yield f"# Written by corsair-sim calibrate. Fitted with {settings} on:"
    for row, exact in zip(rows, found.as_fitted, strict=True):
        label = row.label.encode("unicode_escape").decode()
        yield f"#   {label}: {row.value:.6g} measured, {exact:.6g} as fitted (SI)"
    yield "# A low and a high hold nine of ten machines that explain these rows, figure by figure;"
    yield "# calibrate --machines keeps the machines whole."
    yield f"name: {name!r}"
    yield f"title: 'd-Matrix Corsair, fitted on {len(rows)} rows'"
    yield f"base: {CALIBRATED}"
    yield "figures:"
    known = load_hardware(CALIBRATED).figures
    source = f"fitted on {len(rows)} rows by corsair-sim calibrate"
    if not found.fitted.figures:
        yield "  {}  # the rows narrow none"
    for spread in found.figures:
        if spread.name not in found.fitted.figures:
            continue
        value = found.fitted.figures[spread.name]
        low, _, high = spread.after
        yield _figure(known[spread.name], (value, min(low, value), max(high, value)), source)


def _figure(figure: Figure, numbers: tuple[float, float, float], source: str) -> str:
    unit = figure.datasheet_unit
    texts = [f"{from_si(number, unit):.{DIGITS}g}" for number in numbers]
    if figure.whole:
        texts = [f"{round(from_si(number, unit))}" for number in numbers]
    value, low, high = texts
    return (
        f"  {figure.name}: {{value: {value}, unit: {unit}, confidence: derived, low: {low}, "
        f"high: {high}, source: '{source}'}}"
    )


def write_set(found: Calibration, path: Path) -> None:
    """Write the set for ``sensitivity --machines``."""
    machines = tuple(
        PossibleMachine(figures=each.figures, settings=each.settings) for each in found.machines
    )
    labels = tuple(row.label for row in measured(found.rows))
    write_machines(MachineSet(hardware=CALIBRATED, rows=labels, machines=machines), path)
