"""MXINT4 against MXINT8: the ridge moves from batch 8 to 16, and throughput as the model says."""

from itertools import pairwise
from pathlib import Path

import pytest

from cluster.perf_model.devices.dimc import DimcCard
from cluster.scenario.memory_modes import UNIFORM_MODES
from cluster.studies.ridge import (
    MODEL,
    PRODUCT,
    Ridge,
    card_of,
    compare_pairs,
    drawn,
    laid_out,
    product_seconds,
)

CLOCK_HZ = 1144409179.6875
CARD = {"MXINT8": 2400.0, "MXINT4 weights": 4800.0, "MXINT4": 9600.0}


@pytest.fixture(scope="module")
def found() -> Ridge:
    return compare_pairs(batches=(1, 16, 64, 128))


def card_for(pair: str) -> DimcCard:
    """The chiplet and its modes for a pair of formats."""
    return card_of(laid_out(pair, UNIFORM_MODES[0], MODEL, 1))


@pytest.mark.parametrize(("pair", "ridge"), [("MXINT8", 8), ("MXINT4 weights", 8), ("MXINT4", 16)])
def test_a_product_takes_no_longer_up_to_the_ridge_and_longer_from_there(
    pair: str, ridge: int
) -> None:
    device = card_for(pair)
    seconds = [product_seconds(device, batch) for batch in range(1, 40)]

    assert len(set(seconds[:ridge])) == 1
    assert all(later > sooner for sooner, later in pairwise(seconds[ridge - 1 :]))


def test_the_product_by_hand() -> None:
    # 3,584 columns on a chiplet, 64 tiles deep. MXINT8: 56 tiles wide, 3,584 over 256 cores are 14
    # rounds; MXINT4: 28 wide, 7 rounds. A round takes 64 clocks or the vectors' own, and the first
    # tile and the fill come before.
    before = 64 + 32
    clocks = {
        ("MXINT8", 8): before + 14 * 64,
        ("MXINT8", 32): before + 14 * 32 * 8,
        ("MXINT4 weights", 32): before + 7 * 32 * 8,
        ("MXINT4", 16): before + 7 * 64,
        ("MXINT4", 32): before + 7 * 32 * 4,
    }

    for (pair, batch), expected in clocks.items():
        seconds = product_seconds(card_for(pair), batch)
        assert seconds == pytest.approx(expected / CLOCK_HZ, abs=1e-12)


def test_large_batches_approach_the_published_peaks(found: Ridge) -> None:
    best: dict[str, float] = {}
    for row in found.products:
        best[row.pair] = max(best.get(row.pair, 0.0), row.tflops)
        k, n = PRODUCT
        assert row.tflops * 1e12 * row.seconds == pytest.approx(2 * row.batch * k * n)

    for pair, tflops in best.items():
        assert 0.98 * CARD[pair] < tflops < CARD[pair]


def test_the_model_gains_with_streamed_weights_and_little_with_weights_in_sram(
    found: Ridge,
) -> None:
    rate = {(row.pair, row.mode, row.batch): row.tokens_per_s for row in found.decodes}

    for batch in (16, 64):
        gain = rate["MXINT4", "performance", batch] / rate["MXINT8", "performance", batch]
        streamed = rate["MXINT4", "capacity", batch] / rate["MXINT8", "capacity", batch]
        assert 1 < gain < 1.1
        assert streamed == pytest.approx(8.125 / 4.125, rel=0.01)


def test_four_bit_weights_make_room_for_more_users(found: Ridge) -> None:
    most = {fact.pair: fact.most_sequences for fact in found.facts}

    assert [fact.ridge for fact in found.facts] == [8, 8, 16]
    assert most["MXINT4"] == most["MXINT4 weights"] > 1.6 * most["MXINT8"]
    printed = {(row.pair, row.batch) for row in found.decodes if row.mode == "performance"}
    assert ("MXINT8", 128) not in printed
    assert ("MXINT4", 128) in printed


def test_what_sets_a_slots_time_sums_to_all_of_it(found: Ridge) -> None:
    for row in found.decodes:
        assert sum(row.shares.values()) == pytest.approx(1)
        assert row.tokens_per_s == pytest.approx(row.batch / row.tpot_s)


def test_the_figure_has_four_panels(found: Ridge) -> None:
    points = drawn(found)

    assert [*dict.fromkeys(point["panel"] for point in points)] == [
        "one product, us",
        "one product, TFLOPS of a card",
        "decode, performance mode, tokens/s",
        "decode, capacity mode, tokens/s",
    ]


def test_the_page_says_what_is_found_today(found: Ridge) -> None:
    page = Path(__file__).resolve().parents[3] / "docs" / "studies" / "mxint4-against-mxint8.md"
    _, decode = page.read_text("utf-8").split("steady decode")
    printed = {}
    for line in decode.splitlines():
        cells = [cell.strip().replace(",", "") for cell in line.strip("|").split("|")]
        if cells[0].isdigit():
            printed[int(cells[0])] = cells[1:]

    cases = [(pair, mode) for mode in found.modes for pair in CARD]
    rate = {(row.pair, row.mode, row.batch): row.tokens_per_s for row in found.decodes}
    assert printed.keys() == {1, 16, 32, 64, 96, 128}
    for batch in (1, 16, 64, 128):
        for case, cell in zip(cases, printed[batch], strict=True):
            if cell == "does not fit":
                assert (*case, batch) not in rate
            else:
                assert rate[*case, batch] == pytest.approx(float(cell), rel=0.01)
