import re
from pathlib import Path

import networkx as nx
import numpy as np
import pytest

from topology.build import build_card, build_level, build_pod, build_rack, build_server
from topology.catalog import load_hardware
from topology.check import check_map
from topology.drawing import make_scene
from topology.inventory import count_words
from topology.route import Routes, compile_routes
from topology.tiers import distances, tiers_of
from topology.topology_yaml import read_topology, write_map
from topology.types import LinkKind, TopologyError

GPUS = ("h100", "b200", "gb200-nvl72", "rtx-pro-6000", "mi300x", "gaudi2")


def card(routes: Routes, name: str) -> int:
    return int(np.flatnonzero(routes.card_id == name)[0])


def names(routes: Routes, src: str, dst: str) -> list[str]:
    path = routes.path(card(routes, src), card(routes, dst))
    return [str(name) for name in routes.link_name[path]]


@pytest.fixture(scope="module")
def h100() -> Routes:
    return compile_routes(build_pod(load_hardware("h100"), racks=2, servers_per_rack=2))


@pytest.mark.parametrize(
    ("far", "latency_ps", "narrowest"),
    [
        ("r0.s0.c1", 1_000_000, 450e9),  # up to the NVSwitch and down again
        ("r0.s0.c7", 1_000_000, 450e9),
        ("r0.s1.c0", 4_000_000, 50e9),  # NIC, leaf, NIC
        ("r1.s0.c0", 5_000_000, 50e9),  # a second leaf and a spine, 0.5 us each
    ],
)
def test_gpus_of_a_server_are_near_by_nvlink_and_far_by_their_nics(
    h100: Routes, far: str, latency_ps: int, narrowest: float
) -> None:
    src, dst = card(h100, "r0.s0.c0"), card(h100, far)
    path = h100.path(src, dst)

    assert h100.latency_ps(src, dst) == h100.link_latency_ps[path].sum() == latency_ps
    assert h100.link_bandwidth_bytes_per_s[path].min() == narrowest


def test_each_gpu_sends_by_the_nic_of_its_own(h100: Routes) -> None:
    assert names(h100, "r0.s0.c3", "r0.s0.c5") == ["r0.s0.c3>r0.s0.nvsw0", "r0.s0.nvsw0>r0.s0.c5"]
    assert names(h100, "r0.s0.c3", "r0.s1.c5") == [
        "r0.s0.c3>r0.s0.sw3", "r0.s0.sw3>r0.s0.nic3", "r0.s0.nic3>r0.leaf",
        "r0.leaf>r0.s1.nic5", "r0.s1.nic5>r0.s1.sw5", "r0.s1.sw5>r0.s1.c5",
    ]  # fmt: skip


def test_levels_are_nvlink_then_leaf_then_spine(h100: Routes) -> None:
    levels = dict(h100.levels)

    assert list(levels) == ["nvlink", "ethernet", "spine"]
    assert [np.unique(unit).size for unit in levels.values()] == [4, 2, 1]


def test_an_nvl72_rack_is_one_domain_of_18_servers() -> None:
    routes = compile_routes(build_rack(load_hardware("gb200-nvl72")))
    levels = dict(routes.levels)

    assert routes.card_id.size == 72
    assert list(levels) == ["nvlink", "ethernet", "spine"]
    assert np.unique(levels["nvlink"]).size == 1
    assert names(routes, "s0.c0", "s17.c3") == ["s0.c0>nvsw0", "nvsw0>s17.c3"]
    assert routes.latency_ps(0, 71) == 1_000_000


def test_a_server_of_an_nvl72_rack_alone_keeps_its_part_of_the_domain() -> None:
    server = build_server(load_hardware("gb200-nvl72"))

    assert count_words(server) == "1 server, 4 GPUs, 1 NVSwitch, 5 PCIe switches, 1 host, 4 NICs"


