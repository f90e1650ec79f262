"""The topology in formats of graph tools: GraphML and node-link JSON, and our own YAML."""

import io
import json
from pathlib import Path
from typing import Any

import networkx as nx

from corsair_common.files import write_bytes
from topology.topology_yaml import write_map
from topology.types import Graph, LinkKind, NodeKind, TopologyError

FORMATS = (".graphml", ".json", ".yaml")


def export_map(graph: Graph, path: str | Path) -> None:
    """Write the topology in the format of the file's ending, atomically.

    Raises
    ------
    TopologyError
        The ending is not in FORMATS.
    WriteError
        The file cannot be written.
    """
    ending = Path(path).suffix.lower()
    if ending not in FORMATS:
        raise TopologyError(f"{path}: the ending must be one of {', '.join(FORMATS)}")
    plain = plain_graph(graph)
    if ending == ".graphml":
        buffer = io.BytesIO()
        nx.write_graphml(plain, buffer)
        content = buffer.getvalue()
    elif ending == ".json":
        content = (json.dumps(node_link(plain), indent=1, allow_nan=False) + "\n").encode()
    else:
        content = write_map(graph).encode()
    write_bytes(path, content)


def node_link(graph: Graph) -> dict[str, Any]:
    """``{nodes: [...], edges: [...]}`` as NetworkX and D3 read it."""
    return dict(nx.node_link_data(graph, edges="edges"))


def plain_graph(graph: Graph) -> Graph:
    """A copy whose attributes are text and numbers only; kinds by name."""
    plain: Graph = nx.DiGraph()
    plain.graph.update({key: str(value) for key, value in graph.graph.items()})
    for name, node in graph.nodes(data=True):
        plain.add_node(name, **{**node, "kind": NodeKind(node["kind"]).value})
    for source, target, link in graph.edges(data=True):
        kind = LinkKind(link["kind"]).name.lower()
        plain.add_edge(source, target, **{**link, "kind": kind})
    return plain
