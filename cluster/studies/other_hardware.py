"""The same traffic on other hardware, in number formats that are as wide."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product

from cluster.perf_model.devices import module_of
from cluster.scenario.formats import formats_of
from cluster.scenario.load import ScenarioError, load
from cluster.scenario.schema import AUTO, Scenario
from cluster.studies.plan.space import Choices
from topology.catalog import Hardware, load_hardware
from workloads.formats import FORMATS, FormatError, get_format

BITS = 8
"""Of formats that neither the scenario nor the search names."""
USES = ("weights", "activations", "kv")
OF_HARDWARE = (
    *("hardware_set", "formats", "plan", "memory", "power", "collectives"),
    *("cluster", "links", "state", "pools", "transfer"),
)
"""Settings that go with a scenario's hardware: the other one has its defaults."""
Widths = Mapping[str, Sequence[int]]
"""Bits of each use of formats."""


def both_sides(
    scenario: Scenario, hardware: str, choices: Choices
) -> tuple[tuple[Scenario, Choices], tuple[Scenario, Choices]]:
    """The scenario and the search, and the same on other hardware, all formats of equal width.

    Formats that are not named are of 8 bits on both sides, so that none wins by coarser numbers.

    Raises
    ------
    ScenarioError
        It has no requests, or it has pools.
    TopologyError
        No such hardware.
    """
    if scenario.workload.is_replayed:
        raise ScenarioError("--against compares machines that serve requests: not replays")
    if scenario.pools is not None:
        raise ScenarioError("--against searches undivided cards of each kind: leave pools out")
    own, other = load_hardware(scenario.hardware), load_hardware(hardware)
    own_names = {use: _named(getattr(scenario.formats, use)) for use in USES}
    named = {
        "weights": choices.weights or own_names["weights"],
        "activations": _named(choices.activations) or own_names["activations"],
        "kv": choices.kv or own_names["kv"],
    }
    widths = {
        use: [get_format(each).element_bits for each in names] or [BITS]
        for use, names in named.items()
    }
    plain = scenario.model_dump(mode="json", exclude_defaults=True, exclude=set(OF_HARDWARE))
    elsewhere = load({**plain, "hardware": hardware})
    first = _in_formats(scenario, choices, named | _as_wide(own, widths, named))
    return first, _in_formats(elsewhere, choices, _as_wide(other, widths, {}))


def _named(name: str) -> tuple[str, ...]:
    return () if name == AUTO else (name,)


def _in_formats(
    scenario: Scenario, choices: Choices, names: Mapping[str, Sequence[str]]
) -> tuple[Scenario, Choices]:
    formats = scenario.formats.model_copy(update={use: names[use][0] for use in USES})
    searched = replace(
        choices,
        weights=tuple(names["weights"]),
        activations=names["activations"][0],
        kv=tuple(names["kv"]),
    )
    return scenario.model_copy(update={"formats": formats}), searched


def _as_wide(
    hardware: Hardware, widths: Widths, known: Mapping[str, Sequence[str]]
) -> dict[str, Sequence[str]]:
    """Formats of these widths that go together, where none are known."""
    found: dict[str, list[str]] = {use: [] for use in USES}
    for bits in product(*widths.values()):
        for use, name in zip(
            USES, as_wide(hardware, dict(zip(USES, bits, strict=True))), strict=True
        ):
            if name not in found[use]:
                found[use].append(name)
    return {use: known.get(use) or names for use, names in found.items()}


def as_wide(hardware: Hardware, bits: Mapping[str, int]) -> tuple[str, str, str]:
    """Formats of weights, activations and KV of so many bits, or of the fewest more that do.

    >>> bits = {"weights": 4, "activations": 8, "kv": 8}
    >>> as_wide(load_hardware("h200"), bits)
    ('mxfp4', 'fp8_e4m3', 'fp8_e4m3')
    >>> as_wide(load_hardware("corsair"), bits)
    ('mxint4', 'mxint8', 'mxint8')

    Raises
    ------
    FormatError
        The device has none.
    """
    breaches = module_of(hardware).format_breaches
    wire = hardware.formats["wire"][0]
    for weights, activations, kv in product(*(_wider(hardware, use, bits[use]) for use in USES)):
        names = {"weights": weights, "activations": activations, "kv": kv, "wire": wire}
        if not breaches(hardware, formats_of(names.items())):
            return weights, activations, kv
    raise FormatError(f"{hardware.name} has no formats of {bits}")


def _wider(hardware: Hardware, use: str, bits: int) -> list[str]:
    """Formats of at least so many bits: narrow ones first, and the hardware file's own."""

    def all_names() -> Iterator[str]:
        yield from hardware.formats[use]
        yield from FORMATS

    wide = [name for name in dict.fromkeys(all_names()) if get_format(name).element_bits >= bits]
    return sorted(wide, key=lambda name: get_format(name).element_bits)
