from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cluster.perf_model.collectives import (
    CARD_TIERS,
    CollectiveError,
    Cost,
    Group,
    all_gather,
    all_reduce,
    all_to_all,
    group_of,
    reduce_scatter,
    send,
)
from topology.route import LEVELS

TIERS = (*CARD_TIERS, *LEVELS)

MESH = {"card.packages": 1.0, "package.d2d_total_bytes_per_s": 1e18}
ALPHA_PS, BYTES = 115_000, 1_024_000
Figures: TypeAlias = dict[str, float]
Maps: TypeAlias = Callable[..., Any]
Meshes: TypeAlias = Callable[..., Group]
Collective: TypeAlias = Callable[..., Cost]
FIXTURE = HealthCheck.function_scoped_fixture
COLLECTIVES = (all_reduce, reduce_scatter, all_gather, all_to_all)


def transfer_ps(size_bytes: float, rate_bytes_per_s: float = 128e9) -> float:
    return size_bytes / rate_bytes_per_s * 1e12


@pytest.fixture
def mesh(figures: Figures, hand_map: Maps) -> Meshes:
    """One package of ``ranks`` chiplets joined each to each: a symmetric tier."""

    def build(ranks: int, **more: float) -> Group:
        return group_of(
            figures | MESH | {"package.chiplets": float(ranks)} | more, hand_map(1), [0]
        )

    return build


@pytest.mark.parametrize("ranks", [2, 4, 6])
@pytest.mark.parametrize(
    ("algorithm", "expected"),
    [
        ("ring", lambda n: 2 * (n - 1) * (ALPHA_PS + transfer_ps(BYTES / n))),
        ("direct", lambda n: 2 * (ALPHA_PS + transfer_ps(BYTES / n))),
        ("tree", lambda n: 2 * np.ceil(np.log2(n)) * (ALPHA_PS + transfer_ps(BYTES))),
    ],
)
def test_an_all_reduce_on_one_symmetric_tier_has_its_closed_form(
    mesh: Meshes, ranks: int, algorithm: str, expected: Callable[[int], float]
) -> None:
    cost = all_reduce(mesh(ranks), np.array([BYTES]), algorithm, 1)

    assert cost.ps[0] == pytest.approx(expected(ranks), abs=1)


def test_halving_and_doubling_sends_halves_quarters_and_eighths(mesh: Meshes) -> None:
    # 8 ranks: 3 rounds each way, and 7/8 of the vector each way.
    expected_ps = 2 * (3 * ALPHA_PS + transfer_ps(BYTES * 7 / 8))

    assert all_reduce(mesh(8), np.array([BYTES]), "halving_doubling", 1).ps[0] == expected_ps


def test_ranks_beyond_a_power_of_two_fold_onto_a_partner(mesh: Meshes) -> None:
    # 6 ranks: two hand over the whole vector, four halve and double, two get the whole result.
    expected_ps = 2 * (ALPHA_PS + transfer_ps(BYTES)) + 2 * (
        2 * ALPHA_PS + transfer_ps(BYTES * 3 / 4)
    )

    cost = all_reduce(mesh(6), np.array([BYTES]), "halving_doubling", 1)
    assert cost.ps[0] == pytest.approx(expected_ps, abs=1)


@pytest.mark.parametrize("collective", [reduce_scatter, all_gather])
def test_half_an_all_reduce_by_ring_takes_half_its_time(
    mesh: Meshes, collective: Collective
) -> None:
    whole = all_reduce(mesh(4), np.array([BYTES]), "ring", 1)

    assert 2 * collective(mesh(4), np.array([BYTES]), "ring", 1).ps[0] == whole.ps[0]


def test_an_all_to_all_sends_one_part_to_each_rank_at_once(mesh: Meshes) -> None:
    cost = all_to_all(mesh(4), np.array([BYTES]), "direct", 1)

    assert cost.ps[0] == ALPHA_PS + transfer_ps(BYTES / 4)


def test_additions_take_simd_clocks(mesh: Meshes) -> None:
    # Three quarters of 512,000 elements of 16 bits on 16 slices x 64 lanes at 1 GHz: 375 clocks.
    free, counted = mesh(4), mesh(4, **{"simd.add_clocks": 1.0})
    more_ps = [all_reduce(g, np.array([BYTES]), "direct", 1).ps[0] for g in (free, counted)]

    assert more_ps[1] - more_ps[0] == 375_000


