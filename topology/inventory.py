"""Counts of a topology's components."""

from collections.abc import Mapping

from topology.types import Graph, NodeKind

_WORDS: Mapping[NodeKind, tuple[str, str]] = {
    NodeKind.RACK: ("rack", "racks"),
    NodeKind.SERVER: ("server", "servers"),
    NodeKind.BRIDGE: ("bridged pair", "bridged pairs"),
    NodeKind.CARD: ("card", "cards"),
    NodeKind.PACKAGE: ("package", "packages"),
    NodeKind.CHIPLET: ("chiplet", "chiplets"),
    NodeKind.QUAD: ("quad", "quads"),
    NodeKind.SLICE: ("slice", "slices"),
    NodeKind.NVSWITCH: ("NVSwitch", "NVSwitches"),
    NodeKind.PCIE_SWITCH: ("PCIe switch", "PCIe switches"),
    NodeKind.HOST: ("host", "hosts"),
    NodeKind.NIC: ("NIC", "NICs"),
    NodeKind.LEAF: ("leaf switch", "leaf switches"),
    NodeKind.SPINE: ("spine switch", "spine switches"),
}

_OF_A_FABRIC: Mapping[NodeKind, tuple[str, str]] = {
    NodeKind.SERVER: ("node", "nodes"),
    NodeKind.PCIE_SWITCH: ("PCIe fabric", "PCIe fabrics"),
}
"""Words of nodes whose PCIe switches are drawn as one."""


def count_nodes(graph: Graph) -> dict[NodeKind, int]:
    """The number of nodes of each kind that is present, outermost first."""
    found = [data["kind"] for _, data in graph.nodes(data=True)]
    return {kind: found.count(kind) for kind in _WORDS if kind in found}


def first_cards(graph: Graph) -> list[int]:
    """Position among the cards of the first of each hardware."""
    named = [d.get("hardware") for _, d in graph.nodes(data=True) if d["kind"] == NodeKind.CARD]
    return [named.index(name) for name in dict.fromkeys(named)]


def count_words(graph: Graph) -> str:
    """The same in words: ``1 server, 4 bridged pairs, 8 cards, ...``."""
    words = dict(_WORDS)
    if graph.graph.get("fabric"):
        words |= _OF_A_FABRIC
    if graph.graph.get("hardware_kind") == "gpu":
        words[NodeKind.CARD] = ("GPU", "GPUs")
    counts = count_nodes(graph)
    return ", ".join(f"{count:,} {words[kind][count > 1]}" for kind, count in counts.items())
