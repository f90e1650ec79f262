"""Conversion from datasheet units to SI, and back for output."""

from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """One unit as a datasheet writes it: ``value * factor`` is in the SI unit ``si``."""

    si: str
    factor: Decimal


def _scaled(si: str, factors: dict[str, str]) -> dict[str, Unit]:
    return {symbol: Unit(si=si, factor=Decimal(factor)) for symbol, factor in factors.items()}


UNITS: dict[str, Unit] = {
    **_scaled("s", {"s": "1", "ms": "1e-3", "us": "1e-6", "ns": "1e-9", "ps": "1e-12"}),
    **_scaled("s", {"h": "3600", "day": "86400", "year": "31536000"}),
    **_scaled("Hz", {"Hz": "1", "kHz": "1e3", "MHz": "1e6", "GHz": "1e9"}),
    **_scaled("B", {"B": "1", "kB": "1e3", "MB": "1e6", "GB": "1e9", "TB": "1e12"}),
    **_scaled("B", {"KiB": "1024", "MiB": "1048576", "GiB": "1073741824", "TiB": "1099511627776"}),
    **_scaled("B/s", {"B/s": "1", "MB/s": "1e6", "GB/s": "1e9", "TB/s": "1e12"}),
    **_scaled("B/s", {"Mb/s": "125e3", "Gb/s": "125e6", "Tb/s": "125e9"}),
    **_scaled("flop/s", {"GFLOPS": "1e9", "TFLOPS": "1e12", "PFLOPS": "1e15"}),
    **_scaled("B/clk", {"B/clk": "1"}),
    **_scaled("clk", {"clk": "1"}),
    **_scaled("W", {"mW": "1e-3", "W": "1", "kW": "1e3"}),
    **_scaled("J", {"J": "1", "nJ": "1e-9", "pJ": "1e-12", "fJ": "1e-15"}),
    **_scaled("J/bit", {"J/bit": "1", "nJ/bit": "1e-9", "pJ/bit": "1e-12", "fJ/bit": "1e-15"}),
    **_scaled("m2", {"m2": "1", "cm2": "1e-4", "mm2": "1e-6"}),
    **_scaled("m2/B", {"mm2/MB": "1e-12"}),
    **_scaled("m2/(B/s)", {"mm2/(GB/s)": "1e-15"}),
    **_scaled("1/m2", {"1/m2": "1", "1/cm2": "1e4"}),
    **_scaled("count", {"count": "1"}),
    **_scaled("fraction", {"fraction": "1", "%": "0.01"}),
    **_scaled("ratio", {"ratio": "1"}),
    **_scaled("USD", {"USD": "1"}),
    **_scaled("USD/B", {"USD/GB": "1e-9"}),
    "USD/J": Unit(si="USD/J", factor=Decimal(1)),
    "USD/kWh": Unit(si="USD/J", factor=Decimal(1) / Decimal(3_600_000)),
}
"""Every unit that a hardware file may use. ``count`` is a whole number, ``fraction`` lies in 0..1,
``ratio`` is any number without a unit; megabytes are decimal, mebibytes are not."""


def to_si(value: float, unit: str) -> float:
    """The float nearest to ``value`` in the SI unit of ``unit``: 115 ns is exactly ``115e-9``."""
    return float(Decimal(repr(value)) * UNITS[unit].factor)


def from_si(value: float, unit: str) -> float:
    """An SI value in the datasheet's unit."""
    return float(Decimal(repr(value)) / UNITS[unit].factor)
