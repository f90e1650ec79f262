"""Reads and writes a topology as a YAML file of nodes and links.

::

    name: two-cards
    nodes:
      s0: {kind: server}
      s0.sw0: {kind: pcie_switch, within: s0}
      s0.c0: {kind: card, within: s0, capacity: 64 GB/s}
      s0.c1: {kind: card, within: s0}
    links:
      - {from: s0.c0, to: s0.sw0, kind: pcie, bandwidth: 64 GB/s, latency: 325 ns}
      - {from: s0.c1, to: s0.sw0, kind: pcie, bandwidth: 64 GB/s, latency: 325 ns, energy: 7 pJ/bit}

A node may have ``about``, a short text for pictures, and a card ``hardware``, the name of its
hardware. A link is bidirectional unless it has ``one_way: true``; its ``efficiency``, 1 by default,
is the part of the bandwidth that payload can use.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import networkx as nx

from topology.catalog.figures import nearest
from topology.check import check_map
from topology.layout import place
from topology.link_specs import picoseconds
from topology.strict_yaml import Document, read_document
from topology.types import Graph, Link, LinkKind, NodeKind, TopologyError
from topology.units import UNITS, to_si

_TOP_KEYS = ("name", "nodes", "links")
_NODE_KEYS = ("kind", "within", "capacity", "about", "hardware")
_LINK_KEYS = ("from", "to", "kind", "bandwidth", "latency", "energy", "efficiency", "one_way")
_LINK_NEEDS = ("from", "to", "kind", "bandwidth", "latency")
_LONGEST_S = 1000.0
"""Of one link; the sum over many then fits an int64 of picoseconds."""
_NODE_KINDS = tuple(kind.value for kind in NodeKind)
_LINK_KINDS = tuple(kind.name.lower() for kind in LinkKind)


def read_topology(path: str | Path) -> Graph:
    """Read a user's own topology, check it and place it.

    Raises
    ------
    TopologyError
        Every error of the file with its line, or every rule that the topology violates.
    DocumentError
        The file is not one plain YAML document.
    """
    document = read_document(path)
    graph: Graph = nx.DiGraph(name=Path(path).stem, level="map", detail="card")
    if breaches := list(_filled(graph, document)):
        raise TopologyError("\n".join(breaches))
    check_map(graph)
    return place(graph)


def is_map(document: Document) -> bool:
    """Whether a YAML file is a topology (nodes and links) rather than hardware figures."""
    return isinstance(document.data, dict) and bool({"nodes", "links"} & set(document.data))


def write_map(graph: Graph) -> str:
    """A topology as the YAML that ``read_topology`` reads; each direction of a link separately."""
    lines = [f"name: {json.dumps(graph.name or 'map')}", "nodes:"]
    for name, data in graph.nodes(data=True):
        fields = [f"kind: {data['kind']}"]
        if data["within"]:
            fields.append(f"within: {json.dumps(data['within'])}")
        if data["capacity_bytes_per_s"]:
            fields.append(f"capacity: {data['capacity_bytes_per_s']!r} B/s")
        if data["about"]:
            fields.append(f"about: {json.dumps(data['about'])}")
        if data.get("hardware"):
            fields.append(f"hardware: {json.dumps(data['hardware'])}")
        lines.append(f"  {json.dumps(name)}: {{{', '.join(fields)}}}")
    lines.append("links:" if graph.number_of_edges() else "links: []")
    for source, target, data in graph.edges(data=True):
        lines.append(
            f"  - {{from: {json.dumps(source)}, to: {json.dumps(target)}, one_way: true, "
            f"kind: {LinkKind(data['kind']).name.lower()}, "
            f"bandwidth: {data['bandwidth_bytes_per_s']!r} B/s, "
            f"latency: {data['latency_ps']} ps, energy: {data['energy_j_per_bit']!r} J/bit, "
            f"efficiency: {data['efficiency']!r}}}"
        )
    return "\n".join(lines) + "\n"


def _filled(graph: Graph, document: Document) -> Iterator[str]:
    """Put the file's nodes and links into the graph; what is wrong comes out."""
    data = document.mapping()
    for key in data:
        if key not in _TOP_KEYS:
            yield f"{document.where((key,))}: unknown key {nearest(key, _TOP_KEYS)}"
    nodes, links = data.get("nodes"), data.get("links", [])
    if not isinstance(nodes, dict) or not isinstance(links, list):
        yield f"{document.where()}: expected nodes (name: {{kind: ...}}) and links (a list)"
        return
    graph.graph["name"] = str(data.get("name", graph.name))
    for name, inputs in nodes.items():
        wrong = list(_wrong_fields(inputs, _NODE_KEYS, ("kind",), _NODE_KINDS))
        capacity, more = _quantity(inputs, "capacity", "B/s", wrong)
        for breach in (*wrong, *more):
            yield f"{document.where(('nodes', name))}: {name}: {breach}"
        if not wrong:
            within = str(inputs.get("within") or "")
            kind = NodeKind(inputs["kind"])
            about = str(inputs.get("about") or "")
            graph.add_node(
                name, kind=kind, within=within, capacity_bytes_per_s=capacity, about=about
            )
            if inputs.get("hardware"):
                graph.nodes[name]["hardware"] = str(inputs["hardware"])
    for index, inputs in enumerate(links):
        for breach in _laid(graph, inputs, nodes):
            yield f"{document.where(('links', index))}: {breach}"


