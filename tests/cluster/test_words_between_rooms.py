"""Packages that do not import each other list the same names in the same order: columns go by
position."""

import pytest

import results.schema as written
from cluster.commands.engine_options import Engine
from cluster.perf_model.devices import MODULES, module_of
from cluster.perf_model.energy.facility import constant_watts
from cluster.scenario.engine_names import ENGINES
from cluster.scenario.formats import Formats
from corsair_common.names import Status
from results.devices import DEVICES, Device
from topology.catalog import figure_names, list_hardware, load_hardware
from topology.catalog.kinds import FORMAT_USES, KINDS, REFERENCES
from workloads.formats import get_format


@pytest.mark.parametrize("device", DEVICES, ids=lambda device: device.kind)
def test_names_of_a_kind_are_described_as_its_module_counts_them(device: Device) -> None:
    module = module_of(load_hardware(REFERENCES[device.kind][0]))

    assert device.bound_names == module.BOUNDS
    assert device.part_names == module.PARTS
    assert device.memories == module.MEMORIES


@pytest.mark.parametrize("device", DEVICES, ids=lambda device: device.kind)
def test_every_bound_rests_on_figures_that_its_kind_has(device: Device) -> None:
    known = figure_names(device.kind).known

    assert [
        prefix
        for bound in device.bounds
        for prefix in bound.figures
        if not any(name.startswith(prefix) for name in known)
    ] == []


def test_every_kind_of_hardware_is_described_and_has_a_module() -> None:
    assert tuple(device.kind for device in DEVICES) == KINDS == tuple(MODULES)


@pytest.mark.parametrize("name", list_hardware())
def test_the_default_formats_of_every_bundled_machine_can_be_multiplied(name: str) -> None:
    hardware = load_hardware(name)
    formats = {use: get_format(names[0]) for use, names in hardware.formats.items()}

    assert tuple(formats) == FORMAT_USES
    assert module_of(hardware).format_breaches(hardware, Formats(**formats)) == []


def test_parts_of_the_facility_are_between_cards_and_cooling() -> None:
    watts = constant_watts(load_hardware("corsair"), servers=2, racks=2)

    assert ("cards", *watts, "cooling") == written.FACILITY_PARTS


def test_a_status_is_written_by_its_position() -> None:
    assert written.STATUSES == ("completed", "rejected_too_long", "rejected_no_room")
    assert [written.STATUSES.index(status.word) for status in Status] == list(Status)


def test_the_option_of_engines_has_their_names() -> None:
    assert tuple(Engine) == ENGINES
