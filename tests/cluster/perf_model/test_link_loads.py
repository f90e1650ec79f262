from dataclasses import replace

import numpy as np
import pytest

from cluster.perf_model.collectives import CARD_TIERS
from cluster.perf_model.devices.dimc.counters import COUNTS
from cluster.perf_model.link_loads import LinkLoad, link_loads
from cluster.perf_model.timeline import Bins
from topology.build import build_pod
from topology.catalog import load_hardware
from topology.route import LEVELS, Routes, compile_routes

TIERS = (*CARD_TIERS, *LEVELS)

SENT = 1_000_000


@pytest.fixture(scope="module")
def routes() -> Routes:
    """Two servers of eight cards, whose links carry payload alone."""
    corsair = load_hardware("corsair", {"links.efficiency": 1.0})
    return compile_routes(build_pod(corsair, racks=1, servers_per_rack=2))


def bins_of(stages: int, *, tier: str = "", send: int = 0) -> Bins:
    """Two bins of one replica; every card puts SENT on one tier in the first of them."""
    tier_bytes = np.zeros((1, stages, 2, len(TIERS)), np.int64)
    if tier:
        tier_bytes[:, :, 0, TIERS.index(tier)] = SENT
    send_bytes = np.zeros((1, stages, 2), np.int64)
    send_bytes[:, :-1, 1] = send
    none = np.zeros((1, stages, 2), np.int64)
    return Bins(
        bin_ps=10**9,
        busy_ps=np.zeros((1, stages, 2, 6), np.int64),
        tokens=none,
        steps=none,
        tier_bytes=tier_bytes,
        send_bytes=send_bytes,
        counts=np.zeros((1, stages, 2, len(COUNTS)), np.int64),
        kv_block_ns=none[:, 0],
        peak_blocks=none[:, 0],
    )


def loads(routes: Routes, cards: list[list[int]], bins: Bins) -> dict[str, LinkLoad]:
    return {each.name: each for each in link_loads(routes, np.array([cards]), bins)}


def test_every_card_loads_its_own_x16_in_both_directions_under_a_switch(routes: Routes) -> None:
    found = loads(routes, [[0, 1, 2, 3]], bins_of(1, tier="pcie"))

    assert len(found) == 8
    assert {tuple(each.sent_bytes.tolist()) for each in found.values()} == {(SENT, 0)}
    assert {each.kind for each in found.values()} == {"pcie"}


def test_four_cards_share_the_way_between_two_switches(routes: Routes) -> None:
    found = loads(routes, [list(range(8))], bins_of(1, tier="inter_switch"))
    between = [each for each in found.values() if each.kind == "inter_switch"]

    assert [each.sent_bytes[0] for each in between] == [4 * SENT] * 2
    # 4 MB over 128 GB/s.
    assert [each.busy_ps[0] for each in between] == [31_250_000] * 2


def test_the_part_of_a_rate_that_payload_can_use_sets_how_long_a_link_is_busy(
    routes: Routes,
) -> None:
    # 1 MB over half of 256 GB/s.
    sent = bins_of(1, tier="bridge")
    half = replace(routes, link_efficiency=0.5 * np.ones(len(routes.link_name)))
    found = list(link_loads(half, np.array([[[0, 1]]]), sent))

    assert [each.busy_ps[0] for each in found] == [7_812_500] * 2


def test_a_bridge_carries_what_the_pair_exchanges(routes: Routes) -> None:
    found = loads(routes, [[0, 1]], bins_of(1, tier="bridge"))

    assert [each.sent_bytes[0] for each in found.values()] == [SENT, SENT]
    assert {each.kind for each in found.values()} == {"bridge"}


def test_what_stays_in_a_card_crosses_no_link_of_the_map(routes: Routes) -> None:
    assert loads(routes, [[0, 1]], bins_of(1, tier="package")) == {}


def test_a_send_goes_one_way_along_the_path_of_each_card(routes: Routes) -> None:
    found = loads(routes, [[0, 1], [8, 9]], bins_of(2, send=SENT))

    for source, destination in ((0, 8), (1, 9)):
        for link in routes.path(source, destination):
            assert found[str(routes.link_name[link])].sent_bytes[1] >= SENT
    carried = sum(each.sent_bytes[1] for each in found.values())
    assert carried == SENT * (routes.path(0, 8).size + routes.path(1, 9).size)
    assert not any(each.sent_bytes[0] for each in found.values())


def test_links_come_in_the_order_of_the_map(routes: Routes) -> None:
    found = loads(routes, [list(range(16))], bins_of(1, tier="ethernet"))
    links = [each.link for each in found.values()]

    assert links == sorted(links)
    # 16 cards' bytes leave through the NICs of two servers.
    leaving = [each for each in found.values() if each.name.endswith(">leaf")]
    assert sum(each.sent_bytes[0] for each in leaving) == 16 * SENT