def test_each_message_of_a_rank_pays_the_overhead(mesh: Meshes) -> None:
    # Direct: three messages in the reduce-scatter, three in the all-gather, 20 ns each.
    free, counted = mesh(4), mesh(4, **{"links.chunk_overhead_s": 20e-9})
    ps = [all_reduce(g, np.array([BYTES]), "direct", 1).ps[0] for g in (free, counted)]

    assert ps[1] - ps[0] == 120_000


def test_all_links_of_a_package_share_its_total(mesh: Meshes) -> None:
    # 4 ranks x 3 peers x B/4 = 3 B over 1 TB/s is slower than B/4 over each link.
    group = mesh(4, **{"package.d2d_total_bytes_per_s": 1e12})

    cost = all_gather(group, np.array([BYTES]), "direct", 1)
    assert cost.ps[0] == ALPHA_PS + transfer_ps(3 * BYTES, 1e12)


def test_tiers_of_a_switch_are_nested_bottom_up(figures: Figures, hand_map: Maps) -> None:
    group = group_of(figures, hand_map(8), [3, 1, 0, 2])

    assert [(tier.name, tier.members) for tier in group.tiers] == [
        ("d2d", 4),
        ("package", 2),
        ("bridge", 2),
        ("pcie", 2),
    ]
    assert group.ranks == 32
    assert group.cards.tolist() == [0, 1, 2, 3]


def test_unequal_parts_join_the_level_above(figures: Figures, hand_map: Maps) -> None:
    group = group_of(figures, hand_map(8), range(6))

    assert [(tier.name, tier.members) for tier in group.tiers[2:]] == [
        ("bridge", 2),
        ("inter_switch", 3),
    ]


def test_one_chunk_passes_the_tiers_of_a_switch_in_turn(figures: Figures, hand_map: Maps) -> None:
    group = group_of(figures, hand_map(4), range(4))
    # Up and down: D2D 3 x B/4 x 4 over 1 TB/s, package 4 x B/8 over 64 GB/s, bridge 8 x B/16 over
    # 256 GB/s; on top 8 x B/16 over a card's x16, once.
    up_ps = (
        transfer_ps(3 * BYTES, 1e12) + transfer_ps(BYTES / 2, 64e9) + transfer_ps(BYTES / 2, 256e9)
    )
    latency_ps = 2 * (115_000 + 400_000 + 400_000) + 650_000

    cost = all_reduce(group, np.array([BYTES]), "hierarchical", 1)
    assert cost.ps[0] == pytest.approx(latency_ps + 2 * up_ps + transfer_ps(BYTES / 2, 64e9))


def test_many_chunks_come_near_the_busiest_resource(figures: Figures, hand_map: Maps) -> None:
    group = group_of(figures, hand_map(4), range(4))
    size = 10**12

    cost = all_reduce(group, np.array([size]), "hierarchical", 10_000)
    # The package link carries B/2 upward and B/2 downward.
    assert cost.ps[0] == pytest.approx(transfer_ps(size, 64e9), rel=1e-3)


def test_bridges_before_slower_package_links_halve_the_time_of_many_bytes(
    figures: Figures, hand_map: Maps
) -> None:
    group = group_of(figures, hand_map(4), range(4))
    # A chunk up and down: D2D 3 x B/4 x 4 over 1 TB/s, bridge 8 x B/8 over 256 GB/s, package
    # 4 x B/16 over 64 GB/s; on top 8 x B/16 over a card's x16, once.
    each = BYTES / 16
    up_ps = transfer_ps(3 * each, 1e12) + transfer_ps(each, 256e9) + transfer_ps(each / 4, 64e9)
    latency_ps = 2 * (115_000 + 400_000 + 400_000) + 650_000
    # Further chunks: bridges have B twice, an x16 B/2; package links have B/4 twice, and once what
    # the second package sends by the x16 of the first.
    further_ps = 15 * transfer_ps(3 * each / 4, 64e9)

    cost = all_reduce(group, np.array([BYTES]), "any_order", 16)
    first_ps = latency_ps + 2 * up_ps + transfer_ps(each / 2, 64e9)
    assert cost.ps[0] == pytest.approx(first_ps + further_ps)


