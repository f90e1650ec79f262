from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.perf_model.attention import Heads
from cluster.perf_model.calibrate import full_load_parts_w
from cluster.perf_model.collectives import CARD_TIERS
from cluster.perf_model.devices.dimc import PARTS
from cluster.perf_model.devices.dimc.chiplet import chiplet_of, mode_of, product_work
from cluster.perf_model.devices.dimc.counters import (
    COUNTS,
    KMAC,
    LINE_BYTES,
    LPDDR,
    RECIPES,
    SIMD,
    SRAM,
)
from cluster.perf_model.devices.dimc.dvfs import energy_scale
from cluster.perf_model.devices.dimc.facts import SIMD_NAMES, converted_joules, count_joules
from cluster.perf_model.devices.dimc.op_counts import (
    attention_counts,
    product_counts,
    recipe,
    vector_counts,
)
from cluster.perf_model.devices.work import Product
from cluster.perf_model.energy.coefficients import Joules, card_joules, joules_of
from cluster.perf_model.energy.facility import facility_of, facility_power_w
from cluster.perf_model.energy.totals import spent
from cluster.perf_model.timeline import Bins
from topology.build import build_pod
from topology.catalog import Hardware, load_hardware
from topology.power import clock_at, full_load_w
from topology.route import LEVELS, Routes, compile_routes

TIERS = (*CARD_TIERS, *LEVELS)

INT8 = COUNTS.index("mac_int8_kmac")


def counted(hardware: Hardware, m: int, k: int, n: int, width: int = 8) -> tuple[Any, float]:
    """Counts of a card whose eight chiplets do this, and how long it takes them."""
    chiplet = chiplet_of(hardware)
    mode = mode_of(hardware, weight_width=width, activation_width=width, activation_bytes=65 / 64)
    product = Product(m=np.array([m]), k=k, n=n)
    done = product_work(chiplet, mode, product)
    counts = product_counts(hardware, chiplet, 8, mode, product, done, np.zeros(1))
    return counts[0], float(done.clocks[0]) / chiplet.clock_hz


def saturated_w(hardware: Hardware) -> dict[str, float]:
    """Watts by part of a card at full load."""
    return full_load_parts_w(hardware) | {"static": hardware["card.static_w"]}


def test_one_vector_and_one_tile_count_4096_products_and_4096_bytes() -> None:
    hardware = load_hardware("corsair")
    counts, _ = counted(hardware, 1, 64, 64)

    assert counts[INT8] == 8 * 4
    # The tile, 65 B of x and 128 B of y: 4,289 B are 67 lines.
    assert counts[SRAM] == 8 * 67


@pytest.mark.parametrize("width", [4, 8, 16])
def test_products_are_counted_in_their_own_mode(width: int) -> None:
    counts, _ = counted(load_hardware("corsair"), 3, 640, 1280, width)

    name = f"mac_int{width}_kmac"
    assert counts[COUNTS.index(name)] * KMAC == 8 * 3 * 640 * 1280
    assert counts[:3].sum() == counts[COUNTS.index(name)]


def test_the_parts_of_full_load_close_on_the_published_power() -> None:
    # 150 TB/s at 0.3 pJ/bit, 38 TOPS/W at 2,400 TFLOPS, and 400 GB/s at 7 pJ/bit: 445 W.
    hardware = load_hardware(
        "corsair", {"energy.lpddr_j_per_bit": 7e-12, "chiplet.lpddr_efficiency": 1.0}
    )
    parts = saturated_w(hardware)

    assert parts["sram"] == pytest.approx(360, rel=1e-3)
    assert parts["mac"] == pytest.approx(63, rel=1e-2)
    assert parts["lpddr"] == pytest.approx(22.4, rel=1e-3)
    named = parts["sram"] + parts["mac"] + parts["lpddr"]
    assert named == pytest.approx(445, rel=3e-3)
    left_w = full_load_w(hardware, 1.1444091796875e9) - named
    assert left_w == pytest.approx(62, abs=1.5)


@pytest.mark.parametrize(("clock_hz", "watts"), [(0.8e9, 275), (1.2e9, 550), (1.1444e9, 507.2)])
def test_a_fully_loaded_card_draws_the_power_of_the_law(clock_hz: float, watts: float) -> None:
    hardware = load_hardware("corsair", {"card.clock_hz": clock_hz})

    assert full_load_w(hardware, clock_hz) == pytest.approx(watts, rel=1e-4)
    assert sum(saturated_w(hardware).values()) == pytest.approx(watts, rel=1e-3)
    assert clock_at(hardware, watts) == pytest.approx(clock_hz, rel=1e-4)


