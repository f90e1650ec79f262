from pathlib import Path

import pytest

from topology.catalog import list_hardware, load_hardware
from topology.catalog.parts import (
    bill_of_parts,
    card_usd,
    die_yield,
    gross_dies,
    priced_from_parts,
)


def lines(name: str, **moved: float) -> dict[str, float]:
    hardware = load_hardware(name, {key.replace("__", "."): value for key, value in moved.items()})
    return {item.name: item.usd.value for item in bill_of_parts(hardware)}


def test_a_wafer_holds_143_dies_of_400_mm2_and_63_of_814() -> None:
    # pi 300^2 / (4 x 400) = 176.7, pi 300 / sqrt(800) = 33.3; 86.8 - 23.4
    assert gross_dies(400e-6) == 143
    assert gross_dies(814e-6) == 63
    assert gross_dies(0.1) == 1


def test_yield_falls_to_poissons_where_defects_do_not_cluster() -> None:
    assert die_yield(400e-6, 700.0, 3.0) == pytest.approx((1 + 0.28 / 3) ** -3)  # 0.7651
    assert die_yield(400e-6, 700.0, 1e7) == pytest.approx(0.755784, rel=1e-5)  # exp(-0.28)
    assert die_yield(400e-6, 0.0, 3.0) == 1.0


def test_a_corsair_die_costs_91_dollars() -> None:
    # 10,000 USD / (143 dies x 0.765142); nothing of a faulty die is sold
    assert lines("corsair")["dies"] / 8 == pytest.approx(10_000 / (143 * 0.765142), rel=1e-5)
    assert lines("corsair")["dies"] / 8 == pytest.approx(91.39, abs=0.01)


def test_the_bill_of_a_corsair_card_adds_up_by_hand() -> None:
    bill = lines("corsair")
    dies = 8 * 10_000 / (143 * (1 + 0.28 / 3) ** -3)
    inside = dies + 2 * 100

    assert bill["lost in packaging"] == pytest.approx(inside * (1 / 0.98 - 1))
    assert bill["memory on the board"] == pytest.approx(256 * 7)
    assert bill["all parts"] == pytest.approx(inside / 0.98 + 256 * 7 + 600)
    assert bill["card"] == pytest.approx(bill["all parts"] / 0.35)
    assert bill["margin"] == pytest.approx(bill["card"] - bill["all parts"])


def test_faulty_dies_that_are_sold_with_parts_off_make_dies_cheaper() -> None:
    # 64 dies of 800 mm2 a wafer, faultless (1 + 0.8/3)^-3 = 0.492, half of the rest sold
    good = (1 + 0.8 / 3) ** -3
    sold = good + 0.5 * (1 - good)

    assert lines("b200")["dies"] == pytest.approx(2 * 18_000 / (64 * sold))
    assert lines("b200", parts__scrapped_fraction=1.0)["dies"] == pytest.approx(
        2 * 18_000 / (64 * good)
    )


def test_memory_in_a_package_is_lost_with_it_and_memory_on_the_board_is_not() -> None:
    gpu, card = load_hardware("b200"), load_hardware("rtx-pro-6000")
    lost = {item.name: item.usd.value for item in bill_of_parts(gpu)}
    kept = {item.name: item.usd.value for item in bill_of_parts(card)}
    inside = lost["dies"] + lost["packaging"] + lost["memory in packages"]

    assert lost["lost in packaging"] == pytest.approx(inside * (1 / 0.83 - 1))
    assert kept["memory in packages"] == 0.0
    assert kept["lost in packaging"] == pytest.approx((kept["dies"] + 60) * (1 / 0.98 - 1))


@pytest.mark.parametrize("name", list_hardware())
def test_the_list_price_lies_in_the_range_of_its_parts(name: str) -> None:
    usd, listed = card_usd(load_hardware(name)), load_hardware(name)["cost.card_usd"]

    assert usd.low < usd.value < usd.high
    assert usd.low <= listed <= usd.high


@pytest.mark.parametrize(("name", "low", "high"), [("b200", 5700, 7300), ("h100", 2800, 3900)])
def test_the_parts_of_gpus_cost_what_published_estimates_say(
    name: str, low: float, high: float
) -> None:
    assert low < lines(name)["all parts"] < high  # 6,400 of 5,700 to 7,300; 3,320


def test_the_ends_of_a_bill_take_every_figure_at_its_cheap_or_dear_end() -> None:
    hardware = load_hardware("corsair")
    end = {name: (f.low, f.high) for name, f in hardware.figures.items() if "parts." in name}
    dies = 8 * 8_000 / (143 * _sold(0.05e-2 * 400, 1, 0.5))
    cheapest = (dies + 2 * 50) / 0.995 + 256 * 4 + 350

    assert end["parts.wafer_usd"][0] == 8_000
    assert card_usd(hardware).low == pytest.approx(cheapest / 0.6)


def _sold(defects: float, clustering: float, scrapped: float) -> float:
    good = (1 + defects / clustering) ** -clustering
    return float(good + (1 - good) * (1 - scrapped))


def test_a_price_from_parts_takes_the_place_of_the_list_price_with_its_range() -> None:
    hardware = load_hardware("corsair")
    priced = priced_from_parts(hardware).figures["cost.card_usd"]

    assert (priced.value, priced.low, priced.high) == pytest.approx(
        (card_usd(hardware).value, card_usd(hardware).low, card_usd(hardware).high)
    )
    assert priced.confidence == "derived"


def test_a_users_file_without_parts_takes_those_of_its_kind(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    text = Path("topology/catalog/corsair.yaml").read_text()
    mine.write_text(text.partition("\ndefaults:\n")[0])

    assert "parts:" not in mine.read_text()
    assert card_usd(load_hardware(mine)) == card_usd(load_hardware("corsair"))