def test_two_orders_at_once_load_the_links_of_two_levels(figures: Figures, hand_map: Maps) -> None:
    group = group_of(figures, hand_map(2), range(2))
    # Half goes D2D, package, bridge, half D2D, bridge, package; D2D has both: 3 x B/4 x 4 over
    # 1 TB/s, up and down. Then 4 x B/16 of one half are on a package link, up and down, and
    # 8 x B/16 of the other on a bridge; the top is one exchange, of as many bytes the other way.
    middle_ps = max(transfer_ps(BYTES / 4, 64e9), transfer_ps(BYTES / 2, 256e9))
    latency_ps = 2 * (115_000 + 400_000) + 400_000

    cost = all_reduce(group, np.array([BYTES]), "any_order", 1)
    expected_ps = latency_ps + 2 * transfer_ps(3 * BYTES, 1e12) + 3 * middle_ps
    assert cost.ps[0] == pytest.approx(expected_ps)


def test_two_orders_are_faster_where_each_order_fills_another_link(
    figures: Figures, hand_map: Maps
) -> None:
    """Of many chunks, with bridges of 128 GB/s: bridge on top, a package link carries 4 x B/8 twice
    and a bridge 8 x B/8 once; package on top, a bridge 8 x B/8 twice and a package link 4 x B/8
    once. Either way the busier takes B / (64 GB/s); half by half both take three quarters of it."""
    group = group_of(figures, hand_map(2, {"bridge0": 0.5, "bridge1": 0.5}), range(2))
    size = np.array([10**12])

    one = all_reduce(group, size, "hierarchical", 10_000).ps[0]
    both = all_reduce(group, size, "any_order", 10_000).ps[0]

    assert one == pytest.approx(transfer_ps(10**12, 64e9), rel=1e-3)
    assert both == pytest.approx(0.75 * transfer_ps(10**12, 64e9), rel=1e-3)
    assert all_reduce(group, size, "auto", 10_000).ps[0] == both


def test_pipelining_gains_where_the_payload_is_large_and_costs_where_it_is_small(
    figures: Figures, hand_map: Maps
) -> None:
    group = group_of(figures | {"links.chunk_overhead_s": 20e-9}, hand_map(4), range(4))
    sizes = np.array([64, 10**7])

    one, eight = (all_reduce(group, sizes, "hierarchical", chunks).ps for chunks in (1, 8))
    assert one[0] < eight[0]
    assert eight[1] < one[1]


def test_a_card_alone_reduces_over_its_chiplets(figures: Figures, hand_map: Maps) -> None:
    group = group_of(figures, hand_map(1), [0])

    cost = all_reduce(group, np.array([0, 2]))
    assert cost.ps[0] == 0
    assert cost.ps[1] == pytest.approx(2 * 115_000 + 400_000, rel=0.001)
    assert cost.tier_bytes[1, TIERS.index("pcie") :].sum() == 0


def test_a_group_of_one_rank_is_free(mesh: Meshes) -> None:
    cost = all_reduce(mesh(1), np.array([0, 10**9]))

    assert cost.ps.tolist() == [0, 0]


def test_a_bad_cable_slows_the_groups_that_cross_it_and_no_others(
    figures: Figures, hand_map: Maps
) -> None:
    good, bad = hand_map(16), hand_map(16, {"up1": 0.1})
    sizes = np.array([1_000_000])

    def ps(routes: Any, cards: list[int]) -> int:
        group = group_of(figures, routes, cards)
        return int(all_reduce(group, sizes, "hierarchical").ps[0])

    assert ps(bad, [0, 1, 2, 3]) > 2 * ps(good, [0, 1, 2, 3])
    assert ps(bad, [0, 1]) == ps(good, [0, 1])
    assert ps(bad, [4, 5, 6, 7]) == ps(good, [4, 5, 6, 7])


