"""Transfers say the same as the closed forms, in the words of the replay engine."""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cluster.perf_model.collectives import (
    CARD_TIERS,
    FULL,
    CollectiveError,
    Leg,
    Resources,
    TransferList,
    algorithms_of,
    all_reduce,
    call_cost,
    coflows,
    flows,
    group_of,
    hops,
    nested_rounds,
    resources_of,
    rounds_of,
    send,
    steps,
)
from cluster.perf_model.collectives.transfer_legs import leg_of
from topology.route import LEVELS

TIERS = (*CARD_TIERS, *LEVELS)

Figures: TypeAlias = dict[str, float]
Maps: TypeAlias = Callable[..., Any]

FIXTURE = HealthCheck.function_scoped_fixture


def alone_ps(legs: tuple[Leg, ...]) -> int:
    return sum(leg.latency_ps + leg.work_ps for leg in legs)


def moved_over(leg: Leg, resources: Resources, name: str) -> int:
    """Bytes over the resource of that name."""
    place = np.flatnonzero(resources.name[leg.resource] == name)
    return int(leg.moved_bytes[place].sum())


@settings(max_examples=40, deadline=None, suppress_health_check=[FIXTURE])
@given(
    collective=st.sampled_from(["all_reduce", "reduce_scatter", "all_gather", "all_to_all"]),
    cards=st.sampled_from([[0], [0, 1], [0, 1, 2, 3], [0, 2, 5], list(range(8)), [0, 8, 16, 24]]),
    sizes=st.lists(st.integers(0, 10**8), min_size=1, max_size=4),
)
def test_a_coflow_alone_has_the_time_of_the_closed_form(
    figures: Figures, hand_map: Maps, collective: str, cards: list[int], sizes: list[int]
) -> None:
    routes = hand_map(32)
    group = group_of(figures, routes, cards)
    resources = resources_of(figures, routes)

    found = coflows(resources, group, collective, np.array(sizes))

    expected = call_cost(group, collective, np.array(sizes))
    assert [alone_ps(legs) for legs in found] == expected.ps.tolist()


def test_a_coflow_moves_its_bytes_over_the_links_that_it_crosses(
    figures: Figures, hand_map: Maps
) -> None:
    """Four cards in a ring, c0 > c1 > c2 > c3 > c0: 62 steps, each of 1/32 of the payload, pass
    from each card to the next; c0 > c1 and c2 > c3 over bridges, the others over the switch."""
    routes, size_bytes = hand_map(4), 3_200_000
    resources = resources_of(figures, routes)
    group = group_of(figures, routes, [0, 1, 2, 3])

    (leg,) = coflows(resources, group, "all_reduce", np.array([size_bytes]), "ring", 1)[0]

    passed = size_bytes // 32 * 62
    names = ("bridge0", "bridge1", "bridge2", "up1", "down2", "up3", "down0", "up0", "down1")
    assert [moved_over(leg, resources, name) // passed for name in names] == [
        1, 0, 1, 1, 1, 1, 1, 0, 0,
    ]  # fmt: skip
    # Inside c3 from k0 to k7, and from k7 to the x16 at k0: over k4, the package link and k3.
    assert moved_over(leg, resources, "s0.c3.p0 package out") == passed
    assert moved_over(leg, resources, "s0.c3.p1 package out") == passed
    assert moved_over(leg, resources, "s0.c3.p0 d2d") == (3 + 1) * passed
    assert moved_over(leg, resources, "s0.c3.p1 d2d") == (3 + 1) * passed
    assert leg.peak_bytes == passed


def test_the_bytes_of_a_coflow_are_those_of_the_closed_form(
    figures: Figures, hand_map: Maps
) -> None:
    routes = hand_map(8)
    resources = resources_of(figures, routes)
    group = group_of(figures, routes, list(range(8)))

    for algorithm in ("auto", "direct", "hierarchical", "any_order"):
        (leg,) = coflows(resources, group, "all_reduce", np.array([64_000_000]), algorithm)[0]
        expected = all_reduce(group, np.array([64_000_000]), algorithm).tier_bytes[0]
        bridges = sum(moved_over(leg, resources, f"bridge{card}") for card in range(8))
        crossing = sum(moved_over(leg, resources, f"between0.{way}") for way in (0, 1))
        assert bridges == pytest.approx(8 * expected[TIERS.index("bridge")], abs=8)
        assert crossing == pytest.approx(8 * expected[TIERS.index("inter_switch")], abs=8)


