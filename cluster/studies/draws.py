"""Draws of what is uncertain about a scenario's hardware; whatever was fitted is fitted again.

Only figures with the range of a source are drawn: choices and fits keep their value, and so does
what the scenario sets. The catalogue's value is the median of a figure, and each half of its range
is even, so that as many draws lie below the value as above it. ``card.dispatch_s`` and
``card.static_w`` were fitted on published points, which would no longer hold with other figures:
each draw has its own.

The measurements that constants of GPUs were fitted on are not shipped. These constants are drawn
together: all their times become longer or shorter by one factor, so that nine of ten draws lie in
the band of errors of measured points that nothing was fitted on, as ``check`` prints it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cache
from typing import ClassVar

from cluster.perf_model.calibrate import AS_CATALOGUED, EIGHT_B, fit_dispatch_s, fit_static_w
from cluster.perf_model.calibrate import predict as predict_point
from cluster.scenario.resolve import Resolved, resolve
from cluster.scenario.schema import Scenario
from cluster.scenario.trust import TIMELESS as UNTIMED
from cluster.scenario.trust import blind, trust_of
from cluster.studies.machine_set import SETTINGS, MachineSet, drawn
from cluster.studies.scoreboard.bands import SHARE
from cluster.studies.sweep.sampling import Range, sample
from topology.catalog import Figure, Hardware, load_hardware
from topology.catalog.area import DIE, POWER, SIZES, STATIC
from topology.catalog.parts import CARD_PRICE

CALIBRATED = "corsair"
"""The hardware that the published points are of."""
OF_SERVING = "collectives.overlap"
"""A setting that replays of operations do not have."""
TIMELESS = ("energy.", *UNTIMED)
"""Sections that no time depends on."""
RESIDUAL = "fit.times"
"""The factor on all times of constants that were fitted on measurements, as if it were a figure."""


class SensitivityError(ValueError):
    """No figure can be varied, or the question is wrong."""

    exit_code: ClassVar[int] = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """One possible machine: the figures that differ from the catalogue's, in SI."""

    hardware_set: Mapping[str, float]
    reason: str = ""
    """Why it contradicts a published point; empty if it does not."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """Of the machine's software, by the keys of a scenario (``formats.wire``)."""


def draws(
    scenario: Scenario,
    count: int,
    seed: int,
    patterns: Sequence[str] = ("*",),
    machines: MachineSet | None = None,
    unlike: Hardware | None = None,
) -> list[Draw]:
    """``count`` possible machines for a scenario: a Latin hypercube over what is uncertain.

    A figure's draws depend on its name, its range, ``count`` and ``seed`` only, so those of two
    scenarios can be compared one by one. Figures of ``machines`` are those of its machines, all of
    a draw of the same one; what they were fitted on replaces the published points. Figures that
    ``unlike`` has otherwise (the price of its card) are drawn independently of its own.

    Raises
    ------
    SensitivityError
        No uncertain figure has a name that matches; the machines are of other hardware.
    """
    moved = uncertain(scenario, patterns)
    fitted = _machines(scenario, (count, seed), patterns, machines)
    other = {} if unlike is None else unlike.figures
    keys = {
        name: f"{scenario.hardware}:{name}" if _differs(figure, other.get(name)) else name
        for name, figure in moved.items()
    }
    spreads = dict.fromkeys(keys.values(), Range(low=0.0, high=1.0))
    shares = sample(spreads, count, "latin_hypercube", seed)
    return [
        _fitted(
            scenario,
            {
                name: at_share(figure, share)
                for (name, figure), share in zip(moved.items(), row, strict=True)
            }
            | dict(machine.hardware_set),
            machine,
        )
        for row, machine in zip(shares, fitted, strict=True)
    ]


def _differs(figure: Figure, other: Figure | None) -> bool:
    ranges = [(each.value, each.low, each.high) for each in (figure, other) if each]
    return len(set(ranges)) > 1


def _machines(
    scenario: Scenario, seeded: tuple[int, int], patterns: Sequence[str], found: MachineSet | None
) -> list[Draw]:
    """What each draw has of a machine of the set, but for what the scenario sets itself."""
    if found is None:
        return [Draw(hardware_set={})] * seeded[0]
    known = load_hardware(scenario.hardware, fabric=scenario.cluster.fabric).figures
    named = found.machines[0].figures
    if found.hardware != CALIBRATED or not set(named) <= set(known):
        raise SensitivityError(
            f"the machines are {found.hardware}'s, the scenario's hardware is {scenario.hardware}"
        )
    kept = [name for name in named if name not in scenario.hardware_set and _any(name, patterns)]
    foreign = (OF_SERVING,) if scenario.workload.is_replayed else ()
    return [
        Draw(
            hardware_set={name: each.figures[name] for name in kept},
            settings={
                SETTINGS[name]: value
                for name, value in each.settings.items()
                if SETTINGS[name] not in foreign and not says(scenario, SETTINGS[name])
            },
        )
        for each in drawn(found, *seeded)
    ]


