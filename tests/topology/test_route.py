import pickle
import time
from itertools import pairwise

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from topology.build import build_card, build_pair, build_pod, build_rack, build_server, scale_links
from topology.catalog import Hardware, load_hardware
from topology.route import Routes, compile_routes
from topology.types import LinkKind, NodeKind, TopologyError

CORSAIR = load_hardware("corsair")


@pytest.fixture(scope="module")
def pod() -> Routes:
    return compile_routes(build_pod(CORSAIR, racks=2))


def card(routes: Routes, name: str) -> int:
    return int(np.flatnonzero(routes.card_id == name)[0])


@pytest.mark.parametrize(
    ("far", "latency_ps"),
    [
        ("r0.s0.c0", 0),
        ("r0.s0.c1", 400_000),  # the bridge
        ("r0.s0.c2", 650_000),  # one PCIe switch
        ("r0.s0.c4", 765_000),  # both PCIe switches of the server
        ("r0.s1.c0", 2_000_000),  # another server
        ("r0.s7.c7", 2_000_000),
        ("r1.s0.c0", 3_000_000),  # another rack: a second leaf and a spine
    ],
)
def test_legs_add_up_to_the_published_latency(pod: Routes, far: str, latency_ps: int) -> None:
    src, dst = card(pod, "r0.s0.c0"), card(pod, far)

    assert pod.latency_ps(src, dst) == latency_ps
    assert pod.link_latency_ps[pod.path(src, dst)].sum() == latency_ps


def test_a_path_is_a_chain_of_links_from_source_to_destination(pod: Routes) -> None:
    names = pod.link_name[pod.path(card(pod, "r0.s0.c0"), card(pod, "r1.s3.c6"))].tolist()
    ends = [name.split(">") for name in names]

    assert (ends[0][0], ends[-1][1]) == ("r0.s0.c0", "r1.s3.c6")
    assert all(first[1] == second[0] for first, second in pairwise(ends))
    assert pod.link_kind[pod.path(card(pod, "r0.s0.c0"), card(pod, "r1.s3.c6"))].tolist() == [
        LinkKind.PCIE, LinkKind.NIC, LinkKind.ETHERNET, LinkKind.SPINE,
        LinkKind.SPINE, LinkKind.ETHERNET, LinkKind.NIC, LinkKind.PCIE,
    ]  # fmt: skip


def nearest_ps(graph: "nx.DiGraph[str]", src: str, dst: str) -> int:
    """NetworkX's answer where cards and hosts pass nothing on."""
    passing = [
        name
        for name, data in graph.nodes(data=True)
        if data["kind"] not in (NodeKind.CARD, NodeKind.HOST) or name in (src, dst)
    ]
    length = nx.shortest_path_length(graph.subgraph(passing), src, dst, weight="latency_ps")
    return int(length)


@settings(max_examples=20, deadline=None)
@given(
    racks=st.integers(1, 3),
    servers=st.integers(1, 3),
    cards=st.integers(1, 8),
    nics=st.integers(1, 4),
    switches=st.integers(1, 3),
    data=st.data(),
)
def test_no_path_is_longer_than_the_shortest_of_networkx(
    racks: int, servers: int, cards: int, nics: int, switches: int, data: st.DataObject
) -> None:
    hardware = load_hardware("corsair", {"server.nics": nics, "server.pcie_switches": switches})
    graph = build_pod(hardware, racks=racks, servers_per_rack=servers, cards_per_server=cards)
    routes = compile_routes(graph)
    count = len(routes.card_id)
    table = routes.latency_ps(np.arange(count)[:, None], np.arange(count))
    for _ in range(10):
        src, dst = data.draw(st.integers(0, count - 1)), data.draw(st.integers(0, count - 1))
        expected = nearest_ps(graph, str(routes.card_id[src]), str(routes.card_id[dst]))

        assert table[src, dst] == expected
        assert routes.link_latency_ps[routes.path(src, dst)].sum() == expected


def test_membership_follows_the_topology(pod: Routes) -> None:
    names = ["r0.s0.c0", "r0.s0.c1", "r0.s0.c4", "r0.s1.c0", "r1.s0.c0"]
    rows = [card(pod, name) for name in names]

    assert pod.pair[rows].tolist() == [0, 0, 2, 4, 32]
    assert pod.switch[rows].tolist() == [0, 0, 1, 2, 16]
    assert pod.server[rows].tolist() == [0, 0, 0, 1, 8]
    assert pod.rack[rows].tolist() == [0, 0, 0, 0, 1]


