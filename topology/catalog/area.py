"""Area and leakage of what-ifs: what a chiplet with more SRAM, cores, lanes or channels takes.

The area of a die is known; that of its parts is not public and stated in ``area``. A machine whose
parts are moved, by a file on a base or by ``hardware_set``, has the base's area plus what was
added, and its static watts grow with the silicon. Who states ``chiplet.area_m2`` states it all:
then nothing is moved.
"""

from collections.abc import Container, Mapping
from dataclasses import dataclass, replace

from corsair_common.band import Band
from topology.catalog.figures import Figure

DIE = "chiplet.area_m2"
STATIC = "card.static_w"
POWER = ("card.power_at_0_8_ghz_w", "card.power_at_1_2_ghz_w")
ITEMS: Mapping[str, tuple[str, str]] = {
    "SRAM": ("chiplet.sram_bytes", "area.sram_m2_per_byte"),
    "DIMC cores": ("chiplet.dimc_cores", "area.core_m2"),
    "SIMD lanes": ("simd.lanes", "area.lane_m2"),
    "LPDDR channels": ("chiplet.lpddr_bandwidth_bytes_per_s", "area.lpddr_m2_per_byte_per_s"),
}
"""What takes area: how much of it there is, and the area of one. Lanes are those of a slice."""
SIZES = (*(size for size, _ in ITEMS.values()), "chiplet.slices")


@dataclass(frozen=True, slots=True, kw_only=True)
class DiePart:
    """Area of a part of a die, in m2."""

    name: str
    m2: Band


def die_parts(figures: Mapping[str, Figure]) -> tuple[DiePart, ...]:
    """The parts of a chiplet; the last is the rest of the known area: links, NoC, control, pads."""
    parts = [DiePart(name=name, m2=_item_m2(figures, name)) for name in ITEMS]
    die, known = figures[DIE], sum((part.m2 for part in parts), Band(value=0.0, low=0.0, high=0.0))
    low, high = sorted((die.high - known.high, die.low - known.low))
    rest = Band(value=die.value - known.value, low=low, high=high)
    return (*parts, DiePart(name="all else", m2=rest))


def with_area(
    before: Mapping[str, Figure], after: Mapping[str, Figure], stated: Container[str]
) -> dict[str, Figure]:
    """``after`` with the area and the static power of its parts; ``before`` is what it came from.

    Figures that are ``stated`` stay as they are, and with a stated area all do.
    """
    found = dict(after)
    needed = (DIE, STATIC, *SIZES, *(each for _, each in ITEMS.values()), "area.static_share")
    if DIE in stated or any(name not in side for side in (before, after) for name in needed):
        return found
    if all(before[name].value == after[name].value for name in SIZES):
        return found
    nothing = Band(value=0.0, low=0.0, high=0.0)
    added = sum((_item_m2(after, name) + _item_m2(before, name) * -1.0 for name in ITEMS), nothing)
    found[DIE] = _moved(after[DIE], added)
    if STATIC not in stated:
        grown_w = after[STATIC].value / before[DIE].value * after["area.static_share"].value
        for name in (STATIC, *(power for power in POWER if power not in stated)):
            found[name] = _moved(after[name], added * grown_w)
    return found


def _item_m2(figures: Mapping[str, Figure], name: str) -> Band:
    size, each = ITEMS[name]
    count = figures[size].value * (figures["chiplet.slices"].value if size == "simd.lanes" else 1.0)
    one = figures[each]
    return Band(value=one.value, low=one.low, high=one.high) * count


def _moved(figure: Figure, added: Band) -> Figure:
    low, high = sorted((added.low, added.high))
    return replace(
        figure,
        value=figure.value + added.value,
        low=figure.low + low,
        high=figure.high + high,
        source=f"the area model, from {figure.in_datasheet_unit()[0]:.6g}: {figure.source}",
        confidence="derived",
    )