def with_settings(scenario: Scenario, draw: Draw) -> Scenario:
    """The scenario with the settings of a draw, without its figures."""
    sections: dict[str, dict[str, str]] = {}
    for key, value in draw.settings.items():
        section, _, name = key.partition(".")
        sections.setdefault(section, {})[name] = value
    changed = {
        section: getattr(scenario, section).model_copy(update=own)
        for section, own in sections.items()
    }
    return scenario.model_copy(update=changed)


def _any(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, each) for each in patterns)


def says(scenario: Scenario, key: str) -> bool:
    """Whether the scenario gives ``section.name`` itself."""
    section, _, name = key.partition(".")
    return name in getattr(scenario, section).model_fields_set


def ends(scenario: Scenario, patterns: Sequence[str] = ("*",)) -> list[tuple[Figure, Draw, Draw]]:
    """Each uncertain figure, with the machines of its low and of its high.

    Raises
    ------
    SensitivityError
        No uncertain figure has a name that matches.
    """
    return [
        (figure, _fitted(scenario, {name: figure.low}), _fitted(scenario, {name: figure.high}))
        for name, figure in uncertain(scenario, patterns).items()
    ]


def as_it_is(scenario: Scenario, patterns: Sequence[str] = ("*",)) -> Draw:
    """The machine of the catalogue: one figure is set to its own value."""
    name, figure = next(iter(uncertain(scenario, patterns).items()))
    return _fitted(scenario, {name: figure.value})


def uncertain(scenario: Scenario, patterns: Sequence[str] = ("*",)) -> dict[str, Figure]:
    """The figures that are uncertain and that the scenario does not set, by name.

    Raises
    ------
    SensitivityError
        No uncertain figure has a name that matches.
    """
    if any(pool.hardware is not None for _, pool in scenario.pools or ()):
        raise SensitivityError(
            "pools have hardware of their own, and figures of one machine are varied: sweep "
            "pools.prefill.hardware_set and pools.decode.hardware_set instead"
        )
    figures = load_hardware(scenario.hardware, fabric=scenario.cluster.fabric).figures
    named = [name for name in figures if _any(name, patterns)]
    found = {
        name: figures[name]
        for name in named
        if figures[name].uncertain and name not in scenario.hardware_set and _counts(scenario, name)
    }
    if _measured(scenario) and _any(RESIDUAL, patterns):
        found[RESIDUAL] = _residual(scenario)
    if found:
        return found
    known = f"corsair-sim hardware show {scenario.hardware} lists them"
    if not named:
        raise SensitivityError(f"no figure matches {', '.join(patterns)}: {known}")
    raise SensitivityError(
        f"no uncertain figure matches {', '.join(patterns)}: {', '.join(named[:3])}: "
        f"the range is empty, a choice's or a fit's, the scenario sets the value, or nothing of it "
        f"depends on this one; {known}"
    )


def _counts(scenario: Scenario, name: str) -> bool:
    """Whether anything depends on the figure: a list price or parts, areas where sizes moved."""
    if name.startswith("parts.") or name == CARD_PRICE:
        return name.startswith("parts.") == (scenario.cost.from_ == "parts")
    return not name.startswith("area.") or any(size in scenario.hardware_set for size in SIZES)


def at_share(figure: Figure, share: float) -> float:
    """The quantile of a figure at a share from 0 to 1: low, value and high at 0, 0.5 and 1.

    Of the residual, low and high are the ends of a band that holds nine of ten.
    """
    end = figure.low if share < 0.5 else figure.high
    away = abs(2.0 * share - 1.0) / (SHARE if figure.name == RESIDUAL else 1.0)
    drawn = figure.value + (end - figure.value) * away
    return float(round(drawn)) if figure.whole else drawn


