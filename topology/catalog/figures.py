"""One figure of a datasheet with its provenance, and the rules for figures."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from dataclasses import field as field_of
from difflib import get_close_matches
from typing import Any

from corsair_common.names import CONFIDENCES, RANGES
from topology.types import TopologyError
from topology.units import UNITS, from_si, to_si

FIELDS = ("value", "unit", "source", "confidence", "low", "high")
OPTIONAL = ("range",)
_NUMBERS = ("value", "low", "high")
_WORDS: Mapping[str, tuple[str, ...]] = {"confidence": CONFIDENCES, "range": RANGES}
_SENSIBLE = {
    "Hz": (1e6, 1e12),
    "B/s": (1e6, 1e18),
    "flop/s": (1e9, 1e21),
    "B": (0.0, 1e15),
    "s": (0.0, 1.0),
    "clk": (0.0, 1e6),
    "count": (1.0, 4096.0),
}
"""Lowest and highest of a unit, far outside of any machine: times in picoseconds stay in int64."""
_MOST = {"package": 64.0, "card": 64.0, "server": 256.0}
"""Things inside: a graph or a group of ranks would outgrow memory."""
_OF_A_KERNEL = ("bandwidth_efficiency", "flop_efficiency", "latency_s")
_ABOVE_ZERO = frozenset({"Hz", "B/s", "B/clk", "flop/s", "count", "fraction", "ratio"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A number with its source and range. Numbers are SI."""

    name: str
    value: float
    low: float
    high: float
    unit: str
    """The SI unit of the three numbers (``s``, ``B/s``, ``count``, ...)."""
    datasheet_unit: str
    """The unit in the hardware file and in output."""
    source: str
    confidence: str
    """One of CONFIDENCES."""
    range: str = "source"
    """One of RANGES: what low and high say."""

    @property
    def uncertain(self) -> bool:
        """Whether the value may be another one: its source leaves a range."""
        return self.range == "source" and self.low < self.high

    @property
    def whole(self) -> bool:
        """Whether only whole numbers make sense: counts, and clocks that a vector is fed in."""
        return self.unit == "count" or "clocks_per_vector" in self.name

    def in_datasheet_unit(self) -> tuple[float, float, float]:
        """Value, low and high as the datasheet writes them."""
        value, low, high = (
            from_si(number, self.datasheet_unit) for number in (self.value, self.low, self.high)
        )
        return value, low, high


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """All figures of one kind of hardware: ``hardware["card.clock_hz"]`` is a float in SI."""

    name: str
    title: str
    kind: str = "dimc_card"
    """One of ``topology.catalog.KINDS``: which figures there are."""
    fabric: str = ""
    """One of ``topology.catalog.FABRICS``, of which its servers are nodes; else empty."""
    nic: str = ""
    """One of ``topology.catalog.NICS`` that replaced its servers' own; else empty."""
    sources: Mapping[str, str]
    """Full references of the short names in the figures' sources."""
    formats: Mapping[str, tuple[str, ...]] = field_of(default_factory=dict)
    """Names of number formats by use: the first is the default, a plan tries all."""
    figures: Mapping[str, Figure]
    what_if: str = ""
    """Of a machine that cannot be bought: what it is; empty for others."""
    fitted: tuple[Mapping[str, str | int], ...] = ()
    """Measured points that figures were fitted on, by what tells them from others: no evidence."""
    defaults: Mapping[str, Figure] = field_of(default_factory=dict)
    """Figures that hardware of its kind takes from a file that names the kind, or from its base."""

    def __getitem__(self, name: str) -> float:
        try:
            return self.figures[name].value
        except KeyError:
            raise TopologyError(
                f"{self.name} has no figure {nearest(name, self.figures)}"
            ) from None

    def count(self, name: str) -> int:
        """A figure that is an integer count."""
        return int(self[name])


def nearest(name: str, known: Mapping[str, object] | tuple[str, ...]) -> str:
    """``name`` quoted, with the most similar known name if there is one."""
    close = get_close_matches(name, list(known), n=1)
    return f"{name!r}; did you mean {close[0]!r}?" if close else f"{name!r}"