@pytest.mark.parametrize("algorithm", ["direct", "ring", "halving_doubling", "tree"])
@pytest.mark.parametrize("cards", [1, 3, 4])
def test_auto_is_never_dearer_than_any_algorithm(
    figures: Figures, hand_map: Maps, algorithm: str, cards: int
) -> None:
    group = group_of(figures | {"links.chunk_overhead_s": 20e-9}, hand_map(8), range(cards))
    sizes = np.array([1, 100, 10_000, 1_000_000, 100_000_000])

    assert (all_reduce(group, sizes).ps <= all_reduce(group, sizes, algorithm).ps).all()


@settings(max_examples=25, deadline=None, suppress_health_check=[FIXTURE])
@given(
    sizes=st.lists(st.integers(0, 10**9), min_size=2, max_size=8),
    faster=st.floats(1.0, 10.0),
    cards=st.sampled_from([1, 2, 3, 4, 6]),
    collective=st.sampled_from(COLLECTIVES),
)
def test_more_bytes_never_take_less_and_faster_links_never_more(
    figures: Figures,
    hand_map: Maps,
    sizes: list[int],
    faster: float,
    cards: int,
    collective: Collective,
) -> None:
    payload = np.sort(np.array(sizes))
    quicker = figures | {"links.efficiency": faster}

    ps = collective(group_of(figures, hand_map(8), range(cards)), payload).ps
    assert (np.diff(ps) >= 0).all()
    faster_map = hand_map(8, efficiency=faster)
    assert (collective(group_of(quicker, faster_map, range(cards)), payload).ps <= ps).all()


@pytest.mark.parametrize(
    "algorithm", ["direct", "ring", "halving_doubling", "hierarchical", "any_order"]
)
def test_every_rank_moves_at_least_what_an_all_reduce_must(
    figures: Figures, hand_map: Maps, algorithm: str
) -> None:
    group = group_of(figures, hand_map(4), range(4))
    ranks_per_card = 8

    cost = all_reduce(group, np.array([BYTES]), algorithm)
    least = 2 * (group.ranks - 1) / group.ranks * BYTES * ranks_per_card
    assert cost.tier_bytes.sum() >= least - len(TIERS)


def test_flows_of_a_send_share_the_links_that_they_cross(figures: Figures, hand_map: Maps) -> None:
    # Cards 0-3 have two NICs: two flows of B/4 each on 50 GB/s.
    cost = send(figures, hand_map(16), [0, 1, 2, 3], [8, 9, 10, 11], np.array([0, BYTES]))

    assert cost.ps.tolist() == [0, 2_000_000 + transfer_ps(BYTES / 2, 50e9)]
    assert cost.tier_bytes[1, TIERS.index("ethernet")] == BYTES / 4


def test_a_send_over_the_bridge_needs_no_switch(figures: Figures, hand_map: Maps) -> None:
    cost = send(figures, hand_map(2), [0], [1], np.array([BYTES]))

    assert cost.ps[0] == 400_000 + transfer_ps(BYTES, 256e9)


def test_a_send_that_stays_on_its_card_is_free(figures: Figures, hand_map: Maps) -> None:
    assert send(figures, hand_map(2), [1], [1], np.array([BYTES])).ps.tolist() == [0]


@pytest.mark.parametrize(
    ("cards", "message"),
    [
        ([], "at least one card"),
        ([0, 0], "is twice"),
        ([0, 9], "cards are 0 to 7"),
    ],
)
def test_a_group_that_cannot_be_is_refused(
    figures: Figures, hand_map: Maps, cards: list[int], message: str
) -> None:
    with pytest.raises(CollectiveError, match=message):
        group_of(figures, hand_map(8), cards)


def test_an_unknown_algorithm_is_refused_with_those_there_are(
    figures: Figures, hand_map: Maps
) -> None:
    group = group_of(figures, hand_map(2), [0, 1])

    with pytest.raises(CollectiveError, match="it has auto, direct, hierarchical"):
        all_to_all(group, np.array([1]), "ring")
    with pytest.raises(CollectiveError, match="at least 0 bytes, got -1"):
        all_reduce(group, np.array([-1]))
    with pytest.raises(CollectiveError, match="at least 1, got 0"):
        all_reduce(group, np.array([1]), "ring", 0)
    with pytest.raises(CollectiveError, match="got 2 and 1"):
        send(figures, hand_map(2), [0, 1], [1], np.array([1]))