def _fitted(scenario: Scenario, moved: Mapping[str, float], machine: Draw | None = None) -> Draw:
    """The drawn figures, and with them those that were fitted on published points.

    Not those that a ``machine`` of a set has: they were fitted with it.
    """
    settings = machine.settings if machine else {}
    hardware = load_hardware(scenario.hardware, fabric=scenario.cluster.fabric)
    calibrated = load_hardware(CALIBRATED).figures
    shared = {
        name: value
        for name, value in moved.items()
        if name in calibrated and hardware.figures.get(name) == calibrated[name]
    }
    found = {name: value for name, value in moved.items() if name != RESIDUAL}
    area = _known_area(scenario, hardware, moved)
    found |= area
    shared |= {DIE: calibrated[DIE].value} if DIE in area else {}
    if RESIDUAL in moved:
        found |= {each.name: _slowed(each, moved[RESIDUAL]) for each in _measured(scenario)}
    for name, fit in FITS.items():
        own = machine is not None and name in machine.hardware_set
        if own or name in scenario.hardware_set or not _is_calibrated(hardware, name):
            continue
        value, reason = fit(shared)
        if reason:
            return Draw(hardware_set=found, reason=reason, settings=settings)
        found |= {} if value is None else {name: value}
    return Draw(hardware_set=found, settings=settings)


def _known_area(
    scenario: Scenario, hardware: Hardware, moved: Mapping[str, float]
) -> dict[str, float]:
    """The die's area, and what goes with it: how large its parts are may be unknown, it is not."""
    if DIE not in hardware.figures or not any(name in SIZES for name in moved):
        return {}
    known = load_hardware(scenario.hardware, scenario.hardware_set, fabric=scenario.cluster.fabric)
    watts = [name for name in (STATIC, *POWER) if known[name] != hardware[name]]
    return {name: known[name] for name in (DIE, *watts)}


def _measured(scenario: Scenario) -> list[Figure]:
    """Times and efficiencies that were fitted on measurements, and that the scenario keeps."""
    hardware = load_hardware(scenario.hardware, fabric=scenario.cluster.fabric)
    return [
        figure
        for name, figure in hardware.figures.items()
        if figure.range == "fit"
        and figure.unit in ("s", "fraction")
        and name not in (*FITS, *scenario.hardware_set)
    ]


def _residual(scenario: Scenario) -> Figure:
    """Measured over predicted times of points like the scenario's: 1, and the band's ends."""
    resolved = resolve(scenario, wanted="either")
    if isinstance(resolved, Resolved):
        trust = trust_of(resolved)
    else:
        trust = blind("what-if", "no replay of operations was measured")
    low, high = trust.bands["tpot"].truth(1.0)
    return Figure(
        name=RESIDUAL,
        value=1.0,
        low=min(low, 1.0),
        high=max(high, 1.0),
        unit="ratio",
        datasheet_unit="ratio",
        source=trust.sentence,
        confidence="derived",
    )


def _slowed(figure: Figure, factor: float) -> float:
    """A time times the factor; an efficiency that makes times so much longer, 1 at most."""
    return figure.value * factor if figure.unit == "s" else min(1.0, figure.value / factor)


def _is_calibrated(hardware: Hardware, name: str) -> bool:
    """Whether the figure is the one that was fitted on a published point of Corsair."""
    figure = hardware.figures.get(name)
    return figure is not None and figure == load_hardware(CALIBRATED).figures[name]


Fit = Callable[[Mapping[str, float]], tuple[float | None, str]]
"""Of figures of Corsair: the fitted value (None: the catalogue's), and why there is none."""


def _dispatch_s(figures: Mapping[str, float]) -> tuple[float | None, str]:
    timed = {name: value for name, value in figures.items() if not name.startswith(TIMELESS)}
    if not timed or predict_point(EIGHT_B, overrides=timed).cycle_ps == _catalogued_cycle_ps():
        return None, ""
    value = fit_dispatch_s(overrides=timed)
    found = f"{1e3 * EIGHT_B.tpot_s:g} ms of {EIGHT_B.model}"
    return value, "" if value else f"slower than the published {found} without any dispatch"


@cache
def _catalogued_cycle_ps() -> int:
    return predict_point(EIGHT_B).cycle_ps


def _static_w(figures: Mapping[str, float]) -> tuple[float | None, str]:
    value = fit_static_w(figures)
    if value == fit_static_w(AS_CATALOGUED):
        return None, ""
    return value, "" if value else "draws more than the published power before any static power"


FITS: Mapping[str, Fit] = {"card.dispatch_s": _dispatch_s, "card.static_w": _static_w}
"""By the figure that is fitted."""
