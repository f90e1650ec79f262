"""Positions in a picture: ``place`` sets x and y of every node of a topology.

One unit is about the width of a card; y grows upwards. Positions depend only on containment
(``within``) and on the order of the nodes, so a user's own topology is placed like ours.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from topology.types import Graph, NodeKind

SIZES: Mapping[NodeKind, tuple[float, float]] = {
    NodeKind.SLICE: (1.0, 0.8),
    NodeKind.CHIPLET: (1.5, 1.0),
    NodeKind.CARD: (1.1, 0.8),
    NodeKind.PCIE_SWITCH: (2.6, 0.6),
    NodeKind.HOST: (1.2, 0.6),
    NodeKind.NIC: (1.2, 0.6),
    NodeKind.NVSWITCH: (2.6, 0.6),
    NodeKind.LEAF: (3.0, 0.7),
    NodeKind.SPINE: (3.0, 0.6),
}
"""Width and height of a node's box; leaf and spine are stretched over the nodes they connect."""

CARD_BAR = 0.6
"""Height of a card drawn as the bar above its chiplets."""
_CHIPLET_STEP = (2.6, 2.0)
_TIERS: Mapping[NodeKind, float] = {
    NodeKind.NVSWITCH: -1.7,
    NodeKind.CARD: 0.0,
    NodeKind.PCIE_SWITCH: 1.7,
    NodeKind.NIC: 3.3,
    NodeKind.HOST: 3.3,
}
_SWITCH_GAP = 0.8
_LEAF_GAP = 1.8
_SERVER_GAP = 1.6
_WIDE = 40.0
"""Of a server of 32 cards; one of eight takes half of it."""
_RACK_GAP = 3.0
_SPINE_STEP = 1.2


@dataclass(frozen=True, slots=True, kw_only=True)
class _Block:
    """Positions of some nodes relative to their own origin, and the space they take."""

    places: dict[str, tuple[float, float]]
    width: float
    height: float


def place(graph: Graph) -> Graph:
    """Set ``x`` and ``y`` of every node in place, and return the graph."""
    members = _members(graph)
    tops = members[""]
    racks = [_rack(graph, members, name) for name in _of_kind(graph, tops, NodeKind.RACK)]
    if not racks:
        racks = [_loose(graph, members, tops)]
    places: dict[str, tuple[float, float]] = {}
    left = 0.0
    for block in racks:
        places |= {name: (x + left, y) for name, (x, y) in block.places.items()}
        left += block.width + _RACK_GAP
    height = max(block.height for block in racks)
    for index, spine in enumerate(_of_kind(graph, list(graph.nodes), NodeKind.SPINE)):
        places[spine] = ((left - _RACK_GAP) / 2, height + (index + 1) * _SPINE_STEP)
    for name, data in graph.nodes(data=True):
        x, y = places.get(name, (0.0, 0.0))
        data["x"], data["y"] = round(x, 4), round(y, 4)
    _centre_holders(graph, members)
    return graph


def _loose(graph: Graph, members: Mapping[str, list[str]], tops: Sequence[str]) -> _Block:
    """A topology without racks: its servers as in a rack, else its top nodes in a row."""
    if _of_kind(graph, tops, NodeKind.SERVER):
        return _rack(graph, members, "")
    if chiplets := _of_kind(graph, tops, NodeKind.CHIPLET):
        return _chiplet(graph, members, chiplets[0])
    return _server(graph, members, "")


