"""Servers of two kinds on one leaf."""

from pathlib import Path

import numpy as np
import pytest

from topology.build import build_pod
from topology.catalog import load_hardware
from topology.export import export_map
from topology.inventory import count_words
from topology.mixed import MixedHardware
from topology.route import Routes, compile_routes
from topology.topology_yaml import read_topology
from topology.types import Graph, LinkKind, TopologyError

H200, CORSAIR = load_hardware("h200"), load_hardware("corsair", {"links.efficiency": 0.9})
MIXED = MixedHardware(first=H200, second=CORSAIR, first_servers=1)


@pytest.fixture(scope="module")
def graph() -> Graph:
    """One server of eight H200 and two of eight Corsair cards."""
    return build_pod(MIXED, servers_per_rack=3)


@pytest.fixture(scope="module")
def routes(graph: Graph) -> Routes:
    return compile_routes(graph)


def test_a_message_between_kinds_crosses_the_leaf_on_links_of_both(routes: Routes) -> None:
    """4 us card to card between H200 servers, 2 us between Corsair servers: half of each."""
    path = routes.path(0, 8)

    assert routes.link_name[path].tolist() == [
        "s0.c0>s0.sw0",
        "s0.sw0>s0.nic0",
        "s0.nic0>leaf",
        "leaf>s1.nic0",
        "s1.nic0>s1.sw0",
        "s1.sw0>s1.c0",
    ]
    assert routes.latency_ps(0, 8) == 3_000_000
    assert routes.link_efficiency[path].tolist() == [0.85] * 3 + [0.9] * 3


@pytest.mark.parametrize(("cards", "kind"), [(range(8), H200), (range(8, 24), CORSAIR)])
def test_cards_of_one_kind_have_the_levels_and_latencies_of_a_rack_of_their_own(
    routes: Routes, cards: range, kind: object
) -> None:
    assert kind in (H200, CORSAIR)
    hardware = H200 if kind is H200 else CORSAIR
    alone = compile_routes(build_pod(hardware, servers_per_rack=len(cards) // 8))
    within = routes.between(cards)
    own = np.array(cards)

    assert [name for name, _ in within.levels] == [name for name, _ in alone.levels]
    for (_, mixed), (_, units) in zip(within.levels, alone.levels, strict=True):
        assert (
            np.unique(mixed[own], return_inverse=True)[1].tolist()
            == np.unique(units, return_inverse=True)[1].tolist()
        )
    at = np.arange(len(own))
    assert (within.latency_ps(own[:, None], own) == alone.latency_ps(at[:, None], at)).all()


def test_a_card_carries_its_hardwares_name_and_a_file_keeps_it(
    graph: Graph, tmp_path: Path
) -> None:
    export_map(graph, tmp_path / "mixed.yaml")
    again = read_topology(tmp_path / "mixed.yaml")

    assert graph.nodes["s0.c7"]["hardware"] == again.nodes["s0.c7"]["hardware"] == "h200"
    assert again.nodes["s2.c0"]["hardware"] == "corsair"
    assert again.edges["s1.sw0", "s1.nic0"]["efficiency"] == 0.9
    assert again.edges["s0.sw0", "s0.nic0"]["efficiency"] == 0.85
    assert count_words(graph).startswith("1 rack, 3 servers, 8 bridged pairs, 24 cards, 1 NVSwitch")


def test_a_spine_carries_the_nics_of_both_kinds() -> None:
    """8 x 50 + 4 x 50 GB/s under the first leaf, 8 x 50 under the second, over four spines."""
    pod = build_pod(MIXED, racks=2, servers_per_rack=2)
    first, second = (pod.edges[f"r{rack}.leaf", "spine0"] for rack in range(2))

    assert (first["kind"], first["bandwidth_bytes_per_s"]) == (LinkKind.SPINE, 150e9)
    assert second["bandwidth_bytes_per_s"] == 100e9
    assert pod.nodes["r1.s0.c0"]["hardware"] == "corsair"


def test_a_rack_holds_shares_of_both_kinds() -> None:
    """1/4 for the H200 server and 6/8 for six of Corsair fill a rack; a seventh is too many."""
    full = build_pod(MIXED, servers_per_rack=7)

    assert full.nodes["s6.c7"]["hardware"] == "corsair"
    with pytest.raises(TopologyError) as caught:
        build_pod(MIXED, servers_per_rack=8)
    assert str(caught.value) == (
        "servers_per_rack: 1 of at most 4 (h200) and 7 of at most 8 (corsair) take 1.12 racks; "
        "spread them over more racks, or change rack.servers with hardware_set"
    )
    with pytest.raises(TopologyError, match=r"must be 1 to 8 \(server.cards of h200\), found 9"):
        build_pod(MIXED, servers_per_rack=2, cards_per_server=9)


def test_only_one_kind_may_join_gpus_of_several_servers() -> None:
    nvl72 = load_hardware("gb200-nvl72")
    mixed = MixedHardware(first=nvl72, second=nvl72, first_servers=1)

    with pytest.raises(TopologyError, match="both kinds have scale-up networks of several servers"):
        build_pod(mixed, servers_per_rack=2)