@pytest.mark.parametrize(
    "algorithm", ["ring", "direct", "halving_doubling", "tree", "hierarchical", "any_order"]
)
@pytest.mark.parametrize("size_bytes", [0, 1, 1_048_576])
def test_steps_take_together_as_long_as_the_closed_form_without_chunks(
    figures: Figures, hand_map: Maps, algorithm: str, size_bytes: int
) -> None:
    routes = hand_map(8)
    group = group_of(figures | {"simd.add_clocks": 1.0}, routes, list(range(8)))

    legs = steps(resources_of(figures, routes), group, "all_reduce", size_bytes, algorithm)

    expected = call_cost(group, "all_reduce", np.array([size_bytes]), algorithm, 1).ps[0]
    assert alone_ps(legs) == pytest.approx(expected, abs=1)


def test_a_collective_without_the_algorithm_is_refused(figures: Figures, hand_map: Maps) -> None:
    routes = hand_map(2)
    group = group_of(figures, routes, [0, 1])

    with pytest.raises(CollectiveError, match="all_to_all has no algorithm 'ring'"):
        coflows(resources_of(figures, routes), group, "all_to_all", np.array([1]), "ring")


@pytest.mark.parametrize(
    ("sources", "targets"), [([0], [1]), ([0], [9]), ([0, 1, 2, 3], [4, 5, 6, 7]), ([3], [3])]
)
@pytest.mark.parametrize("size_bytes", [0, 1, 123_457, 10**9])
def test_a_message_alone_has_the_time_of_the_closed_form(
    figures: Figures, hand_map: Maps, sources: list[int], targets: list[int], size_bytes: int
) -> None:
    figures |= {"links.chunk_overhead_s": 20e-9}
    routes = hand_map(16, efficiency=0.85)

    legs = flows(resources_of(figures, routes), routes, sources, targets, size_bytes, 20e-9)

    expected = send(figures, routes, sources, targets, np.array([size_bytes]))
    assert alone_ps(legs) == expected.ps[0]


def test_messages_that_leave_together_add_up_on_the_link_that_they_share(
    figures: Figures, hand_map: Maps
) -> None:
    routes = hand_map(8)
    resources = resources_of(figures, routes)

    (leg,) = flows(resources, routes, [0, 1], [4, 5], 2_000_000)

    assert moved_over(leg, resources, "up0") == moved_over(leg, resources, "up1") == 1_000_000
    assert moved_over(leg, resources, "between0.0") == 2_000_000
    # 1 MB at 64 GB/s, exactly as long as 2 MB at 128 GB/s
    assert (leg.latency_ps, leg.work_ps) == (765_000, 15_625_000)


def test_store_and_forward_pays_the_bytes_on_every_link(figures: Figures, hand_map: Maps) -> None:
    class WithHops:
        """The hand map, and 100 ns on each of its links."""

        def __init__(self, routes: Any) -> None:
            self.path, self.latency_ps = routes.path, routes.latency_ps
            self.link_name = routes.link_name
            self.link_bandwidth_bytes_per_s = routes.link_bandwidth_bytes_per_s
            self.link_latency_ps = np.full(len(routes.link_name), 100_000)

    routes = hand_map(16)

    legs = hops(resources_of(figures, routes), WithHops(routes), 0, 8, 6_400_000, 20e-9)

    assert [leg.latency_ps for leg in legs] == [120_000, 100_000, 100_000, 100_000]
    assert [leg.work_ps for leg in legs] == [100_000_000, 128_000_000, 128_000_000, 100_000_000]
    assert [leg.resource.size for leg in legs] == [1, 1, 1, 1]


def test_a_message_to_oneself_takes_no_time(figures: Figures, hand_map: Maps) -> None:
    routes = hand_map(2)
    resources = resources_of(figures, routes)

    assert alone_ps(flows(resources, routes, [1], [1], 5)) == 0


