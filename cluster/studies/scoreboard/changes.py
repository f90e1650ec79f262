"""Points as they would be run with one setting changed."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import TypeAlias

from cluster.studies.scoreboard.point import Point

Change: TypeAlias = Callable[[Point], Point]


def unchanged(point: Point) -> Point:
    """As the recipe says."""
    return point


def one_after_another(changes: Iterable[Change]) -> Change:
    """All of them; none leaves a point as it is."""
    chosen = tuple(changes)

    def change(point: Point) -> Point:
        for each in chosen:
            point = each(point)
        return point

    return change


def with_kv(kv: str) -> Change:
    """Keys and values of every point that is run in this number format."""

    def change(point: Point) -> Point:
        if not point.scenario:
            return point
        formats = {**point.scenario["formats"], "kv": kv}
        return replace(point, scenario={**point.scenario, "formats": formats})

    return change


def with_hardware(files: Mapping[str, str]) -> Change:
    """Another hardware file in place of a device's own, by the device's name."""

    def change(point: Point) -> Point:
        if not point.scenario or point.key.device not in files:
            return point
        hardware = files[point.key.device]
        return replace(point, scenario={**point.scenario, "hardware": hardware})

    return change