def test_a_card_finds_the_links_of_every_tier(pod: Routes) -> None:
    row = card(pod, "r0.s0.c5")

    assert pod.link_name[pod.bridge_link[row]] == "r0.s0.c5>r0.s0.c4"
    assert pod.link_name[pod.inter_switch_link[row]] == "r0.s0.sw1>r0.s0.sw0"
    assert pod.link_name[pod.up_links[row]].tolist() == [
        "r0.s0.c5>r0.s0.sw1", "r0.s0.sw1>r0.s0.nic3", "r0.s0.nic3>r0.leaf", "r0.leaf>spine1",
    ]  # fmt: skip
    assert pod.link_name[pod.down_links[row, 0]] == "r0.s0.sw1>r0.s0.c5"
    assert pod.link_name[pod.nic_links[row]].tolist() == [
        "r0.s0.nic2>r0.leaf", "r0.s0.nic3>r0.leaf",
    ]  # fmt: skip


def test_home_links_load_every_nic_and_spine_evenly(pod: Routes) -> None:
    for tier in (2, 3):
        _, load = np.unique(pod.up_links[:, tier], return_counts=True)

        assert set(load.tolist()) == {2 if tier == 2 else 16}


def test_flows_spread_over_equal_nics_and_each_keeps_its_own(pod: Routes) -> None:
    paths = [pod.path(src, dst) for src in range(8) for dst in range(64, 128)]
    again = [pod.path(src, dst) for src in range(8) for dst in range(64, 128)]
    _, load = np.unique([way[2] for way in paths], return_counts=True)

    assert all((a == b).all() for a, b in zip(paths, again, strict=True))
    assert len(load) == 4
    assert load.min() > 0.8 * load.mean()


def test_a_bad_cable_shows_in_the_link_that_collectives_find() -> None:
    routes = compile_routes(scale_links(build_rack(CORSAIR), "s0.nic1>*", 0.1))
    nics = routes.nic_links[card(routes, "s0.c0")]

    assert routes.link_bandwidth_bytes_per_s[nics].tolist() == [50e9, 5e9]


def test_topologies_without_switches_route_too() -> None:
    pair = compile_routes(build_pair(CORSAIR))
    alone = compile_routes(build_card(CORSAIR))

    assert pair.latency_ps([0, 0], [0, 1]).tolist() == [0, 400_000]
    assert pair.link_name.tolist() == ["c0>c1", "c1>c0"]
    assert alone.latency_ps(0, 0) == 0
    assert alone.path(0, 0).size == 0


def test_detail_inside_cards_changes_no_route() -> None:
    plain = compile_routes(build_server(CORSAIR))
    detailed = compile_routes(build_server(CORSAIR, detail="chiplet"))

    assert detailed.card_id.tolist() == plain.card_id.tolist()
    assert sorted(detailed.link_name.tolist()) == sorted(plain.link_name.tolist())
    np.testing.assert_array_equal(
        detailed.latency_ps(np.arange(8)[:, None], np.arange(8)),
        plain.latency_ps(np.arange(8)[:, None], np.arange(8)),
    )


def test_a_server_without_a_nic_cannot_be_reached() -> None:
    rack = build_rack(CORSAIR, servers_per_rack=2)
    rack.remove_edges_from([*rack.in_edges("leaf"), *rack.out_edges("leaf")])

    with pytest.raises(TopologyError, match="no link joins"):
        compile_routes(rack)


def test_a_server_that_is_reached_only_through_another_is_refused() -> None:
    rack = build_rack(CORSAIR, servers_per_rack=3)
    rack.add_node("leaf2", **rack.nodes["leaf"])
    for nic in ("s1.nic3", "s2.nic0", "s2.nic1", "s2.nic2", "s2.nic3"):
        rack.add_edge(nic, "leaf2", **rack.edges[nic, "leaf"])
        rack.add_edge("leaf2", nic, **rack.edges["leaf", nic])
        rack.remove_edges_from([(nic, "leaf"), ("leaf", nic)])

    with pytest.raises(TopologyError, match=r"no path from s0\.sw0 to s2\.sw0"):
        compile_routes(rack)


def test_2048_cards_build_and_route_quickly_in_tables_that_follow_the_cards() -> None:
    began_s = time.process_time()
    routes = compile_routes(build_pod(CORSAIR, racks=32))
    took_s = time.process_time() - began_s

    assert len(routes.card_id) == 2048
    assert took_s < 10
    assert len(pickle.dumps(routes)) < 2048 * 2000


def test_hardware_moves_the_latencies() -> None:
    slow: Hardware = load_hardware("corsair", {"rack.network_latency_s": 3e-6})
    routes = compile_routes(build_rack(slow, servers_per_rack=2))

    assert routes.latency_ps(0, 8) == 3_000_000