@pytest.fixture
def two_links() -> Resources:
    """One byte and two bytes a picosecond."""
    return Resources(
        name=np.array(["slow", "fast"]), capacity_bytes_per_s=np.array([1e12, 2e12]), links=2
    )


def test_shares_are_the_parts_of_the_capacity_that_a_leg_takes_alone(two_links: Resources) -> None:
    found = TransferList(two_links)
    found.add([leg_of(two_links, 1_010, 10, np.array([1000.0, 1000.0]))])

    table = found.table()

    assert table.use_share.tolist() == [FULL, FULL // 2]
    assert table.use_bytes.tolist() == [1000, 1000]
    assert table.peak.tolist() == [1.0]
    assert (table.latency_ps.tolist(), table.work_ps.tolist()) == ([10], [1000])


def test_a_leg_rounded_to_less_than_its_bytes_need_still_takes_no_more_than_all(
    two_links: Resources,
) -> None:
    found = TransferList(two_links)
    found.add([leg_of(two_links, 3, 0, np.array([3.4, 0.3]))])
    found.add([leg_of(two_links, 3, 0, np.array([4.0, 0.0]))])

    assert found.table().use_share.tolist() == [FULL, FULL]


def test_equal_transfers_share_their_legs(two_links: Resources) -> None:
    found = TransferList(two_links)
    leg, other = (leg_of(two_links, t, 10, np.array([1000.0, 0.0])) for t in (1_010, 2_010))

    numbers = [found.add(legs) for legs in ([leg], [leg, other], [leg], [leg, other], [other])]

    assert numbers == [0, 1, 0, 1, 3]
    assert found.table().then.tolist() == [-1, 2, -1, -1]
    assert found.table().alone_ps().tolist() == [1_010, 3_020, 2_010, 2_010]


def test_latency_gives_way_to_the_bytes_of_a_tiny_leg(two_links: Resources) -> None:
    leg = leg_of(two_links, 5, 9, np.array([1.0, 0.0]))

    assert (leg.latency_ps, leg.work_ps) == (4, 1)


@pytest.mark.parametrize("ranks", [2, 3, 4, 6, 8])
@pytest.mark.parametrize("collective", ["all_reduce", "reduce_scatter", "all_gather", "broadcast"])
def test_after_all_rounds_every_rank_has_what_the_collective_promises(
    collective: str, ranks: int
) -> None:
    """If ranks pass on all that has reached them, what each of the others had reaches them all."""
    for algorithm in algorithms_of(collective):
        heard = np.eye(ranks, dtype=bool)
        rounds = rounds_of(collective, algorithm, ranks)
        for one in (each for each in rounds for _ in range(each.times)):
            before = heard.copy()
            for source, target in zip(one.source, one.target, strict=True):
                heard[target] |= before[source]
        wanted = heard[:, 0] if collective == "broadcast" else heard
        assert wanted.all(), algorithm


@pytest.mark.parametrize("sizes", [[4], [2, 3], [4, 2, 2]])
def test_in_each_of_several_dimensions_a_rank_sends_what_it_must(sizes: list[int]) -> None:
    """(n - 1) / n of the vector up and as much down, whatever the dimensions; all of it across."""
    ranks = int(np.prod(sizes))

    def sent(collective: str) -> float:
        rounds = nested_rounds(collective, sizes, ["direct"] * len(sizes))
        return sum(one.share * float((one.source == 0).sum()) for one in rounds)

    assert sent("all_reduce") == pytest.approx(2 * (ranks - 1) / ranks)
    assert sent("all_gather") == pytest.approx((ranks - 1) / ranks)
    assert sent("all_to_all") == pytest.approx(sum((size - 1) / size for size in sizes))


def test_an_unknown_collective_or_algorithm_is_refused_with_the_nearest() -> None:
    with pytest.raises(CollectiveError, match="did you mean all_reduce"):
        rounds_of("allreduce", "ring", 4)
    with pytest.raises(CollectiveError, match="broadcast has no algorithm 'ring'; it has tree"):
        rounds_of("broadcast", "ring", 4)
