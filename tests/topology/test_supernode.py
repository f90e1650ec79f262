"""Nodes of 32 cards on one PCIe fabric in place of servers of eight."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from topology.build import build_pod, build_rack, build_server, scale_links, server_sizes
from topology.catalog import load_hardware
from topology.drawing import make_scene
from topology.inventory import count_words
from topology.route import Routes, compile_routes
from topology.state import take_down
from topology.tiers import distances, tiers_of
from topology.topology_yaml import read_topology, write_map
from topology.types import Graph, TopologyError


@pytest.fixture(scope="module")
def rack() -> Graph:
    return build_rack(load_hardware("corsair", fabric="supernode"))


@pytest.fixture(scope="module")
def routes(rack: Graph) -> Routes:
    return compile_routes(rack)


def names(routes: Routes, src: int, dst: int) -> list[str]:
    return [str(name) for name in routes.link_name[routes.path(src, dst)]]


def test_two_nodes_hold_the_cards_of_eight_servers(rack: Graph) -> None:
    assert count_words(rack) == (
        "1 rack, 2 nodes, 32 bridged pairs, 64 cards, 2 PCIe fabrics, 2 hosts, 16 NICs, "
        "1 leaf switch"
    )
    # nodes of the graph: the words' 152, and no others
    assert rack.number_of_nodes() == 1 + 2 + 32 + 64 + 2 + 2 + 16 + 1
    # 64 x16 of cards, 32 bridges, 2 hosts, 16 NICs to their fabric and to the leaf; both directions
    assert rack.number_of_edges() == 2 * (64 + 32 + 2 + 16 + 16)


@pytest.mark.parametrize(
    ("far", "latency_ps", "narrowest"),
    [
        (1, 400_000, 256e9),  # the bridge of the pair
        (2, 735_000, 64e9),  # both ports, 650 - 115 ns, and the fabric's 200 ns
        (31, 735_000, 64e9),
        (32, 2_170_000, 50e9),  # JetStream's 2 us, and at both ends 200 ns for 115
    ],
)
def test_a_node_is_one_hop_across_and_the_next_one_is_behind_nics(
    routes: Routes, far: int, latency_ps: int, narrowest: float
) -> None:
    path = routes.path(0, far)

    assert routes.latency_ps(0, far) == routes.link_latency_ps[path].sum() == latency_ps
    assert routes.link_bandwidth_bytes_per_s[path].min() == narrowest


def test_messages_of_a_node_pass_its_fabric_and_no_nic(routes: Routes) -> None:
    far = [name.partition(">") for name in names(routes, 0, 32)]

    assert names(routes, 0, 30) == ["s0.c0>s0.fabric0", "s0.fabric0>s0.c30"]
    assert all(one[2] == other[0] for one, other in pairwise(far))
    assert [end.rstrip("01234567") for _, _, end in far] == [
        "s0.fabric", "s0.nic", "leaf", "s1.nic", "s1.fabric", "s1.c",
    ]  # fmt: skip


def test_a_node_is_one_domain_of_32_cards(routes: Routes) -> None:
    sizes = {name: int(np.bincount(unit).max()) for name, unit in routes.levels}

    assert sizes == {"bridge": 2, "pcie": 32, "inter_switch": 32, "ethernet": 64, "spine": 64}


def test_tiers_and_distances_say_how_well_they_are_known(rack: Graph, routes: Routes) -> None:
    tiers = {tier.name: tier for tier in tiers_of(rack, load_hardware("corsair-supernode"))}
    near = {distance.relation: distance.latency_s for distance in distances(routes)}

    assert (tiers["card x16"].links, tiers["card x16"].bandwidth_confidence) == (64, "secondary")
    assert tiers["card x16"].latency_confidence == "derived"
    assert near == pytest.approx(
        {
            "of one pair (bridge)": 400e-9,
            "under one PCIe switch": 735e-9,
            "in one rack": 2.17e-6,
        }
    )


def test_the_fabric_of_a_file_and_of_an_argument_are_the_same() -> None:
    file, argument = load_hardware("corsair-supernode"), load_hardware("corsair", {}, "supernode")

    assert (file.name, file.fabric, file.figures) == (
        argument.name,
        argument.fabric,
        argument.figures,
    )
    assert load_hardware("corsair-supernode", fabric="supernode") == file
    assert load_hardware("corsair", fabric="jetstream") == load_hardware("corsair")


def test_a_file_of_ones_own_puts_other_figures_into_the_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path("mine.yaml")
    path.write_text(
        "base: [corsair, supernode]\nfigures:\n"
        "  server.pcie_latency_s: {value: 300, unit: ns, confidence: assumed, low: 300,\n"
        "    high: 300, source: 'beyond the bundled range'}\n"
    )
    routes = compile_routes(build_rack(load_hardware(path, fabric="supernode")))

    assert routes.latency_ps(0, 31) == 300_000
    assert routes.card_id.size == 64


def test_slower_links_and_parts_that_are_down_have_their_names(rack: Graph) -> None:
    slow = compile_routes(scale_links(rack, "s0.c31>*", 0.5, 2.0))
    half = compile_routes(take_down(rack, ["s0.fabric0"]), cut=True)

    assert slow.latency_ps(31, 0) == 2 * 367_500 + 367_500
    assert slow.link_bandwidth_bytes_per_s[slow.path(31, 0)].min() == 32e9
    assert half.card_id.tolist() == [f"s1.c{index}" for index in range(32)]


def test_a_topology_file_of_two_nodes_is_read_back(rack: Graph, tmp_path: Path) -> None:
    path = tmp_path / "nodes.yaml"
    path.write_text(write_map(rack))
    read = read_topology(path)

    assert set(read.edges) == set(rack.edges)
    assert compile_routes(read).latency_ps(0, 33) == 2_170_000


def test_two_nodes_are_drawn_face_to_face_and_apart(rack: Graph) -> None:
    boxes = {box.name: box for box in make_scene(rack).boxes}
    upper, leaf, lower = boxes["s0"], boxes["leaf"], boxes["s1"]

    assert upper.x == lower.x
    assert upper.y - upper.height / 2 > leaf.y + leaf.height / 2
    assert leaf.y - leaf.height / 2 > lower.y + lower.height / 2
    assert boxes["s0.fabric0"].width > 16 * boxes["s0.b0"].width


@pytest.mark.parametrize(
    ("cards", "said"),
    [
        (24, r"must divide the 32 cards of a node .*\(1, 2, 4, 8, 16, 32\), found 24"),
        (64, r"cards_per_server must be 1 to 32 \(server.cards of corsair-supernode\), found 64"),
    ],
)
def test_nodes_that_the_fabric_cannot_be_cut_into_are_refused(cards: int, said: str) -> None:
    with pytest.raises(TopologyError, match=said):
        build_server(load_hardware("corsair-supernode"), cards_per_server=cards)


def test_servers_may_have_any_number_of_cards_and_nodes_a_power_of_two() -> None:
    assert server_sizes(load_hardware("corsair")) == (1, 2, 3, 4, 5, 6, 7, 8)
    assert server_sizes(load_hardware("corsair-supernode")) == (1, 2, 4, 8, 16, 32)


@pytest.mark.parametrize(
    ("name", "fabric", "said"),
    [
        ("corsair", "supernod", "unknown fabric 'supernod'; did you mean 'supernode'"),
        ("supernode", "auto", "no hardware 'supernode'; did you mean 'corsair-supernode'"),
        ("h100", "supernode", "fabric supernode joins hardware of kind dimc_card, and h100 is of"),
        ("h100", "jetstream", "fabric jetstream joins hardware of kind dimc_card, and h100 is of"),
        ("corsair-supernode", "jetstream", "corsair-supernode is on the fabric supernode, found"),
    ],
)
def test_hardware_without_that_fabric_is_refused(name: str, fabric: str, said: str) -> None:
    with pytest.raises(TopologyError, match=said):
        load_hardware(name, fabric=fabric)


def test_an_unknown_fabric_of_a_file_has_its_line_and_the_nearest_name(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("base: corsair\nfabric: supernod\n")

    with pytest.raises(
        TopologyError, match=r"mine.yaml:2: unknown fabric 'supernod'; did you mean"
    ):
        load_hardware(path)


def test_four_racks_of_nodes_are_a_pod() -> None:
    routes = compile_routes(build_pod(load_hardware("corsair-supernode"), racks=4))

    # a second leaf and a spine, 0.5 us each
    assert routes.latency_ps(0, 255) == 2_170_000 + 2 * 500_000
