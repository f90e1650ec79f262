from pathlib import Path

import pytest

from topology.catalog import load_hardware
from topology.catalog.area import die_parts
from topology.catalog.parts import card_usd

MB = 1e6


def mm2(**moved: float) -> float:
    return (
        load_hardware("corsair", {k.replace("__", "."): v for k, v in moved.items()})[
            "chiplet.area_m2"
        ]
        * 1e6
    )


def test_the_parts_of_a_corsair_die_sum_to_its_known_area() -> None:
    parts = die_parts(load_hardware("corsair").figures)
    areas = {part.name: part.m2.value * 1e6 for part in parts}

    # 256 MB x 0.45, 256 cores x 0.4, 16 x 64 lanes x 0.01, 50 GB/s x 0.16
    expected = {"SRAM": 115.2, "DIMC cores": 102.4, "SIMD lanes": 10.24, "LPDDR channels": 8.0}
    assert areas == pytest.approx({**expected, "all else": 400 - 235.84})
    assert sum(areas.values()) == pytest.approx(400)
    assert parts[-1].m2.low > 0


def test_twice_the_sram_takes_115_mm2_and_18_watts_more() -> None:
    hardware = load_hardware("corsair", {"chiplet.sram_bytes": 512 * MB})

    assert hardware["chiplet.area_m2"] == pytest.approx(515.2e-6)
    # 64.3 W x 515.2 / 400: all of the static power goes with the silicon
    assert hardware["card.static_w"] == pytest.approx(64.3 * 515.2 / 400)
    assert hardware["card.power_at_1_2_ghz_w"] == pytest.approx(550 + 64.3 * 115.2 / 400)
    area = hardware.figures["chiplet.area_m2"]
    assert (area.low, area.high) == pytest.approx((476.8e-6, 566.4e-6))
    assert area.confidence == "derived"


def test_each_size_has_its_area() -> None:
    assert mm2(chiplet__dimc_cores=512) == pytest.approx(502.4)
    assert mm2(simd__lanes=128) == pytest.approx(410.24)
    assert mm2(chiplet__lpddr_bandwidth_bytes_per_s=100e9) == pytest.approx(408)
    assert mm2(chiplet__sram_bytes=128 * MB) == pytest.approx(342.4)


def test_memory_and_cores_can_be_exchanged_at_equal_area() -> None:
    # 128 MB x 0.45 = 57.6 mm2 = 144 cores x 0.4
    assert mm2(chiplet__sram_bytes=384 * MB, chiplet__dimc_cores=112) == pytest.approx(400)


def test_a_larger_die_costs_more_than_its_share_of_the_wafer() -> None:
    large = load_hardware("corsair", {"chiplet.sram_bytes": 512 * MB})
    # 107 dies of 515.2 mm2 a wafer, faultless (1 + 0.36064 / 3)^-3
    die = 10_000 / (107 * (1 + 0.36064 / 3) ** -3)

    assert die / 91.39 > 515.2 / 400
    parts = (8 * die + 200) / 0.98 + 256 * 7 + 600
    assert card_usd(large).value == pytest.approx(parts / 0.35)


def test_figures_that_are_set_by_hand_stay_as_they_are() -> None:
    moved = {"chiplet.sram_bytes": 512 * MB}
    stated = load_hardware("corsair", {**moved, "chiplet.area_m2": 450e-6})
    cold = load_hardware("corsair", {**moved, "card.static_w": 70.0})

    assert (stated["chiplet.area_m2"], stated["card.static_w"]) == (450e-6, 64.3)
    assert (cold["card.static_w"], cold["card.power_at_1_2_ghz_w"]) == (70.0, 550)
    assert cold["chiplet.area_m2"] == pytest.approx(515.2e-6)


def test_nothing_moves_where_no_size_does() -> None:
    before, after = load_hardware("corsair"), load_hardware("corsair", {"card.clock_hz": 1e9})

    assert after.figures["chiplet.area_m2"] == before.figures["chiplet.area_m2"]
    assert after.figures["card.static_w"] == before.figures["card.static_w"]


def test_a_file_on_a_base_pays_for_its_sizes_unless_it_states_its_area(tmp_path: Path) -> None:
    given = (
        "  chiplet.{}: {{value: {}, unit: {}, source: x, confidence: assumed, low: 1, high: 999}}\n"
    )
    sram = given.format("sram_bytes", 512, "MB")
    area = given.format("area_m2", 480, "mm2")
    (tmp_path / "mine.yaml").write_text(f"base: corsair\nfigures:\n{sram}")
    (tmp_path / "own.yaml").write_text(f"base: corsair\nfigures:\n{sram}{area}")
    (tmp_path / "more.yaml").write_text("base: mine.yaml\nfigures: {}\n")

    for name in ("mine.yaml", "more.yaml"):
        assert load_hardware(tmp_path / name)["chiplet.area_m2"] == pytest.approx(515.2e-6)
    assert load_hardware(tmp_path / "own.yaml")["chiplet.area_m2"] == 480e-6


def test_a_stacked_memory_takes_no_area_of_the_die() -> None:
    base, moved = load_hardware("raptor"), load_hardware("raptor", {"chiplet.sram_bytes": 8e9})

    assert moved["chiplet.area_m2"] == base["chiplet.area_m2"]
    # 32 GB more at 15 USD, of packages of which 90 % come out whole, at 35 % of the price
    assert card_usd(moved).value - card_usd(base).value == pytest.approx(32 * 15 / 0.9 / 0.35)
