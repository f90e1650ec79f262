import json
from pathlib import Path

import networkx as nx
import pytest

from corsair_common.files import WriteError
from topology.build import build_card, build_pod, build_server
from topology.catalog import load_hardware
from topology.export import export_map
from topology.route import compile_routes
from topology.strict_yaml import parse_document
from topology.topology_yaml import is_map, read_topology
from topology.types import Graph, TopologyError

CORSAIR = load_hardware("corsair")
TWO_CARDS = """\
name: two-cards
nodes:
  s0: {kind: server}
  s0.sw0: {kind: pcie_switch, within: s0}
  s0.c0: {kind: card, within: s0, capacity: 64 GB/s}
  s0.c1: {kind: card, within: s0}
links:
  - {from: s0.c0, to: s0.sw0, kind: pcie, bandwidth: 64 GB/s, latency: 325 ns}
  - {from: s0.c1, to: s0.sw0, kind: pcie, bandwidth: 64 GB/s, latency: 0.2 us, energy: 7 pJ/bit}
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "map.yaml"
    path.write_text(text)
    return path


def test_a_users_topology_routes_like_ours(tmp_path: Path) -> None:
    routes = compile_routes(read_topology(written(tmp_path, TWO_CARDS)))

    assert routes.latency_ps(0, 1) == 525_000
    assert routes.link_name[routes.path(0, 1)].tolist() == ["s0.c0>s0.sw0", "s0.sw0>s0.c1"]
    assert routes.link_energy_j_per_bit.max() == 7e-12


def test_every_wrong_line_of_a_topology_is_named_at_once(tmp_path: Path) -> None:
    text = (
        TWO_CARDS.replace("kind: server", "kind: sever")
        .replace("capacity: 64 GB/s", "capacity: 64")
        .replace("latency: 325 ns}", "latency: 325 ns, colour: red}")
        .replace("to: s0.sw0, kind: pcie, bandwidth: 64 GB/s, latency: 0.2 us", "to: s0.sw9, "
                 "kind: pcie, bandwidth: 64 GB/s, latency: .nan us")
    )  # fmt: skip
    text += "  - {from: s0.c0, to: s0.sw0, kind: pcie, bandwidth: -1 GB/s, latency: 3 m}\n"
    with pytest.raises(TopologyError) as caught:
        read_topology(written(tmp_path, text))

    assert [line.removeprefix(f"{tmp_path}/") for line in str(caught.value).splitlines()] == [
        "map.yaml:3: s0: unknown kind 'sever'; did you mean 'server'? (allowed: "
        "slice, chiplet, card, pcie_switch, host, nic, leaf, spine, nvswitch, package, bridge, "
        "server, rack, quad)",
        "map.yaml:5: s0.c0: capacity must be a number and a unit such as 64 GB/s, found 64",
        "map.yaml:8: unknown key 'colour' (allowed: from, to, kind, bandwidth, latency, energy, "
        "efficiency, one_way)",
        "map.yaml:9: to: no node 's0.sw9'; did you mean 's0.sw0'?",
        "map.yaml:10: bandwidth must be finite and 0 or more, found '-1 GB/s'",
        "map.yaml:10: latency must be a number and a unit such as 64 ns, found '3 m'",
    ]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("s0: {kind: server}", "s0: {kind: server, within: r0}\n  r0: {kind: rack, within: s0}",
         "containment is a cycle"),
        ("to: s0.sw0, kind: pcie, bandwidth: 64 GB/s, latency: 0.2 us",
         "to: s0.c0, kind: bridge, one_way: true, bandwidth: 64 GB/s, latency: 0.2 us",
         r"s0\.c1>s0\.c0 has no return link"),
        ("  - {from: s0.c1", "  # {from: s0.c1", r"s0\.c1 \(card\) has no link"),
        ("bandwidth: 64 GB/s, latency: 325 ns", "bandwidth: 0 GB/s, latency: 325 ns",
         "bandwidth must be positive"),
        ("from: s0.c1", "from: s0.c0", r"s0\.c0>s0\.sw0 is listed twice"),
        ("nodes:", "knots:", "unknown key 'knots'; did you mean 'nodes'"),
        ("links:", "links: 3\nname2:", "expected nodes"),
    ],
)  # fmt: skip
def test_an_impossible_topology_is_one_clear_error(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    with pytest.raises(TopologyError, match=message):
        read_topology(written(tmp_path, TWO_CARDS.replace(old, new)))


def test_a_topology_is_distinguished_from_hardware() -> None:
    assert is_map(parse_document(TWO_CARDS))
    assert not is_map(parse_document("base: corsair"))


def plain(graph: Graph) -> tuple[object, object]:
    nodes = {name: graph.nodes[name] for name in graph}
    return nodes, {(source, target): link for source, target, link in graph.edges(data=True)}


@pytest.mark.parametrize(
    "graph",
    [build_server(CORSAIR), build_card(CORSAIR), build_pod(CORSAIR, racks=2, servers_per_rack=1)],
    ids=["server", "card", "pod"],
)
def test_an_exported_yaml_reads_back_as_the_same_topology(graph: Graph, tmp_path: Path) -> None:
    export_map(graph, tmp_path / "map.yaml")

    assert plain(read_topology(tmp_path / "map.yaml")) == plain(graph)


def test_graph_tools_read_the_export_back(tmp_path: Path) -> None:
    server = build_server(CORSAIR)
    export_map(server, tmp_path / "map.graphml")
    export_map(server, tmp_path / "map.json")
    graphml = nx.read_graphml(tmp_path / "map.graphml")
    node_link = nx.node_link_graph(json.loads((tmp_path / "map.json").read_text()), edges="edges")

    for graph in (graphml, node_link):
        assert set(graph.edges) == set(server.edges)
        assert graph.nodes["s0.c3"]["kind"] == "card"
        assert graph.edges["s0.c0", "s0.c1"]["latency_ps"] == 400_000


def test_an_unknown_ending_and_a_missing_folder_are_refused(tmp_path: Path) -> None:
    server = build_server(CORSAIR)

    with pytest.raises(TopologyError, match=r"the ending must be one of \.graphml, \.json, \.yaml"):
        export_map(server, tmp_path / "map.png")
    with pytest.raises(WriteError, match="cannot be written"):
        export_map(server, tmp_path / "none" / "map.json")