def breaches_of_fields(inputs: object) -> Iterator[str]:
    """Errors of one figure in a file, before its numbers are converted."""
    if not isinstance(inputs, dict):
        yield f"expected {{{', '.join(FIELDS)}}}, found {inputs!r}"
        return
    if missing := [field for field in FIELDS if field not in inputs]:
        yield f"misses {', '.join(missing)}"
    for field in inputs:
        if field not in (*FIELDS, *OPTIONAL):
            allowed = (*FIELDS, *OPTIONAL)
            yield f"unknown field {nearest(field, allowed)} (allowed: {', '.join(allowed)})"
    for field in _NUMBERS:
        if field in inputs and not _is_number(inputs[field]):
            yield f"{field} must be a number, found {inputs[field]!r}"
    if "unit" in inputs and inputs["unit"] not in (*UNITS,):
        yield f"unknown unit {nearest(str(inputs['unit']), tuple(UNITS))}"
    yield from _breaches_of_words(inputs)
    if "source" in inputs and not (isinstance(inputs["source"], str) and inputs["source"].strip()):
        yield f"source must name the origin of the number, found {inputs['source']!r}"


def _breaches_of_words(inputs: Mapping[str, object]) -> Iterator[str]:
    for field, words in _WORDS.items():
        if field in inputs and inputs[field] not in words:
            word = nearest(str(inputs[field]), words)
            yield f"unknown {field} {word} (allowed: {', '.join(words)})"


def breaches_of_fitted(points: object) -> Iterator[str]:
    """Errors of the measured points that a file was fitted on."""
    if not isinstance(points, list) or not all(_is_point(point) for point in points):
        yield f"fitted must list measured points as {{device: h100, isl: 1024, ...}}: {points!r}"


def _is_point(point: object) -> bool:
    """Whether it says a device and further words and numbers."""
    return (
        isinstance(point, dict)
        and "device" in point
        and all(isinstance(value, str | int) for value in point.values())
    )


def breaches_of_numbers(figure: Figure) -> Iterator[str]:
    """Errors of the numbers of a figure."""
    for field in _NUMBERS:
        if wrong := breach_of_value(getattr(figure, field), figure.unit):
            yield f"{field} {wrong}"
    if figure.low > figure.value:
        yield f"low {figure.low:g} is above the value {figure.value:g} (in {figure.unit})"
    if figure.high < figure.value:
        yield f"high {figure.high:g} is below the value {figure.value:g} (in {figure.unit})"


def breach_of_value(value: float, unit: str) -> str:
    """Why ``value`` is impossible in the SI ``unit``; empty if it is possible."""
    if not math.isfinite(value):
        return f"must be finite, found {value!r}"
    if value < 0 or (value == 0 and unit in _ABOVE_ZERO):
        least = "above 0" if unit in _ABOVE_ZERO else "0 or more"
        return f"must be {least}, found {value:g}"
    if unit == "count" and value != int(value):
        return f"must be a whole number, found {value:g}"
    if unit == "fraction" and value > 1:
        return f"must be at most 1, found {value:g}"
    return ""


def read_figure(name: str, inputs: Mapping[str, Any], before: Figure | None = None) -> Figure:
    """A figure from a file's valid fields; its numbers become SI.

    ``before`` is the figure of that name in a base or in its kind: what can be bought or set there
    can be here, unless the file says otherwise.
    """
    unit = str(inputs["unit"])
    value, low, high = (to_si(inputs[field], unit) for field in _NUMBERS)
    return Figure(
        name=name,
        value=value,
        low=low,
        high=high,
        unit=UNITS[unit].si,
        datasheet_unit=unit,
        source=str(inputs["source"]),
        confidence=str(inputs["confidence"]),
        range=str(inputs.get("range", _inherited(before))),
    )


def _inherited(before: Figure | None) -> str:
    """A choice stays one; a fit is that of one machine."""
    return "choice" if before is not None and before.range == "choice" else "source"


def breaches_of_machine(hardware: Hardware) -> Iterator[str]:
    """Figures that are possible alone and impossible together."""
    yield from _BREACHES[hardware.kind](hardware)
    yield from _breaches_of_sense(hardware)
    inside_s = hardware["server.pcie_latency_s"] + hardware["rack.leaf_latency_s"]
    if hardware["rack.network_latency_s"] < inside_s:
        yield (
            f"rack.network_latency_s ({hardware['rack.network_latency_s']:g} s) must cover "
            f"server.pcie_latency_s + rack.leaf_latency_s ({inside_s:g} s), which it contains"
        )


