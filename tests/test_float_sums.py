"""Sums of floats are rounded once: equal in every version of Python."""

from fractions import Fraction
from pathlib import Path

import pytest

from cluster.perf_model.energy.facility import Facility, facility_power_w
from results.summary import Energy

ROOT = Path(__file__).resolve().parents[1]


def test_ten_tenths_of_a_joule_are_one() -> None:
    # Added one after the other they are 0.9999999999999999.
    energy = Energy(
        parts_j=[0.1] * 10,
        mean_power_w=None,
        peak_power_w=None,
        facility_energy_j=None,
        facility_power_w=None,
    )

    assert energy.total_j == 1.0


def test_watts_of_a_facility_are_their_exact_sum_rounded_once() -> None:
    # 0.1 + 0.2 + 0.3 one after the other are 0.6000000000000001.
    facility = Facility(constant_w={"nics": 0.2, "hosts": 0.3}, pue=1.0)
    _, watts = facility_power_w(facility, 0.1, 0.0)

    assert watts == float(Fraction(0.1) + Fraction(0.2) + Fraction(0.3)) == 0.6


@pytest.mark.parametrize("values", [[0.5, 1], [1, 2.0]])
def test_a_sum_of_floats_in_product_code_fails_a_test(values: list[float]) -> None:
    code = compile("sum(values)", str(ROOT / "cluster" / "new.py"), "eval")

    with pytest.raises(AssertionError, match=r"new.py:1: use math.fsum"):
        eval(code, {"values": values})


def test_integers_and_sums_of_tests_are_left_alone() -> None:
    code = compile("sum(values)", str(ROOT / "cluster" / "new.py"), "eval")

    assert eval(code, {"values": [1, 2]}) == 3
    assert sum([0.5, 0.25]) == 0.75
