"""``corsair-sim hardware``: every figure with its unit, confidence, range and source."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cluster.commands import terminal

if TYPE_CHECKING:
    from corsair_common.band import Band
    from topology.catalog import Figure, Hardware

app = typer.Typer(help="Every hardware figure with its source.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="Bundled name, or path of a YAML file.")]


@app.command("list")
def list_all(as_json: terminal.Json = False, quiet: terminal.Quiet = False) -> None:
    """The bundled hardware, and how well its figures are known."""
    from corsair_common.names import CONFIDENCES
    from topology.catalog import NICS, list_hardware, load_hardware

    entries = []
    for name in list_hardware():
        hardware = load_hardware(name)
        known = [figure.confidence for figure in hardware.figures.values()]
        counts: dict[str, int] = {confidence: known.count(confidence) for confidence in CONFIDENCES}
        entry = {"name": name, "title": hardware.title, "kind": hardware.kind}
        entries.append({**entry, "figures": len(known), **counts, "what_if": hardware.what_if})
    headers = list(entries[0])
    text = terminal.table(headers, [list(entry.values()) for entry in entries])
    text += f"\n\nother NICs than JetStream: corsair+NIC, with NIC one of {', '.join(NICS)}"
    payload = {"hardware": entries, "nics": list(NICS)}
    terminal.show(payload, text, as_json=as_json, quiet=quiet)


@app.command()
def show(
    name: Name = "corsair",
    figure: Annotated[
        str, typer.Option("--figure", "-f", help="Only figures that match: card.*, *latency*.")
    ] = "*",
    as_json: terminal.Json = False,
    quiet: terminal.Quiet = False,
) -> None:
    """Print the figures of a hardware with unit, confidence, low, high and source.

    The range is that of the source, of what can be bought or set, or of a fit. Figures that no
    time, energy or cost depends on say so.
    """
    from topology.catalog import load_hardware
    from topology.catalog.kinds import UNPRICED
    from topology.power import power_density

    hardware = load_hardware(name)
    chosen = _chosen(hardware, figure)
    used = {key: text for key, text in hardware.sources.items() if _names(chosen, key)}
    rows = [
        (f.name, *_written(f), f.datasheet_unit, f.confidence, *_range(f), f.range, f.source)
        for f in chosen
    ]
    headers = ("figure", "value", "unit", "confidence", "low", "high", "range of", "source")
    unpriced = [(f.name, UNPRICED[hardware.kind].get(f.name)) for f in chosen]
    marks = "\n".join(f"  {name}: {why}" for name, why in unpriced if why)
    density = power_density(hardware, hardware.figures)
    notes = "\n".join(f"  {key}: {text}" for key, text in used.items())
    text = f"{_heading(hardware)}\n\n{terminal.table(headers, rows)}"
    payload = {
        "name": hardware.name,
        "title": hardware.title,
        "kind": hardware.kind,
        "what_if": hardware.what_if,
        "figures": [
            _record(f) | {"unpriced": why} for f, (_, why) in zip(chosen, unpriced, strict=True)
        ],
        "power_density": density and density.plain(),
        "sources": used,
    }
    text += f"\n\nnot used by any formula of time, energy or cost\n{marks}" if marks else ""
    text += f"\n\n{density.line()}" if density and figure == "*" else ""
    text += f"\n\nsources\n{notes}" if used else ""
    terminal.show(payload, text, as_json=as_json, quiet=quiet)


@app.command()
def cost(
    name: Name = "corsair",
    sets: Annotated[
        list[str] | None,
        typer.Option("--set", help="A what-if: figure=value in SI units.", metavar="FIGURE=VAL"),
    ] = None,
    as_json: terminal.Json = False,
    quiet: terminal.Quiet = False,
) -> None:
    """Print what a card costs from its parts, with the range of each, and the area of its die."""
    from cluster import load
    from topology.catalog import load_hardware
    from topology.catalog.area import DIE, die_parts
    from topology.catalog.parts import CARD_PRICE, bill_of_parts

    words = [f"hardware_set.{word}" for word in sets or ()]
    hardware = load_hardware(name, load(hardware=name, sets=words).hardware_set)
    bill, price = bill_of_parts(hardware), hardware.figures[CARD_PRICE]
    lines = [(i.name, i.usd.value, i.usd.low, i.usd.high, i.what) for i in bill]
    lines.append(("list price", price.value, price.low, price.high, price.source))
    text = terminal.table(("USD of a card", "value", "low", "high", "what"), lines)
    payload: dict[str, object] = {
        "name": hardware.name,
        "title": hardware.title,
        "what_if": hardware.what_if,
        "usd": [_ranged(i.name, i.usd) | {"what": i.what} for i in bill],
        "list_usd": _ranged("list price", price),
    }
    if DIE in hardware.figures:
        die = die_parts(hardware.figures)
        rows = [(d.name, d.m2.value * 1e6, d.m2.low * 1e6, d.m2.high * 1e6) for d in die]
        area = hardware.figures[DIE]
        rows.append(("a chiplet", area.value * 1e6, area.low * 1e6, area.high * 1e6))
        text += "\n\n" + terminal.table(("mm2 of a chiplet", "value", "low", "high"), rows)
        text += f"\n\nstatic power of a card: {hardware['card.static_w']:.4g} W"
        payload |= {
            "die_m2": [_ranged(d.name, d.m2) for d in die],
            "static_w": hardware["card.static_w"],
        }
    terminal.show(payload, f"{_heading(hardware)}\n\n{text}", as_json=as_json, quiet=quiet)


def _ranged(name: str, amount: Figure | Band) -> dict[str, object]:
    return {"name": name, "value": amount.value, "low": amount.low, "high": amount.high}


@app.command()
def diff(
    first: Annotated[str, typer.Argument(help="Bundled name, or path of a YAML file.")],
    second: Annotated[str, typer.Argument(help="Hardware to compare it with.")],
    as_json: terminal.Json = False,
    quiet: terminal.Quiet = False,
) -> None:
    """Print the figures whose value differs between two machines, or that only one of them has."""
    from topology.catalog import load_hardware

    one, other = load_hardware(first), load_hardware(second)
    names = dict.fromkeys((*one.figures, *other.figures))
    both = [(name, one.figures.get(name), other.figures.get(name)) for name in names]
    pairs = [(name, a, b) for name, a, b in both if not (a and b and a.value == b.value)]
    rows = [_side_by_side(name, a, b) for name, a, b in pairs]
    headers = ("figure", one.name, other.name, "unit", "confidence", "confidence")
    text = terminal.table(headers, rows) if rows else f"{one.name} and {other.name} are equal"
    payload = {
        "first": one.name,
        "second": other.name,
        "figures": [
            {"name": name, "first": a and _record(a), "second": b and _record(b)}
            for name, a, b in pairs
        ],
    }
    terminal.show(payload, text, as_json=as_json, quiet=quiet)


def _heading(hardware: Hardware) -> str:
    return f"{hardware.title}\nwhat-if: {hardware.what_if}" if hardware.what_if else hardware.title


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


def _side_by_side(name: str, one: Figure | None, other: Figure | None) -> tuple[str, ...]:
    """A row of two machines in the unit of the first that has the figure; - where one has none."""
    unit = next(figure.datasheet_unit for figure in (one, other) if figure)
    values = [_shown(figure, unit)[0] if figure else "-" for figure in (one, other)]
    return (name, *values, unit, *(figure.confidence if figure else "-" for figure in (one, other)))


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
        "range": figure.range,
        "source": figure.source,
        "datasheet": {"value": value, "unit": figure.datasheet_unit, "low": low, "high": high},
    }
