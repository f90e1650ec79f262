"""``corsair-sim hardware``: every figure with its unit, confidence, range and source."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cluster.commands import terminal

if TYPE_CHECKING:
    from topology.catalog import Figure, Hardware

app = typer.Typer(help="Every hardware figure with its source.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="Bundled name, or path of a YAML file.")]


@app.command("list")
def list_all(as_json: terminal.Json = False, quiet: terminal.Quiet = False) -> None:
    """List the bundled hardware with counts of figures by confidence."""
    from topology.catalog import CONFIDENCES, list_hardware, load_hardware

    entries = []
    for name in list_hardware():
        hardware = load_hardware(name)
        known = [figure.confidence for figure in hardware.figures.values()]
        counts = {confidence: known.count(confidence) for confidence in CONFIDENCES}
        entries.append({"name": name, "title": hardware.title, "figures": len(known), **counts})
    headers = list(entries[0])
    text = terminal.table(headers, [list(entry.values()) for entry in entries])
    terminal.show({"hardware": entries}, text, as_json=as_json, quiet=quiet)


@app.command()
def show(
    name: Name = "corsair",
    figure: Annotated[
        str, typer.Option("--figure", "-f", help="Only figures that match: card.*, *latency*.")
    ] = "*",
    as_json: terminal.Json = False,
    quiet: terminal.Quiet = False,
) -> None:
    """Print the figures of a hardware with unit, confidence, low, high and source."""
    from topology.catalog import load_hardware

    hardware = load_hardware(name)
    chosen = _chosen(hardware, figure)
    used = {key: text for key, text in hardware.sources.items() if _names(chosen, key)}
    rows = [
        (f.name, *_written(f), f.datasheet_unit, f.confidence, *_range(f), f.source) for f in chosen
    ]
    headers = ("figure", "value", "unit", "confidence", "low", "high", "source")
    notes = "\n".join(f"  {key}: {text}" for key, text in used.items())
    text = f"{hardware.title}\n\n{terminal.table(headers, rows)}"
    payload = {
        "name": hardware.name,
        "title": hardware.title,
        "figures": [_record(f) for f in chosen],
        "sources": used,
    }
    text += f"\n\nsources\n{notes}" if used else ""
    terminal.show(payload, text, as_json=as_json, quiet=quiet)


@app.command()
def diff(
    first: Annotated[str, typer.Argument(help="Bundled name, or path of a YAML file.")],
    second: Annotated[str, typer.Argument(help="Hardware to compare it with.")],
    as_json: terminal.Json = False,
    quiet: terminal.Quiet = False,
) -> None:
    """Print the figures whose value differs between two kinds of hardware."""
    from topology.catalog import load_hardware

    one, other = load_hardware(first), load_hardware(second)
    pairs = [
        (one.figures[name], other.figures[name]) for name in one.figures if one[name] != other[name]
    ]
    rows = [(a.name, *_written(a), *_shown(b, a.datasheet_unit), a.datasheet_unit,
             a.confidence, b.confidence) for a, b in pairs]  # fmt: skip
    headers = ("figure", one.name, other.name, "unit", "confidence", "confidence")
    text = terminal.table(headers, rows) if rows else f"{one.name} and {other.name} are equal"
    payload = {
        "first": one.name,
        "second": other.name,
        "figures": [{"name": a.name, "first": _record(a), "second": _record(b)} for a, b in pairs],
    }
    terminal.show(payload, text, as_json=as_json, quiet=quiet)


def _chosen(hardware: Hardware, pattern: str) -> list[Figure]:
    """Figures whose name matches: a pattern, a section (card), or a part of the name."""
    from fnmatch import fnmatchcase

    from topology.catalog.figures import nearest
    from topology.types import TopologyError

    figures = hardware.figures
    for wide in (pattern, f"{pattern}.*", f"*{pattern}*"):
        if chosen := [figures[name] for name in figures if fnmatchcase(name, wide)]:
            return chosen
    raise TopologyError(f"{hardware.name} has no figure {nearest(pattern, figures)}")


def _names(figures: list[Figure], key: str) -> bool:
    return any(key in figure.source for figure in figures)


def _written(figure: Figure) -> tuple[str]:
    return (f"{figure.in_datasheet_unit()[0]:.10g}",)


def _shown(figure: Figure, unit: str) -> tuple[str]:
    """The value in another figure's unit, for comparison."""
    from topology.units import from_si

    return (f"{from_si(figure.value, unit):.10g}",)


def _range(figure: Figure) -> tuple[str, str]:
    _, low, high = figure.in_datasheet_unit()
    return f"{low:.10g}", f"{high:.10g}"


def _record(figure: Figure) -> dict[str, object]:
    """A figure in SI, and in the unit of its file."""
    value, low, high = figure.in_datasheet_unit()
    return {
        "name": figure.name,
        "value": figure.value,
        "unit": figure.unit,
        "confidence": figure.confidence,
        "low": figure.low,
        "high": figure.high,
        "source": figure.source,
        "datasheet": {"value": value, "unit": figure.datasheet_unit, "low": low, "high": high},
    }
