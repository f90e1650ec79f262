"""What a card costs from its parts: dies by price of a wafer and yield, packages, memory, margin.

Each amount has a low and a high: those of all figures of ``parts`` together, each at the end of
its range that makes the card cheapest or most expensive. How many packages, dies and bytes there
are is that of the machine.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from corsair_common.band import Band
from topology.catalog.figures import Figure, Hardware

WAFER_M = 0.3
"""Diameter of a wafer."""
CARD_PRICE = "cost.card_usd"
MARGIN = "parts.gross_margin_fraction"
_CHEAP_WHEN_HIGH = frozenset({"parts.packaging_yield_fraction"})
_MOST_MARGIN = 0.99


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One line of a bill."""

    name: str
    usd: Band
    what: str
    """How many, of what."""


def gross_dies(area_m2: float) -> int:
    """Whole dies of a wafer of 300 mm, at least 1.

    pi d^2 / (4 A) less pi d / sqrt(2 A) for the rim: D. K. de Vries, Investigation of gross die per
    wafer formulas, IEEE Trans. Semiconductor Manufacturing 18 (2005) 136.

    >>> gross_dies(400e-6)
    143
    """
    inside = math.pi * WAFER_M**2 / (4 * area_m2) - math.pi * WAFER_M / math.sqrt(2 * area_m2)
    return max(1, int(inside))


def die_yield(area_m2: float, defects_per_m2: float, clustering: float) -> float:
    """Share of dies without a defect: the negative binomial (1 + A D / a)^-a (Stapper).

    >>> round(die_yield(400e-6, 700.0, 3.0), 4)
    0.7651
    """
    return float((1 + area_m2 * defects_per_m2 / clustering) ** -clustering)


def bill_of_parts(hardware: Hardware) -> tuple[Item, ...]:
    """The lines of a card's bill, the price with its margin last."""
    figures, names = hardware.figures, _names(hardware)
    value, low, high = (
        _amounts(hardware, names, {name: _end(figures[name], end) for name in names})
        for end in ("value", "low", "high")
    )
    notes = _notes(hardware, names)
    return tuple(
        Item(
            name=name,
            usd=Band(value=value[name], low=low[name], high=high[name]),
            what=notes.get(name, ""),
        )
        for name in value
    )


def card_usd(hardware: Hardware) -> Band:
    """The price of a card from its parts."""
    return bill_of_parts(hardware)[-1].usd


def priced_from_parts(hardware: Hardware) -> Hardware:
    """The same with the price from its parts in place of the list price."""
    usd = card_usd(hardware)
    figure = replace(
        hardware.figures[CARD_PRICE],
        value=usd.value,
        low=usd.low,
        high=usd.high,
        source="cost.from: parts, the bill of parts",
        confidence="derived",
    )
    return replace(hardware, figures={**hardware.figures, CARD_PRICE: figure})


def die_area_m2(hardware: Hardware) -> float:
    """Area of one of the card's large dies."""
    return hardware[_die_area(hardware)]


def _die_area(hardware: Hardware) -> str:
    return "parts.die_area_m2" if hardware.kind == "gpu" else "chiplet.area_m2"


def _names(hardware: Hardware) -> tuple[str, ...]:
    """The figures that a bill takes at the ends of their ranges."""
    found = [name for name in hardware.figures if name.startswith("parts.")]
    return tuple(dict.fromkeys((*found, _die_area(hardware))))


def _end(figure: Figure, end: str) -> float:
    """The value of a figure, or the end of its range at which a card is cheap or expensive."""
    swapped = {"low": "high", "high": "low"} if figure.name in _CHEAP_WHEN_HIGH else {}
    return float(getattr(figure, swapped.get(end, end)))


def _counts(hardware: Hardware) -> tuple[int, int, float, float]:
    """Packages of a card, dies of a package, bytes of memory in packages and on the board."""
    if hardware.kind == "gpu":
        memory = hardware["gpu.memory_bytes"]
        return 1, hardware.count("parts.dies"), memory, memory
    packages, dies = hardware.count("card.packages"), hardware.count("package.chiplets")
    chiplets = packages * dies
    near, far = hardware["chiplet.sram_bytes"], hardware["chiplet.lpddr_bytes"]
    return packages, dies, chiplets * near, chiplets * far


def _amounts(
    hardware: Hardware, names: tuple[str, ...], at: Mapping[str, float]
) -> dict[str, float]:
    """USD by line, the parts and then the margin and the price."""
    packages, dies, stacked_bytes, board_bytes = _counts(hardware)
    part = {name.removeprefix("parts."): at[name] for name in names}
    die_usd = _die_usd(part, at[_die_area(hardware)])
    inside = {
        "dies": packages * dies * die_usd,
        "other silicon": packages * part["other_silicon_usd"],
        "packaging": packages * part["packaging_usd"],
        "memory in packages": stacked_bytes * part["stacked_memory_usd_per_byte"],
    }
    lost = 1 / part["packaging_yield_fraction"] - 1
    lines = {
        **inside,
        "lost in packaging": math.fsum(inside.values()) * lost,
        "memory on the board": board_bytes * part["board_memory_usd_per_byte"],
        "board and test": part["board_usd"],
    }
    total = math.fsum(lines.values())
    price = total / (1 - min(part["gross_margin_fraction"], _MOST_MARGIN))
    return {**lines, "all parts": total, "margin": price - total, "card": price}


def _die_usd(part: Mapping[str, float], area_m2: float) -> float:
    """USD of a die that is sold: a wafer's price over its good dies and those with parts off."""
    good = die_yield(area_m2, part["defects_per_m2"], part["defect_clustering"])
    sold = good + (1 - good) * (1 - part["scrapped_fraction"])
    return part["wafer_usd"] / (gross_dies(area_m2) * sold)


def _notes(hardware: Hardware, names: tuple[str, ...]) -> dict[str, str]:
    packages, dies, stacked_bytes, board_bytes = _counts(hardware)
    at = {name: hardware[name] for name in names}
    part = {name.removeprefix("parts."): value for name, value in at.items()}
    area = die_area_m2(hardware)
    good = die_yield(area, part["defects_per_m2"], part["defect_clustering"])
    return {
        "dies": f"{packages * dies} x {_die_usd(part, area):.0f} USD: {area * 1e6:.0f} mm2, "
        f"{gross_dies(area)} a wafer of {part['wafer_usd']:,.0f} USD, {100 * good:.0f} % faultless",
        "packaging": f"{packages} x {part['packaging_usd']:,.0f} USD",
        "memory in packages": _memory(stacked_bytes, part["stacked_memory_usd_per_byte"]),
        "lost in packaging": f"{100 * part['packaging_yield_fraction']:.3g} % come out whole",
        "memory on the board": _memory(board_bytes, part["board_memory_usd_per_byte"]),
        "margin": f"{100 * part['gross_margin_fraction']:.3g} % of the price",
    }


def _memory(size_bytes: float, usd_per_byte: float) -> str:
    return f"{size_bytes / 1e9:.4g} GB at {usd_per_byte * 1e9:.3g} USD" if usd_per_byte else "none"
