"""The rules of a topology: one error names every violation."""

import math
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any

import networkx as nx

from topology.types import CONTAINERS, LINK_ENDS, SCALE_UP, Graph, LinkKind, NodeKind, TopologyError

_HOLDERS: Mapping[NodeKind, tuple[NodeKind, ...]] = {
    NodeKind.SLICE: (NodeKind.QUAD, NodeKind.CHIPLET),
    NodeKind.QUAD: (NodeKind.CHIPLET,),
    NodeKind.CHIPLET: (NodeKind.PACKAGE,),
    NodeKind.PACKAGE: (NodeKind.CARD,),
    NodeKind.CARD: (NodeKind.BRIDGE, NodeKind.SERVER),
    NodeKind.BRIDGE: (NodeKind.SERVER,),
    NodeKind.PCIE_SWITCH: (NodeKind.SERVER,),
    NodeKind.HOST: (NodeKind.SERVER,),
    NodeKind.NIC: (NodeKind.SERVER,),
    NodeKind.NVSWITCH: (NodeKind.SERVER, NodeKind.RACK),
    NodeKind.SERVER: (NodeKind.RACK,),
    NodeKind.LEAF: (NodeKind.RACK,),
    NodeKind.SPINE: (),
    NodeKind.RACK: (),
}
"""Allowed holders of each kind; every kind may also have none."""

_IN_ONE_SERVER = frozenset(
    {
        LinkKind.BRIDGE,
        LinkKind.MESH,
        LinkKind.PCIE,
        LinkKind.INTER_SWITCH,
        LinkKind.HOST,
        LinkKind.NIC,
    }
)
_MOST_NAMED = 20


def check_map(graph: Graph, *, cut: bool = False) -> None:
    """Refuse an invalid topology and name its errors; it may fall apart where it may be ``cut``.

    Raises
    ------
    TopologyError
        One line per violation (the first twenty, then the number of others).
    """
    if breaches := list(breaches_of(graph, cut=cut)):
        named = breaches[:_MOST_NAMED]
        if len(breaches) > _MOST_NAMED:
            named.append(f"and {len(breaches) - _MOST_NAMED} more")
        raise TopologyError("\n".join(f"{graph.name or 'topology'}: {breach}" for breach in named))


def breaches_of(graph: Graph, *, cut: bool = False) -> Iterator[str]:
    """Every violation of every rule, in the order of RULES."""
    if not any(data["kind"] not in CONTAINERS for _, data in graph.nodes(data=True)):
        yield "has no nodes that a link could connect"
        return
    for rule in RULES:
        if not (cut and rule in (_isolated, _disconnected)):
            yield from rule(graph)


def _wrong_numbers(graph: Graph) -> Iterator[str]:
    for source, target, link in graph.edges(data=True):
        name = f"{source}>{target}"
        bandwidth, latency = link["bandwidth_bytes_per_s"], link["latency_ps"]
        if not (bandwidth > 0 and math.isfinite(bandwidth)):
            yield f"{name}: bandwidth must be positive and finite, found {bandwidth!r} B/s"
        if not latency >= 0:
            yield f"{name}: latency must be 0 ps or more, found {latency!r}"
        if not (link["energy_j_per_bit"] >= 0 and math.isfinite(link["energy_j_per_bit"])):
            yield f"{name}: energy must be 0 J or more, found {link['energy_j_per_bit']!r}"
    for name, capacity in _column(graph, "capacity_bytes_per_s").items():
        if not (capacity >= 0 and math.isfinite(capacity)):
            yield f"{name}: capacity must be 0 B/s (none) or more, found {capacity!r}"


def _wrong_ends(graph: Graph) -> Iterator[str]:
    for source, target, link in graph.edges(data=True):
        kind: LinkKind = link["kind"]
        ends = (graph.nodes[source]["kind"], graph.nodes[target]["kind"])
        allowed = LINK_ENDS[kind]
        if ends not in (allowed, allowed[::-1]):
            yield (
                f"{source}>{target}: a link of kind {kind.name.lower()} joins {allowed[0]} and "
                f"{allowed[1]}, found {ends[0]} and {ends[1]}"
            )


def _one_way(graph: Graph) -> Iterator[str]:
    for source, target in graph.edges:
        if source == target:
            yield f"{source} is joined to itself"
        elif not graph.has_edge(target, source):
            yield f"{source}>{target} has no return link"


def _isolated(graph: Graph) -> Iterator[str]:
    carriers = [name for name, kind in _column(graph, "kind").items() if kind not in CONTAINERS]
    if len(carriers) > 1:
        for name in carriers:
            if not graph.degree(name):
                yield f"{name} ({graph.nodes[name]['kind']}) has no link"


def _disconnected(graph: Graph) -> Iterator[str]:
    linked = graph.subgraph([name for name in graph if graph.degree(name)])
    parts = sorted(nx.weakly_connected_components(linked), key=len, reverse=True)
    for part in parts[1:]:
        shown = ", ".join(islice((name for name in linked if name in part), 3))
        more = f" and {len(part) - 3} more" if len(part) > 3 else ""
        yield f"no link joins {shown}{more} to the rest of the topology"


def _wrong_holders(graph: Graph) -> Iterator[str]:
    for name, data in graph.nodes(data=True):
        holder, kind = data["within"], data["kind"]
        if not holder:
            continue
        if holder not in graph:
            yield f"{name} is within {holder!r}, which is not a node"
        elif holder == name:
            yield f"{name} is within itself"
        elif (found := graph.nodes[holder]["kind"]) not in _HOLDERS[kind]:
            allowed = " or ".join(_HOLDERS[kind]) or "nothing"
            yield f"{name}: a {kind} must be within {allowed}, found {holder} ({found})"


