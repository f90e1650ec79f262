"""The machine and the ledger split time and energy in the same order, each in words of its own."""

from cluster.perf_model.devices.dimc import BOUNDS, PARTS
from results import schema


def test_the_bounds_of_a_card_s_time_stand_in_the_same_order_in_files() -> None:
    assert schema.BOUNDS == BOUNDS


def test_the_parts_of_its_energy_stand_in_the_same_order_in_files() -> None:
    assert schema.PARTS == PARTS
