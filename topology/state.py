"""A topology without the parts that are down."""

from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import ClassVar, TypeVar

from topology.check import holder_of
from topology.types import CONTAINERS, INSIDE_CARD, Graph, NodeKind, TopologyError

Named = TypeVar("Named")


class AllDownError(TopologyError):
    """No card is left."""

    exit_code: ClassVar[int] = 3


def take_down(graph: Graph, matches: Sequence[str]) -> Graph:
    """A copy of the topology without the nodes and links that ``matches`` name.

    A shell pattern over ``source>target`` names links, in both directions; any other names nodes:
    a server or rack is down with all that it holds, a host with its server, a switch with the cards
    that hang under it alone. The pair ``s0.b0`` is its bridge: the cards stay.

    Raises
    ------
    TopologyError
        Nothing matches.
    AllDownError
        No card is left.
    """
    changed: Graph = graph.copy()
    for match in matches:
        if ">" in match:
            _cut(changed, graph, match)
        else:
            _remove(changed, graph, match)
    _remove_stranded(changed, graph)
    _dissolve_pairs(changed)
    if not _cards(changed):
        raise AllDownError(f"no card is left: down are {', '.join(matches)}")
    return changed


def _cut(changed: Graph, graph: Graph, match: str) -> None:
    for source, target in _matched(match, {f"{a}>{b}": (a, b) for a, b in graph.edges}, "link"):
        changed.remove_edges_from([(source, target), (target, source)])


def _remove(changed: Graph, graph: Graph, match: str) -> None:
    kinds = _kinds(graph)
    names = {name: name for name, kind in kinds.items() if kind not in INSIDE_CARD}
    for name in _matched(match, names, "part"):
        kind = kinds[name]
        if kind == NodeKind.BRIDGE:
            held = [other for other in graph if graph.nodes[other]["within"] == name]
            changed.remove_edges_from((a, b) for a in held for b in held)
            continue
        whole = holder_of(graph, name, NodeKind.SERVER) if kind == NodeKind.HOST else ""
        changed.remove_nodes_from(list(_with_content(graph, whole or name)))


def _matched(match: str, names: dict[str, Named], what: str) -> list[Named]:
    found = [value for name, value in names.items() if fnmatchcase(name, match)]
    if not found:
        close = get_close_matches(match.replace("*", ""), list(names), n=3, cutoff=0.3)
        near = ", ".join(close or list(names)[:3])
        raise TopologyError(f"state: no {what} matches {match!r}; there are such as {near}")
    return found


def _with_content(graph: Graph, name: str) -> Iterator[str]:
    yield name
    for other, data in graph.nodes(data=True):
        if data["within"] == name:
            yield from _with_content(graph, other)


def _remove_stranded(changed: Graph, graph: Graph) -> None:
    """Remove cards without the PCIe switch that they had, and what has lost its last link."""
    while True:
        gone = [
            name
            for name, kind in _kinds(changed).items()
            if kind not in CONTAINERS and _is_stranded(changed, graph, name)
        ]
        if not gone:
            break
        for name in gone:
            changed.remove_nodes_from(list(_with_content(graph, name)))
    used = {holder_of(changed, card, NodeKind.SERVER) for card in _cards(changed)}
    for name, kind in _kinds(changed).items():
        if kind == NodeKind.SERVER and name not in used:
            changed.remove_nodes_from(list(_with_content(graph, name)))


def _is_stranded(changed: Graph, graph: Graph, name: str) -> bool:
    if graph.nodes[name]["kind"] == NodeKind.CARD:
        return _has_switch(graph, name) and not _has_switch(changed, name)
    return bool(graph.degree(name)) and not changed.degree(name)


def _has_switch(graph: Graph, card: str) -> bool:
    kinds = (graph.nodes[other]["kind"] for other in graph.successors(card))
    return NodeKind.PCIE_SWITCH in kinds


def _dissolve_pairs(changed: Graph) -> None:
    """A pair without its bridge is two cards of the server."""
    pairs: dict[str, list[str]] = {
        name: [] for name, kind in _kinds(changed).items() if kind == NodeKind.BRIDGE
    }
    for name, data in changed.nodes(data=True):
        if data["within"] in pairs:
            pairs[data["within"]].append(name)
    for pair, held in pairs.items():
        if len(held) == 2 and changed.has_edge(*held):
            continue
        for name in held:
            changed.nodes[name]["within"] = changed.nodes[pair]["within"]
        changed.remove_node(pair)


def _cards(graph: Graph) -> list[str]:
    return [name for name, kind in _kinds(graph).items() if kind == NodeKind.CARD]


def _kinds(graph: Graph) -> dict[str, NodeKind]:
    return {name: data["kind"] for name, data in graph.nodes(data=True)}