def test_energies_hold_at_their_own_clock_and_fall_no_further_below_the_first_point() -> None:
    scale = {
        clock: energy_scale(load_hardware("corsair", {"card.clock_hz": clock}))
        for clock in (0.4e9, 0.8e9, 1.1444091796875e9, 1.2e9)
    }
    assert scale[1.1444091796875e9] == 1.0
    assert scale[0.4e9] == scale[0.8e9] < 1 < scale[1.2e9]


def test_vector_work_is_counted_in_the_steps_of_its_kind() -> None:
    hardware = load_hardware("corsair")
    work = ((np.array([0, 10]), recipe(hardware, "softmax", "quantize")),)
    counts = vector_counts(8, work, np.array([0, 2]))

    # Softmax adds 3 times, quantising 3; two normed rows take a root and a division each.
    assert counts[1, SIMD].tolist() == [8 * 60, 8 * 10, 8 * 10, 8 * (10 + 2), 8 * 2]
    assert not counts[0].any()


def test_a_block_of_keys_and_values_is_streamed_once_for_a_decode_row() -> None:
    hardware = load_hardware("corsair")
    mode = mode_of(hardware, weight_width=8, activation_width=8, activation_bytes=1.0)
    heads = Heads(kv_heads=2, queries_per_kv_head=4, key_dim=128, value_dim=128)
    decode, chunk = attention_counts(
        hardware, chiplet_of(hardware), mode, heads, recipe(hardware, "softmax")
    )
    # Two heads of four tiles; four queries over 64 tokens score 256 times, at 4 B each.
    assert decode[SRAM] * 64 == 2 * (4 * 4096 + 256 * 4)
    assert decode[INT8] * KMAC == 2 * 4 * 4 * 4096
    assert decode[SIMD][2] == 2 * 256
    assert chunk[INT8] == 2 * decode[INT8]


@pytest.fixture(scope="module")
def rack() -> Routes:
    """Two servers of eight cards under one leaf."""
    return compile_routes(build_pod(load_hardware("corsair"), servers_per_rack=2))


def test_a_byte_pays_for_every_link_on_its_way(rack: Routes) -> None:
    hardware = load_hardware("corsair")
    cards = np.array([[[0, 1, 2, 3], [8, 9, 10, 11]]])
    link_j = joules_of(hardware, rack, cards).link_j * 1e12 / 8

    def cost(tier: int, part: str) -> float:
        return float(link_j[0, 0, tier, PARTS.index(part)])

    assert cost(TIERS.index("d2d"), "d2d") == pytest.approx(1.0)
    assert cost(TIERS.index("package"), "pcie") == pytest.approx(7.0)
    assert cost(TIERS.index("bridge"), "bridge") == pytest.approx(7.0)
    assert cost(TIERS.index("pcie"), "pcie") == pytest.approx(14.0)  # up and down
    # From server to server: card, switch, NIC, leaf, NIC, switch, card.
    assert cost(len(TIERS), "pcie") == pytest.approx(28.0)
    assert cost(len(TIERS), "ethernet") == pytest.approx(9.0)
    assert cost(len(TIERS), "sram") == pytest.approx(0.6)  # read here, written there
    assert not link_j[0, 1, len(TIERS)].any()