@pytest.mark.parametrize(("name", "rate"), [("mi300x", 64e9), ("gaudi2", 37.5e9)])
def test_gpus_of_a_mesh_have_a_link_to_each_other(name: str, rate: float) -> None:
    hardware = load_hardware(name)
    routes = compile_routes(build_rack(hardware, servers_per_rack=2))
    every = [(a, b) for a in range(8) for b in range(8) if a != b]

    assert {len(routes.path(a, b)) for a, b in every} == {1}
    assert len({int(routes.path(a, b)[0]) for a, b in every}) == 8 * 7
    assert routes.link_bandwidth_bytes_per_s[routes.path(2, 6)].tolist() == [rate]
    assert routes.latency_ps(2, 6) == round(hardware["mesh.latency_s"] * 1e12)
    assert routes.latency_ps(3, 3) == 0
    assert len(routes.path(0, 8)) == 6
    assert list(dict(routes.levels)) == ["mesh", "ethernet", "spine"]


def test_four_gpus_of_a_mesh_server_and_a_smaller_mesh_are_joined_over_pcie() -> None:
    hardware = load_hardware("mi300x", {"mesh.gpus": 4})
    routes = compile_routes(build_server(hardware))

    assert list(dict(routes.levels)) == ["mesh", "inter_switch", "ethernet", "spine"]
    assert names(routes, "s0.c0", "s0.c4") == [
        "s0.c0>s0.sw0", "s0.sw0>s0.root", "s0.root>s0.sw4", "s0.sw4>s0.c4",
    ]  # fmt: skip
    assert routes.latency_ps(0, 4) == 2 * 500_000 + 2 * 300_000


def test_pcie_cards_have_the_levels_of_pcie() -> None:
    routes = compile_routes(build_rack(load_hardware("rtx-pro-6000")))

    assert [name for name, _ in routes.levels] == [
        "bridge", "pcie", "inter_switch", "ethernet", "spine",
    ]  # fmt: skip
    assert names(routes, "s0.c0", "s0.c3") == ["s0.c0>s0.sw0", "s0.sw0>s0.c3"]
    assert routes.latency_ps(0, 4) == 1_300_000


