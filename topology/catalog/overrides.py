"""``hardware_set``: figures of a machine with other values, and what these move."""

from collections.abc import Mapping
from dataclasses import replace

from topology.catalog.area import with_area
from topology.catalog.figures import Figure, Hardware, breach_of_value, nearest
from topology.types import TopologyError


def overridden(hardware: Hardware, overrides: Mapping[str, float]) -> Hardware:
    """The hardware with these values in SI; TopologyError names all that are wrong."""
    figures = dict(hardware.figures)
    breaches = []
    for name, value in overrides.items():
        if name not in figures:
            breaches.append(f"{hardware.name} has no figure {nearest(name, figures)}")
        elif wrong := _breach_of_override(value, figures[name].unit):
            breaches.append(f"{name} {wrong}")
        else:
            figures[name] = _moved(figures[name], float(value))
    if breaches:
        raise TopologyError("\n".join(f"hardware_set: {breach}" for breach in breaches))
    return replace(hardware, figures=with_area(hardware.figures, figures, overrides))


def _breach_of_override(value: object, unit: str) -> str:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return f"must be a number in {unit}, found {value!r}"
    return breach_of_value(float(value), unit)


def _moved(figure: Figure, value: float) -> Figure:
    return replace(
        figure,
        value=value,
        low=min(figure.low, value),
        high=max(figure.high, value),
        source="hardware_set",
        confidence="assumed",
    )
