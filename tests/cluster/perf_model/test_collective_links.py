"""Links that carry a collective: their efficiency, chunks that follow each other, any levels."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pytest

from cluster.perf_model.collectives import (
    all_gather,
    all_reduce,
    group_of,
    resources_of,
    send,
    tiers_of,
)
from cluster.perf_model.collectives.schedule import CHUNKS
from topology.build import build_pod
from topology.catalog import load_hardware
from topology.route import compile_routes

Figures: TypeAlias = dict[str, float]
Maps: TypeAlias = Callable[..., Any]

HALF = {"links.efficiency": 0.5}
LATENCY_PS = 2 * (115_000 + 400_000 + 400_000) + 650_000
"""Of a hierarchical all-reduce under one switch: D2D, package, bridge up and down, a switch."""


def ps(size_bytes: float, rate_bytes_per_s: float) -> float:
    return size_bytes / rate_bytes_per_s * 1e12


def up_ps(size_bytes: float) -> float:
    """One chunk upward: D2D 3 x B/4 x 4 over 1 TB/s, package B/2 over 64 GB/s, bridge B/2."""
    return ps(3 * size_bytes, 1e12) + ps(size_bytes / 2, 64e9) + ps(size_bytes / 2, 256e9)


@dataclass(frozen=True)
class Order:
    """Of the tiers after D2D, the last of which swaps its part in one round."""

    latency_ps: int
    busiest: float
    """B over 64 GB/s that the busiest x16 or package link carries, in two messages."""
    d2d: float
    """B over 1 TB/s that the D2D of the package with the x16 carries, in six messages."""


ORDERS = (
    # A package link carries B/2 up and B/2 down, and B/4 of the swap of B/16 by each chiplet over
    # the x16 of the other package. On the way to ports: half the chiplets twice to the bridge's,
    # B/16 out and in; seven hops to the x16, B/16 out and in.
    Order(latency_ps=LATENCY_PS, busiest=5 / 4, d2d=6 + 2 / 4 + 14 / 16),
    # The packages swap last, B/4, and chiplets have twice as much for the bridge and the x16, which
    # carries B/2 up and B/2 down.
    Order(latency_ps=LATENCY_PS + 250_000, busiest=1, d2d=6 + 4 / 4 + 28 / 16),
)


def all_reduce_ps(size: float, chunks: int, message_ps: int = 0) -> float:
    """Of B on four cards. The first chunk has as many bytes in a row in both orders."""
    each = size / chunks
    first_ps = 2 * up_ps(each) + ps(each / 2, 64e9)
    return min(
        one.latency_ps
        + 11 * message_ps
        + first_ps
        + (chunks - 1)
        * max(
            2 * message_ps + ps(one.busiest * each, 64e9), 6 * message_ps + ps(one.d2d * each, 1e12)
        )
        for one in ORDERS
    )


@pytest.mark.parametrize("size", [163_840, 16_384_000])
@pytest.mark.parametrize("chunks", [2, 4, 8, 16])
def test_a_further_chunk_takes_the_time_of_the_busiest_link(
    figures: Figures, hand_map: Maps, chunks: int, size: int
) -> None:
    """The first passes all tiers in turn."""
    group = group_of(figures, hand_map(4), range(4))

    found = all_reduce(group, np.array([size]), "hierarchical", chunks)
    assert found.ps[0] == pytest.approx(all_reduce_ps(size, chunks), abs=1)


@pytest.mark.parametrize(
    ("size", "best"), [(1_000, 1), (10_000, 2), (30_000, 4), (100_000, 8), (1_000_000, 16)]
)
def test_the_longer_the_vector_the_more_chunks_it_is_cut_into(
    figures: Figures, hand_map: Maps, size: int, best: int
) -> None:
    """20 ns a message: 11 in a row for the first chunk."""
    group = group_of(figures | {"links.chunk_overhead_s": 20e-9}, hand_map(4), range(4))

    def expected_ps(chunks: int) -> float:
        return all_reduce_ps(size, chunks, 20_000)

    found = all_reduce(group, np.array([size]), "hierarchical").ps[0]
    assert min(CHUNKS, key=expected_ps) == best
    assert found == pytest.approx(expected_ps(best), abs=1)


def test_efficiency_is_the_part_of_every_link_that_payload_can_use(
    figures: Figures, hand_map: Maps
) -> None:
    """At one half, D2D, package link, bridge and x16 take twice as long for the same bytes."""
    size = 1_024_000
    group = group_of(figures | HALF, hand_map(4, efficiency=0.5), range(4))

    found = all_reduce(group, np.array([size]), "hierarchical", 1)
    bytes_ps = 2 * up_ps(size) + ps(size / 2, 64e9)
    assert found.ps[0] == pytest.approx(LATENCY_PS + 2 * bytes_ps, abs=1)


def test_a_single_d2d_link_is_used_as_efficiently(figures: Figures, hand_map: Maps) -> None:
    # Each chiplet sends a quarter over half of 128 GB/s; the package's total is no limit.
    alone = {"card.packages": 1.0, "package.d2d_total_bytes_per_s": 1e18}
    group = group_of(figures | HALF | alone, hand_map(1), [0])

    found = all_gather(group, np.array([1_024_000]), "direct", 1)
    assert found.ps[0] == 115_000 + ps(256_000, 64e9)


def test_a_send_and_its_links_are_used_as_efficiently(figures: Figures, hand_map: Maps) -> None:
    routes = hand_map(2, efficiency=0.5)
    resources = resources_of(figures | HALF, routes)
    rates = dict(zip(resources.name, resources.capacity_bytes_per_s, strict=True))

    found = send(figures | HALF, routes, [0], [1], np.array([1_024_000]))
    assert found.ps[0] == 400_000 + ps(1_024_000, 128e9)
    assert rates["bridge0"] == 128e9
    assert (rates["s0.c1.p0 d2d"], rates["s0.c1.p1 package in"]) == (500e9, 32e9)


def test_two_cards_that_send_through_one_nic_share_its_x16() -> None:
    # A NIC of 100 GB/s on a PCIe x16 of 64 GB/s: two flows of B/2 are as long as B on the x16.
    hardware = load_hardware(
        "corsair",
        {"server.nics": 2, "server.nic_bandwidth_bytes_per_s": 100e9, "links.efficiency": 0.5},
    )
    routes = compile_routes(build_pod(hardware, racks=1, servers_per_rack=2))

    found = send(hardware, routes, [0, 1], [8, 9], np.array([1_024_000]))
    assert found.ps[0] == 2_000_000 + 20_000 + ps(1_024_000, 32e9)


def test_an_oversubscribed_spine_slows_what_crosses_racks() -> None:
    # 4 NICs x 50 GB/s over 4 spines at 5 to 1: 10 GB/s each.
    hardware = load_hardware("corsair", {"pod.spine_oversubscription": 5, "links.efficiency": 1.0})
    routes = compile_routes(build_pod(hardware, racks=2, servers_per_rack=1))

    found = send(hardware, routes, [0], [8], np.array([1_024_000]))
    assert found.ps[0] == 3_000_000 + 20_000 + ps(1_024_000, 10e9)


@dataclass(frozen=True)
class SwitchedMap:
    """Cards that hang on one switch by 400 GB/s each way, 500 ns apart: one level, no bridges."""

    cards: int
    server: Any = None

    @property
    def card_id(self) -> list[str]:
        return [f"c{card}" for card in range(self.cards)]

    @property
    def levels(self) -> list[tuple[str, npt.NDArray[np.int32]]]:
        return [("nvlink", np.zeros(self.cards, np.int32))]

    @property
    def link_name(self) -> list[str]:
        return [f"{way}{card}" for way in ("up", "down") for card in range(self.cards)]

    @property
    def link_bandwidth_bytes_per_s(self) -> npt.NDArray[np.float64]:
        return np.full(2 * self.cards, 400e9)

    @property
    def link_latency_ps(self) -> npt.NDArray[np.int64]:
        return np.full(2 * self.cards, 250_000)

    @property
    def link_efficiency(self) -> npt.NDArray[np.float64]:
        return np.ones(2 * self.cards)

    def path(self, src: int, dst: int) -> npt.NDArray[np.int32]:
        return np.array([src, self.cards + dst], np.int32)

    def latency_ps(self, src: Any, dst: Any) -> npt.NDArray[np.int64]:
        return np.where(np.asarray(src) == np.asarray(dst), 0, 500_000)


def test_the_levels_are_those_of_the_map(figures: Figures) -> None:
    """Eight cards of one chiplet on a switch: each sends 7/8 of B over its link, twice."""
    routes = SwitchedMap(8)
    group = group_of(figures | {"card.packages": 1.0, "package.chiplets": 1.0}, routes, range(8))
    size = 8_000_000

    found = all_reduce(group, np.array([size]), "direct", 1)
    assert tiers_of(routes) == ("d2d", "package", "nvlink")
    assert [(tier.name, tier.members) for tier in group.tiers] == [("nvlink", 8)]
    assert found.ps[0] == pytest.approx(2 * (500_000 + ps(size * 7 / 8, 400e9)), abs=1)
    assert found.tier_bytes.tolist() == [[0, 0, 2 * size * 7 // 8]]
