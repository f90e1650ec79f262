"""Packages that do not import each other list the same names in the same order: columns go by
position."""

import results.schema as written
from cluster.commands.engine_options import Engine
from cluster.perf_model.devices.dimc import BOUNDS
from cluster.perf_model.energy.facility import constant_watts
from cluster.scenario.engine_names import ENGINES
from corsair_common.names import Status
from topology.catalog import load_hardware


def test_bounds_are_written_as_they_are_counted() -> None:
    assert written.BOUNDS == BOUNDS


def test_parts_of_the_facility_stand_between_cards_and_cooling() -> None:
    watts = constant_watts(load_hardware("corsair"), servers=2, racks=2)

    assert ("cards", *watts, "cooling") == written.FACILITY_PARTS


def test_a_status_is_written_by_its_position() -> None:
    assert written.STATUSES == ("completed", "rejected_too_long", "rejected_no_room")
    assert [written.STATUSES.index(status.word) for status in Status] == list(Status)


def test_the_option_of_engines_has_their_names() -> None:
    assert tuple(Engine) == ENGINES
