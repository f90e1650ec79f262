"""Meshes of cards as pictures show them: a bar instead of many links over one another."""

from topology.types import Graph, LinkKind, NodeKind

_MESH_DROP = 1.7
"""From the cards to the bar that stands for their mesh."""


def meshes_as_bars(graph: Graph) -> Graph:
    """The map with a bar below the cards of each mesh in place of its links, which would lie over
    one another."""
    mesh: Graph = graph.__class__()
    mesh.add_edges_from(
        (s, t, d) for s, t, d in graph.edges(data=True) if d["kind"] == LinkKind.MESH
    )
    shown: Graph = graph.copy() if mesh else graph
    shown.remove_edges_from(list(mesh.edges))
    seen: set[str] = set()
    for card in mesh:
        if card in seen:
            continue
        cards = [card, *mesh.successors(card)]
        seen.update(cards)
        name = f"{card} to {cards[-1].rpartition('.')[2]}, full mesh"
        places = [graph.nodes[other]["x"] for other in cards]
        fields = {**graph.nodes[card], "kind": NodeKind.NVSWITCH, "about": ""}
        fields |= {
            "x": (min(places) + max(places)) / 2,
            "y": graph.nodes[card]["y"] + _outside(graph, card),
        }
        shown.add_node(name, **fields)
        link = next(data for _, _, data in mesh.out_edges(card, data=True))
        for other in cards:
            shown.add_edge(other, name, **link)
            shown.add_edge(name, other, **link)
    return shown


def _outside(graph: Graph, card: str) -> float:
    """From a card to the bar of its mesh, on the other side than what else the card joins."""
    others = [n for n in graph.successors(card) if graph.nodes[n]["kind"] != NodeKind.CARD]
    above = all(graph.nodes[other]["y"] >= graph.nodes[card]["y"] for other in others)
    return -_MESH_DROP if above else _MESH_DROP