def drawn_bins(seed: int, stages: int, bins: int) -> Bins:
    rng = np.random.default_rng(seed)
    none = np.zeros((1, stages, bins), np.int64)
    return Bins(
        bin_ps=10**9,
        busy_ps=np.zeros((1, stages, bins, 6), np.int64),
        tokens=none,
        steps=none,
        tier_bytes=rng.integers(0, 10**9, (1, stages, bins, len(TIERS))),
        send_bytes=rng.integers(0, 10**9, (1, stages, bins)),
        counts=rng.integers(0, 10**9, (1, stages, bins, len(COUNTS))),
        kv_block_ns=none[:, 0],
        peak_blocks=none[:, 0],
    )


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    bins=st.integers(1, 6),
    last_ps=st.integers(1, 10**9),
    spare=st.integers(0, 3),
)
def test_cards_bins_and_parts_sum_to_the_same_energy(
    seed: int, bins: int, last_ps: int, spare: int
) -> None:
    rng = np.random.default_rng(seed)
    joules = Joules(
        parts=PARTS,
        count_j=rng.random((len(COUNTS), len(PARTS))) * 1e-12,
        link_j=rng.random((1, 2, len(TIERS) + 1, len(PARTS))) * 1e-12,
        static_w=64.0,
        cards_per_stage=4,
    )
    counted, end_ps = drawn_bins(seed, 2, bins), (bins - 1) * 10**9 + last_ps
    energy = spent(joules, counted, cards=8 + spare, end_ps=end_ps)

    each = [card_joules(joules, counted, (0, stage), end_ps) for stage in range(2)]
    static_j = 64.0 * end_ps * 1e-12
    assert energy.energy_j == pytest.approx(
        4 * (each[0].sum() + each[1].sum()) + spare * static_j, rel=1e-12
    )
    assert energy.bin_j.sum() == pytest.approx(energy.energy_j, rel=1e-12)
    assert energy.parts_j[PARTS.index("static")] >= (8 + spare) * static_j * (1 - 1e-12)
    # Joined bins hold the joules of both.
    whole = replace(
        counted,
        bin_ps=counted.bin_ps * bins,
        counts=counted.counts.sum(axis=2, keepdims=True),
        tier_bytes=counted.tier_bytes.sum(axis=2, keepdims=True),
        send_bytes=counted.send_bytes.sum(axis=2, keepdims=True),
    )
    joined = spent(joules, whole, cards=8 + spare, end_ps=end_ps)
    assert joined.parts_j == pytest.approx(energy.parts_j, rel=1e-12)
    assert joined.mean_w == pytest.approx(energy.mean_w, rel=1e-12)
    assert energy.peak_w is not None
    assert energy.mean_w is not None
    assert energy.peak_w >= energy.mean_w * (1 - 1e-12)


def test_a_facility_is_everything_around_the_cards(rack: Routes) -> None:
    hardware = load_hardware("corsair")
    facility = facility_of(hardware, rack)

    assert facility.constant_w == {
        "nics": 2 * 4 * 150,
        "pcie_switches": 2 * 2 * 50,
        "hosts": 2 * 1500,
        "leaves": 1000,
        "spines": 0,
    }
    parts, total_w = facility_power_w(facility, 1000.0, 100.0)
    assert total_w == pytest.approx(1.25 * (1000 - 100 + 1200 + 200 + 3000 + 1000))
    assert sum(parts.values()) == pytest.approx(total_w)


def test_one_server_needs_no_leaf() -> None:
    hardware = load_hardware("corsair")
    routes = compile_routes(build_pod(hardware, servers_per_rack=1))

    assert facility_of(hardware, routes).constant_w["leaves"] == 0


def test_weights_in_lpddr_are_counted_there_and_on_their_way_through_sram() -> None:
    hardware = load_hardware("corsair")
    chiplet = chiplet_of(hardware)
    mode = mode_of(hardware, weight_width=8, activation_width=8, activation_bytes=1.0)
    product = Product(m=np.array([1]), k=64, n=64)
    done = product_work(chiplet, mode, product)
    here = product_counts(hardware, chiplet, 8, mode, product, done, np.zeros(1))[0]
    there = product_counts(hardware, chiplet, 8, mode, product, done, np.array([4160.0]))[0]

    assert there[LPDDR] == 8 * 4160
    assert there[SRAM] - here[SRAM] == 8 * 65


def test_rounding_to_another_format_costs_what_a_step_would_pay_for_it() -> None:
    hardware = load_hardware("corsair")
    each = [
        count_joules(hardware)[COUNTS.index(name), PARTS.index("simd")] * times
        for name, times in zip(SIMD_NAMES, RECIPES["quantize"], strict=True)
    ]

    found = converted_joules(hardware, elements=10, moved_bytes=64)

    assert found[PARTS.index("simd")] == pytest.approx(10 * sum(each), rel=1e-12)
    line_j = count_joules(hardware)[COUNTS.index("sram_lines"), PARTS.index("sram")]
    assert found[PARTS.index("sram")] == pytest.approx(line_j * 64 / LINE_BYTES, rel=1e-12)
