import networkx as nx
import pytest

from topology.build import (
    build_card,
    build_chiplet,
    build_pair,
    build_pod,
    build_rack,
    build_server,
    scale_links,
)
from topology.catalog import Hardware, load_hardware
from topology.check import check_map
from topology.types import LinkKind, NodeKind, TopologyError


@pytest.fixture(scope="module")
def corsair() -> Hardware:
    return load_hardware("corsair")


def kinds(graph: "nx.DiGraph[str]") -> dict[NodeKind, int]:
    found = [data["kind"] for _, data in graph.nodes(data=True)]
    return {kind: found.count(kind) for kind in NodeKind if kind in found}


def test_a_rack_is_eight_servers_of_eight_cards_in_pairs(corsair: Hardware) -> None:
    assert kinds(build_rack(corsair)) == {
        NodeKind.CARD: 64,
        NodeKind.PCIE_SWITCH: 16,
        NodeKind.HOST: 8,
        NodeKind.NIC: 32,
        NodeKind.LEAF: 1,
        NodeKind.BRIDGE: 32,
        NodeKind.SERVER: 8,
        NodeKind.RACK: 1,
    }


def test_a_server_has_two_switches_of_four_cards_two_nics_and_a_host_port(
    corsair: Hardware,
) -> None:
    server = build_server(corsair)

    assert list(server.successors("s0.sw0")) == [
        "s0.host", "s0.sw1", "s0.nic0", "s0.nic1", "s0.c0", "s0.c1", "s0.c2", "s0.c3",
    ]  # fmt: skip
    assert server.edges["s0.sw0", "s0.sw1"]["bandwidth_bytes_per_s"] == 128e9
    assert server.edges["s0.c4", "s0.c5"]["kind"] == LinkKind.BRIDGE
    assert not server.has_edge("s0.c5", "s0.c6")


def test_a_card_in_detail_is_two_full_meshes_of_four_chiplets(corsair: Hardware) -> None:
    card = build_card(corsair)
    d2d = [data for _, _, data in card.edges(data=True) if data["kind"] == LinkKind.D2D]

    assert kinds(card) == {NodeKind.CHIPLET: 8, NodeKind.CARD: 1, NodeKind.PACKAGE: 2}
    assert len(d2d) == 2 * 4 * 3
    assert card.nodes["c0.p0"]["capacity_bytes_per_s"] == 1e12
    assert card.edges["c0.k3", "c0.k4"]["kind"] == LinkKind.PACKAGE


def test_a_chiplet_is_sixteen_slices_around_its_network(corsair: Hardware) -> None:
    chiplet = build_chiplet(corsair)

    assert kinds(chiplet) == {NodeKind.SLICE: 16, NodeKind.CHIPLET: 1, NodeKind.QUAD: 4}
    assert nx.shortest_path_length(chiplet, "k0.sl0", "k0.sl15", weight="latency_ps") == 20_000


def test_the_bridge_of_a_pair_carries_256_gb_per_s_each_direction_and_512_in_total(
    corsair: Hardware,
) -> None:
    pair = build_pair(corsair)

    assert pair.edges["c0", "c1"]["bandwidth_bytes_per_s"] == 256e9
    assert pair.nodes["b0"]["capacity_bytes_per_s"] == 512e9


def test_an_odd_last_card_has_no_bridge(corsair: Hardware) -> None:
    server = build_server(corsair, cards_per_server=3)

    assert server.nodes["s0.c2"]["within"] == "s0"
    assert list(server.successors("s0.c2")) == ["s0.sw0"]


def test_spines_carry_all_nics_of_a_rack_at_once(corsair: Hardware) -> None:
    pod = build_pod(corsair, racks=2)
    up = [
        pod.edges["r0.leaf", spine]["bandwidth_bytes_per_s"]
        for spine in pod
        if pod.nodes[spine]["kind"] == NodeKind.SPINE
    ]

    assert sum(up) == 8 * 4 * 50e9


