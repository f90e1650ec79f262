"""The topology as columns: nodes with their positions, and links."""

from typing import Any

from corsair_common.units import PS_PER_S
from topology.types import Graph, LinkKind, NodeKind


def node_records(graph: Graph) -> dict[str, Any]:
    """``name, kind, x, y, hardware`` of every node, in the order of the graph."""
    nodes = [(name, data) for name, data in graph.nodes(data=True)]
    return {
        "name": [name for name, _ in nodes],
        "kind": [str(NodeKind(data["kind"]).value) for _, data in nodes],
        "x": [float(data["x"]) for _, data in nodes],
        "y": [float(data["y"]) for _, data in nodes],
        "hardware": [data.get("hardware") for _, data in nodes],
    }


def edge_records(graph: Graph) -> dict[str, Any]:
    """``src, dst, kind, bandwidth_bytes_per_s, latency_s, energy_j_per_bit`` of each direction."""
    edges = [(src, dst, data) for src, dst, data in graph.edges(data=True)]
    return {
        "src": [src for src, _, _ in edges],
        "dst": [dst for _, dst, _ in edges],
        "kind": [LinkKind(data["kind"]).name.lower() for _, _, data in edges],
        "bandwidth_bytes_per_s": [float(data["bandwidth_bytes_per_s"]) for _, _, data in edges],
        "latency_s": [data["latency_ps"] / PS_PER_S for _, _, data in edges],
        "energy_j_per_bit": [float(data["energy_j_per_bit"]) for _, _, data in edges],
    }
