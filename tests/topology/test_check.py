import pytest

from topology.build import build_rack, build_server
from topology.catalog import load_hardware
from topology.check import breaches_of, check_map
from topology.types import LinkKind, NodeKind, TopologyError

CORSAIR = load_hardware("corsair")


def test_every_breach_is_named_in_one_error() -> None:
    rack = build_rack(CORSAIR, servers_per_rack=2)
    rack.remove_edge("leaf", "s0.nic0")
    rack.remove_edges_from([("s0.c5", "s0.sw1"), ("s0.sw1", "s0.c5")])
    rack.edges["s0.c0", "s0.sw0"]["bandwidth_bytes_per_s"] = float("nan")
    rack.edges["s0.c1", "s0.sw0"]["latency_ps"] = -1
    rack.edges["s0.c2", "s0.sw0"]["kind"] = LinkKind.ETHERNET
    rack.add_node("s9", **rack.nodes["s0.host"])
    rack.nodes["s1.c0"]["within"] = "nowhere"

    assert list(breaches_of(rack)) == [
        "s0.c0>s0.sw0: bandwidth must be positive and finite, found nan B/s",
        "s0.c1>s0.sw0: latency must be 0 ps or more, found -1",
        "s0.c2>s0.sw0: a link of kind ethernet joins nic and leaf, found card and pcie_switch",
        "s0.nic0>leaf has no return link",
        "s9 (host) has no link",
        "s1.c0 is within 'nowhere', which is not a node",
        "s0.c5 must be connected to one PCIe switch, found none",
        "s1.b0 must hold two cards with a bridge link between them",
        "s1.c0 (card) must be within a server, since the topology has a leaf",
        "s1.sw0>s1.c0: a link of kind pcie stays in one server, found s1 and none",
        "s1.c0>s1.c1: a link of kind bridge stays in one server, found none and s1",
        "s1.c0>s1.sw0: a link of kind pcie stays in one server, found none and s1",
        "s1.c1>s1.c0: a link of kind bridge stays in one server, found s1 and none",
    ]


def test_a_disconnected_topology_names_the_smaller_part() -> None:
    server = build_server(CORSAIR)
    for card in ("s0.c0", "s0.c1"):
        server.remove_edges_from([(card, "s0.sw0"), ("s0.sw0", card)])

    assert "no link joins s0.c0, s0.c1 to the rest of the topology" in list(breaches_of(server))


def test_a_cycle_of_holders_is_spelled_out_once() -> None:
    server = build_server(CORSAIR)
    server.nodes["s0"]["within"] = "s0.b0"
    cycles = [breach for breach in breaches_of(server) if "cycle" in breach]

    assert cycles == ["containment is a cycle, not a tree: s0 within s0.b0 within s0"]


def test_a_card_under_two_switches_is_refused() -> None:
    server = build_server(CORSAIR)
    for ends in (("s0.c0", "s0.sw1"), ("s0.sw1", "s0.c0")):
        server.add_edge(*ends, **server.edges["s0.c0", "s0.sw0"])

    with pytest.raises(
        TopologyError, match=r"s0\.c0 must be connected to one PCIe switch, found 2"
    ):
        check_map(server)


def test_a_long_list_of_breaches_is_cut_and_counted() -> None:
    rack = build_rack(CORSAIR)
    for _, _, link in rack.edges(data=True):
        link["bandwidth_bytes_per_s"] = 0.0
    with pytest.raises(TopologyError) as caught:
        check_map(rack)
    lines = str(caught.value).splitlines()

    assert len(lines) == 21
    assert lines[-1] == f"corsair: and {rack.number_of_edges() - 20} more"


def test_an_empty_topology_is_refused() -> None:
    server = build_server(CORSAIR)
    server.remove_nodes_from(
        [n for n, d in server.nodes(data=True) if d["kind"] != NodeKind.SERVER]
    )

    with pytest.raises(TopologyError, match="has no nodes"):
        check_map(server)