@pytest.mark.parametrize("name", [name for name in GPUS if name != "gaudi2"])
def test_no_way_between_gpus_is_longer_than_the_shortest_of_networkx(name: str) -> None:
    graph = build_rack(load_hardware(name), servers_per_rack=2)
    routes = compile_routes(graph)
    hosts = [node for node in graph if node.endswith("host")]
    for dst in (1, routes.card_id.size // 2 - 1, routes.card_id.size - 1):
        ends = str(routes.card_id[0]), str(routes.card_id[dst])
        others = [str(other) for other in routes.card_id if other not in ends]
        nearest = nx.shortest_path_length(
            graph.subgraph(set(graph) - set(hosts) - set(others)), *ends, weight="latency_ps"
        )

        assert int(routes.latency_ps(0, dst)) == int(nearest)


def test_a_mesh_is_taken_even_where_pcie_is_nearer() -> None:
    """Gaudi 2: 2 us over its own Ethernet, 1.6 us over PCIe; the mesh has the bandwidth."""
    routes = compile_routes(build_server(load_hardware("gaudi2")))

    assert names(routes, "s0.c0", "s0.c1") == ["s0.c0>s0.c1"]


def test_latencies_of_many_pairs_are_those_of_their_paths() -> None:
    routes = compile_routes(build_rack(load_hardware("gaudi2"), servers_per_rack=2))
    src, dst = np.indices((16, 16))
    along = [
        [routes.link_latency_ps[routes.path(a, b)].sum() for b in range(16)] for a in range(16)
    ]

    np.testing.assert_array_equal(routes.latency_ps(src, dst), along)


def test_a_gpu_server_is_counted_and_listed_by_its_own_words() -> None:
    hardware = load_hardware("h100")
    server = build_server(hardware)
    tiers = {tier.name: tier for tier in tiers_of(server, hardware)}

    assert count_words(server) == "1 server, 8 GPUs, 1 NVSwitch, 9 PCIe switches, 1 host, 8 NICs"
    assert tiers["NVLink"].links == 8
    assert tiers["NVLink"].bandwidth_confidence == "published"
    assert list(tiers) == ["NVLink", "card x16", "inter-switch", "host x16", "NIC x16"]
    assert [way.relation for way in distances(compile_routes(server))] == [
        "in one scale-up network"
    ]


@pytest.mark.parametrize("name", GPUS)
@pytest.mark.parametrize("level", ["card", "server", "rack"])
def test_no_two_boxes_of_a_gpu_map_overlap(name: str, level: str) -> None:
    scene = make_scene(build_level(load_hardware(name), level, {}))
    boxes = [box for box in scene.boxes if not box.outline]

    assert not [
        (one.name, other.name)
        for index, one in enumerate(boxes)
        for other in boxes[:index]
        if abs(one.x - other.x) < (one.width + other.width) / 2
        and abs(one.y - other.y) < (one.height + other.height) / 2
    ]


def test_a_mesh_is_drawn_as_a_bar_with_a_line_to_each_gpu() -> None:
    server = build_server(load_hardware("mi300x"))
    lines = [line for line in make_scene(server).lines if line.kind == LinkKind.MESH]

    assert len(lines) == 8
    assert all(line.x == line.x2 for line in lines)
    assert sum(d["kind"] == LinkKind.MESH for *_, d in server.edges(data=True)) == 8 * 7


def test_a_gpu_has_no_chiplets_and_no_pairs() -> None:
    hardware = load_hardware("h100")

    assert count_words(build_card(hardware)) == "1 GPU"
    for level in ("chiplet", "pair"):
        expected = re.escape(f"card, server, rack, pod (hardware h100), found '{level}'")
        with pytest.raises(TopologyError, match=expected):
            build_level(hardware, level)


@pytest.mark.parametrize("name", ["gb200-nvl72", "mi300x"])
def test_a_gpu_map_may_be_written_and_read_again(name: str, tmp_path: Path) -> None:
    graph = build_rack(load_hardware(name), servers_per_rack=2)
    path = tmp_path / "map.yaml"
    path.write_text(write_map(graph))
    routes, again = compile_routes(graph), compile_routes(read_topology(path))

    assert [unit for unit, _ in routes.levels] == [unit for unit, _ in again.levels]
    np.testing.assert_array_equal(routes.path(0, 5), again.path(0, 5))


def test_wrong_scale_up_networks_are_named() -> None:
    mesh = build_server(load_hardware("mi300x"))
    mesh.remove_edges_from([("s0.c1", "s0.c2"), ("s0.c2", "s0.c1")])
    with pytest.raises(
        TopologyError, match=r"c1 and s0\.c2 are in a mesh with s0\.c0 and lack a link"
    ):
        check_map(mesh)

    both = build_server(load_hardware("h100"))
    link = both.edges["s0.c0", "s0.nvsw0"] | {"kind": LinkKind.MESH}
    both.add_edge("s0.c0", "s0.c1", **link)
    both.add_edge("s0.c1", "s0.c0", **link)
    with pytest.raises(TopologyError, match="one kind of link, found NVLink and GPU mesh"):
        check_map(both)

    rack = build_rack(load_hardware("h100"), servers_per_rack=2)
    for ends in (("s0.c0", "s1.nvsw0"), ("s1.nvsw0", "s0.c0")):
        rack.add_edge(*ends, **rack.edges["s0.c1", "s0.nvsw0"])
    with pytest.raises(TopologyError) as caught:
        check_map(rack)
    assert str(caught.value).splitlines() == [
        "h100: s0.c0 must hang under one NVSwitch at most, found 2",
        "h100: s0.c0>s1.nvsw0: NVLink stays within one holder, found s0 and s1",
    ]


def test_cards_of_chiplets_on_an_nvswitch_have_no_bridges() -> None:
    hardware = load_hardware("raptor-nvl72")
    routes = compile_routes(build_rack(hardware))

    assert routes.card_id.size == 72
    assert list(dict(routes.levels)) == ["nvlink", "ethernet", "spine"]
    assert names(routes, "s0.c0", "s17.c3") == ["s0.c0>nvsw0", "nvsw0>s17.c3"]
    assert routes.latency_ps(0, 71) == 500_000
    assert routes.link_bandwidth_bytes_per_s[routes.path(0, 71)].tolist() == [1e12, 1e12]
    # 5 pJ a bit of each of the two cables
    assert routes.link_energy_j_per_bit[routes.path(0, 71)].tolist() == [5e-12, 5e-12]
    check_map(build_rack(hardware, servers_per_rack=2, detail="chiplet"))
