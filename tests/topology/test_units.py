import pytest
from hypothesis import given
from hypothesis import strategies as st

from topology.units import UNITS, from_si, to_si


@pytest.mark.parametrize(
    ("value", "unit", "si"),
    [
        (115, "ns", 115e-9),
        (1.1444091796875, "GHz", 1144409179.6875),
        (400, "Gb/s", 50e9),
        (256, "MB", 256e6),
        (256, "MiB", 256 * 2**20),
        (0.3, "pJ/bit", 0.3e-12),
        (92, "%", 0.92),
        (0.09, "USD/kWh", 2.5e-8),
        (400, "mm2", 400e-6),
    ],
)
def test_a_datasheet_number_is_the_nearest_float_in_si(value: float, unit: str, si: float) -> None:
    assert to_si(value, unit) == si


@given(st.floats(1e-6, 1e6), st.sampled_from(sorted(UNITS)))
def test_there_and_back_is_the_same_number(value: float, unit: str) -> None:
    assert from_si(to_si(value, unit), unit) == pytest.approx(value, rel=1e-15)
