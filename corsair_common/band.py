"""An amount with its range."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """An amount and its range."""

    value: float
    low: float
    high: float

    def __add__(self, other: "Band") -> "Band":
        return Band(
            value=self.value + other.value, low=self.low + other.low, high=self.high + other.high
        )

    def __mul__(self, factor: float) -> "Band":
        return Band(value=self.value * factor, low=self.low * factor, high=self.high * factor)
