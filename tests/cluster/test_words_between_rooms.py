"""Packages that do not import each other list the same names in the same order: columns go by
position."""

import numpy as np

import results.schema as written
from cluster.perf_model.devices.dimc import BOUNDS, PARTS
from cluster.perf_model.energy.facility import constant_watts
from cluster.serving.histogram import lower_edges_ps
from cluster.serving.interface import Status
from results.histogram import itl_edges_ps
from topology.catalog import load_hardware


def test_bounds_and_parts_of_energy_are_written_as_they_are_counted() -> None:
    assert written.BOUNDS == BOUNDS
    assert written.PARTS == PARTS


def test_parts_of_the_facility_stand_between_cards_and_cooling() -> None:
    watts = constant_watts(load_hardware("corsair"), servers=2, racks=2)

    assert ("cards", *watts, "cooling") == written.FACILITY_PARTS


def test_a_status_is_written_by_its_position() -> None:
    words = [written.STATUSES[status].removeprefix("rejected_") for status in sorted(Status)]

    assert words == [status.name.lower() for status in sorted(Status)]


def test_latencies_are_counted_into_the_bins_that_are_read() -> None:
    np.testing.assert_array_equal(itl_edges_ps()[:-1], lower_edges_ps())