def _laid(graph: Graph, inputs: Any, nodes: dict[str, Any]) -> Iterator[str]:
    """Lay one link of the file; what is wrong with it comes out."""
    wrong = list(_wrong_fields(inputs, _LINK_KEYS, _LINK_NEEDS, _LINK_KINDS))
    wrong += [] if wrong else _wrong_ends(inputs, nodes)
    bandwidth, first = _quantity(inputs, "bandwidth", "B/s", wrong)
    latency_s, second = _quantity(inputs, "latency", "s", wrong)
    energy_j_per_bit, third = _quantity(inputs, "energy", "J/bit", wrong)
    efficiency = 1.0 if wrong else inputs.get("efficiency", 1.0)
    if not (isinstance(efficiency, int | float) and 0 < efficiency <= 1):
        wrong.append(f"efficiency must be above 0 and at most 1, found {efficiency!r}")
    if breaches := [*wrong, *first, *second, *third]:
        yield from breaches
        return
    source, target = str(inputs["from"]), str(inputs["to"])
    if source == target:
        yield f"{source} is joined to itself"
        return
    link = Link(
        kind=LinkKind[inputs["kind"].upper()],
        bandwidth_bytes_per_s=bandwidth,
        latency_ps=picoseconds(latency_s),
        energy_j_per_bit=energy_j_per_bit,
        efficiency=float(efficiency),
    )
    paths = [(source, target)] if inputs.get("one_way") else [(source, target), (target, source)]
    for start, end in paths:
        if graph.has_edge(start, end):
            yield f"{start}>{end} is listed twice"
        graph.add_edge(start, end, **link.attributes())


def _wrong_ends(inputs: dict[str, Any], nodes: dict[str, Any]) -> list[str]:
    wrong = [
        f"{end}: no node {nearest(str(inputs[end]), nodes)}"
        for end in ("from", "to")
        if str(inputs[end]) not in nodes
    ]
    if not isinstance(inputs.get("one_way", False), bool):
        wrong.append(f"one_way must be true or false, found {inputs['one_way']!r}")
    return wrong


def _wrong_fields(
    inputs: Any, allowed: tuple[str, ...], needed: tuple[str, ...], kinds: tuple[str, ...]
) -> Iterator[str]:
    if not isinstance(inputs, dict):
        yield f"expected {{{', '.join(allowed)}}}, found {inputs!r}"
        return
    if missing := [field for field in needed if field not in inputs]:
        yield f"misses {', '.join(missing)}"
    for field in inputs:
        if field not in allowed:
            yield f"unknown key {nearest(field, allowed)} (allowed: {', '.join(allowed)})"
    if "kind" in inputs and inputs["kind"] not in kinds:
        yield f"unknown kind {nearest(str(inputs['kind']), kinds)} (allowed: {', '.join(kinds)})"


def _quantity(inputs: Any, field: str, si: str, wrong: list[str]) -> tuple[float, list[str]]:
    """A number with its unit, in SI (0 where the field is absent), or what is wrong with it."""
    if wrong or field not in inputs:
        return 0.0, []
    number, _, unit = str(inputs[field]).strip().partition(" ")
    fitting = [symbol for symbol, known in UNITS.items() if known.si == si]
    try:
        value = float(number)
    except ValueError:
        unit = ""
    if unit.strip() not in fitting:
        example = f"64 {fitting[2 if si == 'B/s' else 3]}"
        return 0.0, [
            f"{field} must be a number and a unit such as {example}, found {inputs[field]!r}"
        ]
    if not 0 <= value < float("inf"):
        return 0.0, [f"{field} must be finite and 0 or more, found {inputs[field]!r}"]
    found = to_si(value, unit.strip())
    if si == "s" and found > _LONGEST_S:
        return 0.0, [f"{field} must be at most {_LONGEST_S:g} s, found {inputs[field]!r}"]
    return found, []
