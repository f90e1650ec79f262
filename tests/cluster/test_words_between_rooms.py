"""Packages that do not import each other list the same names in the same order: columns go by
position."""

import results.schema as written
from cluster.commands.engine_options import Engine
from cluster.perf_model.devices.dimc import BOUNDS, PARTS
from cluster.perf_model.energy.facility import constant_watts
from cluster.scenario.engine_names import ENGINES
from corsair_common.names import Status
from results.devices import DEVICES, DIMC
from topology.catalog import load_hardware
from topology.catalog.kinds import KINDS


def test_bounds_and_parts_of_energy_are_described_as_they_are_counted() -> None:
    assert DIMC.bound_names == BOUNDS
    assert DIMC.part_names == PARTS


def test_every_kind_of_hardware_is_described() -> None:
    assert tuple(device.kind for device in DEVICES) == KINDS


def test_parts_of_the_facility_are_between_cards_and_cooling() -> None:
    watts = constant_watts(load_hardware("corsair"), servers=2, racks=2)

    assert ("cards", *watts, "cooling") == written.FACILITY_PARTS


def test_a_status_is_written_by_its_position() -> None:
    assert written.STATUSES == ("completed", "rejected_too_long", "rejected_no_room")
    assert [written.STATUSES.index(status.word) for status in Status] == list(Status)


def test_the_option_of_engines_has_their_names() -> None:
    assert tuple(Engine) == ENGINES