ROWS = 64
"""Of a DIMC tile: an exponent of a block format, a KV block and a shard span as many rows."""


def _breaches_of_dimc_card(hardware: Hardware) -> Iterator[str]:
    yield from _breaches_of_tile(hardware)
    for whole, part in (
        ("chiplet.slices", "chiplet.quads"),
        ("chiplet.dimc_cores", "chiplet.slices"),
    ):
        if hardware.count(whole) % hardware.count(part):
            yield f"{whole} ({hardware[whole]:g}) must be a multiple of {part} ({hardware[part]:g})"
    if hardware.count("pair.cards") != 2:
        yield f"pair.cards must be 2 (a bridge joins two), found {hardware['pair.cards']:g}"
    yield from _breaches_of_scale_up(hardware)


def _breaches_of_tile(hardware: Hardware) -> Iterator[str]:
    """A tile has 64 rows, and the same bytes in every mode (docs/decisions/0041)."""
    if hardware["dimc.rows"] != ROWS:
        yield (
            f"dimc.rows must be {ROWS}, found {hardware['dimc.rows']:g}: number formats share an "
            f"exponent over {ROWS} rows, and KV blocks and shards are {ROWS} long"
        )
    columns = hardware["dimc.columns_int8"]
    if not (columns >= 2 and math.log2(columns).is_integer()):
        yield f"dimc.columns_int8 must be a power of two of at least 2, found {columns:g}"
    for width in (4, 16):
        found, equal = hardware[f"dimc.columns_int{width}"], columns * 8 / width
        if found != equal:
            yield (
                f"dimc.columns_int{width} must be {equal:g} (dimc.columns_int8 x 8 / {width}: a "
                f"tile holds the same bytes in every mode), found {found:g}"
            )


def _breaches_of_scale_up(hardware: Hardware) -> Iterator[str]:
    """One scale-up network at most, that divides the server's cards or holds whole servers."""
    cards = hardware.count("server.cards")
    found = [name for name in ("nvswitch.gpus", "mesh.gpus") if name in hardware.figures]
    if len(found) > 1:
        yield "nvswitch and mesh figures exclude each other: GPUs have one scale-up network"
    for name in found:
        gpus = hardware.count(name)
        if gpus % cards and cards % gpus:
            yield f"{name} ({gpus}) must divide server.cards ({cards}), or be a multiple of it"
    if "mesh.gpus" in found and hardware.count("mesh.gpus") > cards:
        yield f"mesh.gpus ({hardware.count('mesh.gpus')}) must not exceed server.cards ({cards})"


def _breaches_of_gpu(hardware: Hardware) -> Iterator[str]:
    yield from _breaches_of_scale_up(hardware)
    for kernel in ("fp8_gemm", "fp8_attention", "expert", "fp8_expert"):
        names = [f"gpu.{kernel}_{what}" for what in _OF_A_KERNEL]
        missing = [name for name in names if name not in hardware.figures]
        if 0 < len(missing) < len(names):
            yield f"misses {', '.join(missing)}: constants of a kernel are fitted together"


def _breaches_of_sense(hardware: Hardware) -> Iterator[str]:
    for name, figure in hardware.figures.items():
        low, high = _SENSIBLE.get(figure.unit, (0.0, math.inf))
        section = name.partition(".")[0]
        if figure.unit == "count":
            high = _MOST.get(section, high)
        numbers = (figure.value, figure.low, figure.high) if figure.whole else ()
        if wrong := [number for number in numbers if number != max(1, int(number))]:
            yield f"{name} must be a whole number of at least 1, found {wrong[0]:g}"
        if not low <= figure.value <= high and section != "cost":
            yield f"{name} must lie in {low:g} to {high:g} {figure.unit}, found {figure.value:g}"


_BREACHES: Mapping[str, Callable[[Hardware], Iterator[str]]] = {
    "dimc_card": _breaches_of_dimc_card,
    "gpu": _breaches_of_gpu,
}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