def _rack(graph: Graph, members: Mapping[str, list[str]], rack: str) -> _Block:
    """Servers in two rows that face the leaf between them; one is in one row, so are two narrow."""
    servers = _of_kind(graph, members[rack], NodeKind.SERVER)
    blocks = [_server(graph, members, name) for name in servers]
    widest = max((block.width for block in blocks), default=0.0)
    facing = len(blocks) > 2 or (len(blocks) == 2 and widest > _WIDE)
    columns = -(-len(blocks) // 2) if facing else len(blocks)
    step = widest + _SERVER_GAP
    tallest = max((block.height for block in blocks), default=0.0)
    leaf_y = tallest + _LEAF_GAP
    places: dict[str, tuple[float, float]] = {}
    for index, block in enumerate(blocks):
        above = facing and index < columns
        left = (index % columns) * step
        for name, (x, y) in block.places.items():
            places[name] = (x + left, 2 * leaf_y - y if above else y)
    for switch in _of_kind(graph, members[rack], NodeKind.NVSWITCH):
        places[switch] = (_middle(graph, places, switch), _TIERS[NodeKind.NVSWITCH])
    width = columns * step - _SERVER_GAP
    leaves = _of_kind(graph, members[rack], NodeKind.LEAF)
    for index, leaf in enumerate(leaves):
        places[leaf] = (width * (2 * index + 1) / (2 * len(leaves)), leaf_y)
    return _Block(places=places, width=width, height=2 * leaf_y if facing else leaf_y + 1.0)


def _server(graph: Graph, members: Mapping[str, list[str]], server: str) -> _Block:
    """Cards below, each switch over its own cards, its NICs over it, hosts between switches."""
    switches = _of_kind(graph, members[server], NodeKind.PCIE_SWITCH)
    places, spans = _cards(graph, members, server)
    right = max((end for _, end in spans.values()), default=0.0)
    for switch in switches:
        if switch not in spans:
            left = right + _SWITCH_GAP if spans else 0.0
            spans[switch] = (left, left + _least_width(graph, switch))
            right = spans[switch][1]
        left, end = spans[switch]
        places[switch] = ((left + end) / 2, _TIERS[NodeKind.PCIE_SWITCH])
        nics = _joined(graph, switch, NodeKind.NIC)
        for index, nic in enumerate(nics):
            x = left + (end - left) * (2 * index + 1) / (2 * len(nics))
            places[nic] = (x, _TIERS[NodeKind.NIC])
    between = right - 0.6
    if len(switches) > 1:
        between = (spans[switches[0]][1] + spans[switches[1]][0]) / 2
    elif switches:
        between = right + _SWITCH_GAP
        right = between + SIZES[NodeKind.HOST][0] / 2
    for index, host in enumerate(_of_kind(graph, members[server], NodeKind.HOST)):
        joined = _joined(graph, host, NodeKind.PCIE_SWITCH)
        over = places[joined[0]][0] if len(joined) == 1 < len(switches) else between
        places[host] = (over, _TIERS[NodeKind.HOST] + index)
    for switch in _of_kind(graph, members[server], NodeKind.NVSWITCH):
        places[switch] = (_middle(graph, places, switch), _TIERS[NodeKind.NVSWITCH])
    return _Block(places=places, width=right, height=_TIERS[NodeKind.NIC] if switches else 0.0)


def _middle(graph: Graph, places: Mapping[str, tuple[float, float]], switch: str) -> float:
    """The x in the middle of the cards that an NVSwitch joins."""
    across = [places[card][0] for card in _joined(graph, switch, NodeKind.CARD)]
    return (min(across) + max(across)) / 2 if across else 0.0


def _cards(
    graph: Graph, members: Mapping[str, list[str]], server: str
) -> tuple[dict[str, tuple[float, float]], dict[str, tuple[float, float]]]:
    """Positions of a server's cards and their contents, and the extent of each switch's cards."""
    groups = [
        _of_kind(graph, members[name], NodeKind.CARD)
        if graph.nodes[name]["kind"] == NodeKind.BRIDGE
        else [name]
        for name in members[server]
        if graph.nodes[name]["kind"] in (NodeKind.BRIDGE, NodeKind.CARD)
    ]
    places: dict[str, tuple[float, float]] = {}
    spans: dict[str, tuple[float, float]] = {}
    left = 0.0
    for group in groups:
        switch = next(iter(_joined(graph, group[0], NodeKind.PCIE_SWITCH)), "")
        if switch not in spans:
            left = max((end for _, end in spans.values()), default=-_SWITCH_GAP) + _SWITCH_GAP
            spans[switch] = (left, left + (_least_width(graph, switch) if switch else 0.0))
        for card in group:
            block = _card(graph, members, card)
            places |= {name: (x + left, y) for name, (x, y) in block.places.items()}
            spans[switch] = (spans[switch][0], max(spans[switch][1], left + block.width))
            left += block.width + (0.5 if block.width < 2 else 2.4)
        left += 0.3
    return places, spans


def _least_width(graph: Graph, switch: str) -> float:
    """Room for the NICs of a switch side by side, with a host beside them."""
    return max(2.6, 1.4 * len(_joined(graph, switch, NodeKind.NIC)) + 1.4)


def _joined(graph: Graph, name: str, kind: NodeKind) -> list[str]:
    return _of_kind(graph, list(graph.successors(name)), kind)


def _card(graph: Graph, members: Mapping[str, list[str]], card: str) -> _Block:
    """A bare card is a box; in detail it is a bar over packages whose chiplets form rings."""
    packages = _of_kind(graph, members[card], NodeKind.PACKAGE)
    if not packages:
        width, height = SIZES[NodeKind.CARD]
        return _Block(places={card: (width / 2, 0.0)}, width=width, height=height)
    step_x, step_y = _CHIPLET_STEP
    places: dict[str, tuple[float, float]] = {}
    left, rows = 0.0, 1
    for package in packages:
        chiplets = _of_kind(graph, members[package], NodeKind.CHIPLET)
        rows = max(rows, -(-len(chiplets) // 2))
        for index, chiplet in enumerate(chiplets):
            column, row = _ring(index, len(chiplets))
            places[chiplet] = (left + 0.9 + column * step_x, -row * step_y)
        left += step_x + 2.6
    width = left - 0.8
    places = {name: (x, y - 1.6) for name, (x, y) in places.items()}
    places[card] = (width / 2, 0.0)
    return _Block(places=places, width=width, height=CARD_BAR)


def _ring(index: int, count: int) -> tuple[int, int]:
    """Column and row that lead down the left side and up the right one."""
    rows = -(-count // 2)
    return (0, index) if index < rows else (1, rows - 1 - (index - rows))


def _chiplet(graph: Graph, members: Mapping[str, list[str]], chiplet: str) -> _Block:
    """The network on chip in the middle, quads above and below it, slices in rows."""
    quads = _of_kind(graph, members[chiplet], NodeKind.QUAD)
    columns = -(-len(quads) // 2)
    longest = max((len(members[quad]) for quad in quads), default=1)
    places: dict[str, tuple[float, float]] = {}
    for index, quad in enumerate(quads):
        left = (index % columns) * (longest * 1.3 + 0.6)
        y = 1.9 if index < columns else -1.9
        for number, name in enumerate(_of_kind(graph, members[quad], NodeKind.SLICE)):
            places[name] = (left + 0.5 + number * 1.3, y)
    width = columns * (longest * 1.3 + 0.6) - 0.9
    places[chiplet] = (width / 2, 0.0)
    return _Block(places=places, width=width, height=2.0)


def _members(graph: Graph) -> dict[str, list[str]]:
    """Names of the direct contents of each holder; the empty name has the top nodes."""
    found: dict[str, list[str]] = defaultdict(list)
    for name, data in graph.nodes(data=True):
        found[data["within"]].append(name)
    return found


def _of_kind(graph: Graph, names: Sequence[str], kind: NodeKind) -> list[str]:
    return [name for name in names if graph.nodes[name]["kind"] == kind]


def _centre_holders(graph: Graph, members: Mapping[str, list[str]]) -> None:
    """A holder is in the middle of its contents; inner ones are placed first."""
    for kind in (
        NodeKind.QUAD,
        NodeKind.PACKAGE,
        NodeKind.BRIDGE,
        NodeKind.SERVER,
        NodeKind.RACK,
    ):
        for name in _of_kind(graph, list(graph.nodes), kind):
            held = [graph.nodes[member] for member in members[name]]
            if held:
                graph.nodes[name]["x"] = round(math.fsum(node["x"] for node in held) / len(held), 4)
                graph.nodes[name]["y"] = round(math.fsum(node["y"] for node in held) / len(held), 4)
