"""The ``power`` block of a scenario: a clock, a cap in watts, and the resulting clock."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import ClassVar

from cluster.scenario.load import ScenarioError
from cluster.scenario.schema import Power, Scenario
from topology.catalog import Hardware
from topology.power import HIGH_HZ, LOW_HZ, clock_at, full_load_w

CLOCK = "card.clock_hz"


class PowerCapError(ValueError):
    """A cap below the power at the lowest clock; names the lowest possible cap."""

    exit_code: ClassVar[int] = 3


def clocked_hardware(
    scenario: Scenario, open_hardware: Callable[[str, Mapping[str, float], str], Hardware]
) -> Hardware:
    """Open the scenario's hardware and set its clock by ``power``.

    Raises
    ------
    ScenarioError
        A clock outside the two points of the power law, or set twice; hardware without a clock.
    PowerCapError
        A cap below what a fully loaded card draws at the lowest clock.
    """
    hardware = open_hardware(scenario.hardware, scenario.hardware_set, scenario.cluster.fabric)
    if scenario.power == Power():
        return hardware
    if CLOCK not in hardware.figures:
        raise ScenarioError(
            f"power sets the clock of cards that have a {CLOCK}, and {hardware.name} has none: "
            f"leave power out; hardware_set.card.tdp_w is its power at full load"
        )
    clock_hz, source = _clock_hz(scenario, hardware)
    figure = hardware.figures[CLOCK]
    if clock_hz == figure.value:
        return hardware
    moved = replace(
        figure,
        value=clock_hz,
        low=min(figure.low, clock_hz),
        high=max(figure.high, clock_hz),
        source=source,
        confidence="derived",
    )
    return replace(hardware, figures={**hardware.figures, CLOCK: moved})


def _clock_hz(scenario: Scenario, hardware: Hardware) -> tuple[float, str]:
    power, clock_hz, source = scenario.power, hardware[CLOCK], hardware.figures[CLOCK].source
    if power.clock_hz is not None:
        if CLOCK in scenario.hardware_set:
            raise ScenarioError(
                f"the clock is set twice: power.clock_hz {power.clock_hz:g} and "
                f"hardware_set.{CLOCK} {scenario.hardware_set[CLOCK]:g}; leave one out"
            )
        if not LOW_HZ <= power.clock_hz <= HIGH_HZ:
            raise ScenarioError(
                f"power.clock_hz must lie between the published points of {LOW_HZ / 1e9:g} and "
                f"{HIGH_HZ / 1e9:g} GHz, found {power.clock_hz / 1e9:g} GHz; "
                f"hardware_set: {{{CLOCK}: ...}} goes beyond them"
            )
        clock_hz, source = power.clock_hz, "power.clock_hz"
    if power.cap_w is None or full_load_w(hardware, clock_hz) <= power.cap_w:
        return clock_hz, source
    least_w = full_load_w(hardware, LOW_HZ)
    if power.cap_w < least_w:
        raise PowerCapError(
            f"power.cap_w is {power.cap_w:g} W, {least_w - power.cap_w:.4g} W less than a fully "
            f"loaded {hardware.name} card draws at its lowest clock of {LOW_HZ / 1e9:g} GHz: "
            f"the lowest possible cap is {least_w:.4g} W"
        )
    capped_hz = max(LOW_HZ, clock_at(hardware, power.cap_w))
    return capped_hz, f"power.cap_w: a fully loaded card draws {power.cap_w:g} W at this clock"