def test_oversubscribed_spines_carry_that_fraction_of_the_nics_in_each_direction() -> None:
    # 8 servers x 4 NICs x 50 GB/s over 4 spines: 400 GB/s each, a quarter of it at 4 to 1.
    pod = build_pod(load_hardware("corsair", {"pod.spine_oversubscription": 4}), racks=2)

    for ends in (("r0.leaf", "spine0"), ("spine3", "r1.leaf")):
        assert pod.edges[ends]["bandwidth_bytes_per_s"] == 100e9


def test_a_nic_has_its_own_x16_to_its_switch() -> None:
    # 2,000 ns from card to card, less 650 ns of PCIe and 500 ns of leaf: 425 ns each way.
    figures = {"card.pcie_bandwidth_bytes_per_s": 32e9, "server.nic_bandwidth_bytes_per_s": 50e9}
    server = build_server(load_hardware("corsair", figures))

    for ends in (("s0.sw0", "s0.nic1"), ("s0.nic1", "s0.sw0")):
        assert server.edges[ends]["bandwidth_bytes_per_s"] == 32e9
        assert server.edges[ends]["latency_ps"] == 425_000
        assert server.edges[ends]["energy_j_per_bit"] == 7e-12


@pytest.mark.parametrize("name", ["corsair", "raptor"])
@pytest.mark.parametrize("detail", ["card", "chiplet"])
def test_every_builder_makes_a_valid_topology_with_positions(name: str, detail: str) -> None:
    hardware = load_hardware(name)
    maps = [
        build_card(hardware, detail=detail),
        build_pair(hardware, detail=detail),
        build_server(hardware, cards_per_server=5, detail=detail),
        build_rack(hardware, servers_per_rack=3, detail=detail),
        build_pod(hardware, racks=2, servers_per_rack=1, cards_per_server=1, detail=detail),
        build_chiplet(hardware),
    ]

    for graph in maps:
        check_map(graph)
        places = [(d["x"], d["y"]) for _, d in graph.nodes(data=True) if graph.degree(_)]
        assert len(set(places)) == len(places)


def test_fewer_nics_are_shared_by_the_switches() -> None:
    two = build_server(load_hardware("corsair", {"server.nics": 2}))

    assert two.has_edge("s0.sw0", "s0.nic0")
    assert two.has_edge("s0.sw1", "s0.nic1")


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ({"cards_per_server": 9}, r"cards_per_server must be 1 to 8 .*hardware_set server\.cards"),
        ({"servers_per_rack": 0}, "servers_per_rack must be 1 to 8"),
        ({"racks": 0}, "racks must be at least 1, found 0"),
    ],
)
def test_a_size_that_does_not_exist_is_refused(
    corsair: Hardware, size: dict[str, int], message: str
) -> None:
    with pytest.raises(TopologyError, match=message):
        build_pod(corsair, **size)  # type: ignore[arg-type]  # one of several int arguments


def test_a_bad_cable_is_a_copy_with_its_links_scaled(corsair: Hardware) -> None:
    rack = build_rack(corsair, servers_per_rack=2)
    bad = scale_links(rack, "s0.nic1>*", 0.1, latency_scale=2)

    assert bad.edges["s0.nic1", "leaf"]["bandwidth_bytes_per_s"] == 5e9
    assert bad.edges["s0.nic1", "leaf"]["latency_ps"] == 2 * 250_000
    assert bad.edges["leaf", "s0.nic1"]["bandwidth_bytes_per_s"] == 50e9
    assert rack.edges["s0.nic1", "leaf"]["bandwidth_bytes_per_s"] == 50e9


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf")])
def test_a_scale_must_be_positive(corsair: Hardware, scale: float) -> None:
    with pytest.raises(TopologyError, match=r"bandwidth_scale of '.*' must be above 0"):
        scale_links(build_server(corsair), "*", scale)


def test_a_pattern_that_matches_nothing_names_links_that_exist(corsair: Hardware) -> None:
    with pytest.raises(TopologyError, match=r"no link matches 's0\.nik1>\*'.*s0\.nic1>s0\.sw0"):
        scale_links(build_server(corsair), "s0.nik1>*", 0.5)
