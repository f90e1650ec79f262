"""``hold`` of a sweep file: one size of a chiplet that follows, so that area or price stays.

``hold: {chiplet.dimc_cores: area}`` gives every point as many cores as fit the area of the base's
die; ``usd`` holds the price of a card from its parts, ``{area_mm2: 450}`` or ``{usd: 9000}`` names
the amount.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

from cluster.scenario.schema import Scenario
from cluster.studies.sweep.errors import SweepError, nearest
from topology.catalog import Hardware, load_hardware
from topology.catalog.area import ITEMS
from topology.catalog.parts import card_usd, die_area_m2
from topology.strict_yaml import Document

Fits: TypeAlias = Callable[[float], bool]

FIGURES = "hardware_set"

FOLLOWERS = tuple(size for size, _ in ITEMS.values())
AMOUNTS: Mapping[str, tuple[str, float]] = {"area_mm2": ("area", 1e-6), "usd": ("usd", 1.0)}
"""Amounts that a file may name: what is held, and the factor to SI."""
WORDS = ("area", "usd")
NARROW = 1e-12
"""Relative width at which a search for a size ends."""


class HoldError(ValueError):
    """No size keeps the amount: the rest of the point alone is too large or costs too much."""

    exit_code: ClassVar[int] = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """A figure that follows, and the amount that it keeps."""

    figure: str
    what: str
    """One of WORDS."""
    target: float | None
    """m2 or USD; None: that of the base's hardware."""

    @property
    def path(self) -> str:
        """The axis of the point that it sets."""
        return f"{FIGURES}.{self.figure}"


def read_hold(document: Document) -> Hold | None:
    """The ``hold`` of a sweep file.

    Raises
    ------
    SweepError
        It is not one figure with what it keeps.
    """
    found = document.mapping().get("hold")
    if found is None:
        return None
    where = document.where(("hold",))
    if not isinstance(found, Mapping) or len(found) != 1:
        raise SweepError(
            f"{where}: hold is one figure and what it keeps, {{chiplet.dimc_cores: area}}; "
            f"found {found!r}"
        )
    ((figure, kept),) = found.items()
    if figure not in FOLLOWERS:
        raise SweepError(
            f"{where}: {nearest(str(figure), FOLLOWERS)} cannot follow; {', '.join(FOLLOWERS)} can"
        )
    if isinstance(kept, Mapping) and len(kept) == 1:
        ((name, amount),) = kept.items()
        number = isinstance(amount, int | float) and not isinstance(amount, bool)
        if name in AMOUNTS and number and amount > 0:
            what, factor = AMOUNTS[name]
            return Hold(figure=figure, what=what, target=amount * factor)
    if kept in WORDS:
        return Hold(figure=figure, what=kept, target=None)
    raise SweepError(
        f"{where}: {figure} keeps area, usd, {{area_mm2: 450}} or {{usd: 9000}}; found {kept!r}"
    )


def held_value(hold: Hold, base: Scenario, point: Scenario) -> float:
    """The largest size with which the point has no more than the amount.

    Whole numbers step as the machine demands: cores by slices.

    Raises
    ------
    HoldError
        Even the least is too much, or the amount does not depend on the figure.
    """
    own = {name: value for name, value in point.hardware_set.items() if name != hold.figure}
    start = load_hardware(point.hardware, own)
    if hold.figure not in start.figures:
        raise HoldError(f"hold: {start.name} has no {hold.figure}")
    target = hold.target
    if target is None:
        target = amount_of(hold.what, load_hardware(base.hardware, base.hardware_set))
    target *= 1 + NARROW  # sums of areas that are equal may differ in the last bits

    def fits(size: float) -> bool:
        moved = load_hardware(point.hardware, {**own, hold.figure: size})
        return amount_of(hold.what, moved) <= target

    return _largest(hold, start, fits)


def amount_of(what: str, hardware: Hardware) -> float:
    """m2 of a die, or USD of a card from its parts."""
    return die_area_m2(hardware) if what == "area" else card_usd(hardware).value


def _largest(hold: Hold, start: Hardware, fits: Fits) -> float:
    figure = start.figures[hold.figure]
    whole = figure.unit == "count"
    step = start.count("chiplet.slices") if hold.figure == "chiplet.dimc_cores" else 1
    unit = float(step) if whole else figure.value / 1024
    low, high = 1.0, (4096.0 // step if whole else 1024.0 * 64)
    if not fits(low * unit):
        raise HoldError(
            f"hold: {hold.what} is above what is held even with {hold.figure} at {low * unit:g}"
        )
    if fits(high * unit):
        raise HoldError(f"hold: {hold.what} of {start.name} does not depend on {hold.figure}")
    while high - low > (1 if whole else NARROW * low):
        middle = float((low + high) // 2) if whole else (low + high) / 2
        low, high = (middle, high) if fits(middle * unit) else (low, middle)
    return low * unit