def _circles(graph: Graph) -> Iterator[str]:
    """Cycles of containment (each cycle once)."""
    seen: set[str] = set()
    for name in graph:
        trail: dict[str, None] = {}
        here = name
        while here in graph and here not in seen:
            seen.add(here)
            trail[here] = None
            here = graph.nodes[here]["within"]
        if here in trail and len(trail) > 1:
            names = list(trail)
            circle = [*names[names.index(here) :], here]
            yield f"containment is a cycle, not a tree: {' within '.join(circle)}"


def _wrong_cards(graph: Graph) -> Iterator[str]:
    kinds: dict[str, NodeKind] = _column(graph, "kind")
    has_switches = NodeKind.PCIE_SWITCH in kinds.values()
    for name, kind in kinds.items():
        if kind != NodeKind.CARD:
            continue
        near = [kinds[other] for other in graph.successors(name)]
        joined = [link["kind"] for _, _, link in graph.out_edges(name, data=True)]
        switches, bridged = near.count(NodeKind.PCIE_SWITCH), joined.count(LinkKind.BRIDGE)
        if has_switches and switches != 1:
            yield f"{name} must be connected to one PCIe switch, found {switches or 'none'}"
        if bridged > 1:
            yield f"{name} must be bridged to one other card at most, found {bridged}"
    held_by: dict[str, list[str]] = {n: [] for n, kind in kinds.items() if kind == NodeKind.BRIDGE}
    for name, holder in _column(graph, "within").items():
        if holder in held_by:
            held_by[holder].append(name)
    for name, held in held_by.items():
        if len(held) != 2 or not graph.has_edge(held[0], held[1]):
            yield f"{name} must hold two cards with a bridge link between them"


def _wrong_scale_up(graph: Graph) -> Iterator[str]:
    """A card is in one scale-up network, whose cards reach each other directly."""
    kinds: dict[str, NodeKind] = _column(graph, "kind")
    for name, kind in kinds.items():
        if kind != NodeKind.CARD:
            continue
        joined: dict[LinkKind, set[str]] = {}
        for _, other, link in graph.out_edges(name, data=True):
            joined.setdefault(link["kind"], set()).add(other)
        found = [kind for kind in (LinkKind.BRIDGE, *SCALE_UP) if kind in joined]
        if len(found) > 1:
            labels = " and ".join(kind.label for kind in found)
            yield f"{name} must be joined to other cards by one kind of link, found {labels}"
        switches = joined.get(LinkKind.NVLINK, set())
        if len(switches) > 1:
            yield f"{name} must hang under one NVSwitch at most, found {len(switches)}"
        mesh = {name, *joined.get(LinkKind.MESH, set())}
        for other in sorted(mesh - {name}):
            lacking = sorted(mesh - {other} - set(graph.successors(other)))
            if lacking and name < lacking[0]:
                yield f"{other} and {lacking[0]} are in a mesh with {name} and lack a link"


def _without_server(graph: Graph) -> Iterator[str]:
    """With a leaf switch, every node must belong to a known server."""
    kinds: dict[str, NodeKind] = _column(graph, "kind")
    if NodeKind.LEAF not in kinds.values():
        return
    for name, kind in kinds.items():
        inside = kind in (NodeKind.CARD, NodeKind.PCIE_SWITCH, NodeKind.NIC)
        if inside and not holder_of(graph, name, NodeKind.SERVER):
            yield f"{name} ({kind}) must be within a server, since the topology has a leaf"


def _across_servers(graph: Graph) -> Iterator[str]:
    servers = {name: holder_of(graph, name, NodeKind.SERVER) for name in graph}
    for source, target, link in graph.edges(data=True):
        kind: LinkKind = link["kind"]
        if kind not in _IN_ONE_SERVER:
            continue
        here, there = servers[source], servers[target]
        if here != there:
            yield (
                f"{source}>{target}: a link of kind {kind.name.lower()} stays in one server, "
                f"found {here or 'none'} and {there or 'none'}"
            )


def _across_holders(graph: Graph) -> Iterator[str]:
    """An NVSwitch of a server joins that server's cards, one of a rack those of the rack."""
    for source, target, link in graph.edges(data=True):
        if link["kind"] != LinkKind.NVLINK or graph.nodes[target]["kind"] != NodeKind.NVSWITCH:
            continue
        holder = graph.nodes[target]["within"]
        kind = graph.nodes[holder]["kind"] if holder in graph else NodeKind.SERVER
        if (found := holder_of(graph, source, kind)) != holder:
            here, there = found or "none", holder or "none"
            yield f"{source}>{target}: NVLink stays within one holder, found {here} and {there}"


def _column(graph: Graph, attribute: str) -> dict[str, Any]:
    """One attribute of every node."""
    return {name: data[attribute] for name, data in graph.nodes(data=True)}


def holder_of(graph: Graph, name: str, kind: NodeKind) -> str:
    """The holder of that kind above ``name``, at any depth; empty if there is none."""
    for _ in NodeKind:
        name = graph.nodes[name]["within"]
        if name not in graph or graph.nodes[name]["kind"] == kind:
            return name if name in graph else ""
    return ""


RULES: tuple[Callable[[Graph], Iterator[str]], ...] = (
    _wrong_numbers,
    _wrong_ends,
    _one_way,
    _isolated,
    _disconnected,
    _wrong_holders,
    _circles,
    _wrong_cards,
    _wrong_scale_up,
    _without_server,
    _across_servers,
    _across_holders,
)
