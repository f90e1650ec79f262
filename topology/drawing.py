"""A topology as placed boxes, lines and labels, before rendering."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from topology.inventory import count_words
from topology.layout import CARD_BAR, SIZES
from topology.mesh_bars import meshes_as_bars
from topology.types import CONTAINERS, Graph, LinkKind, NodeKind, outwards

_FILLS: Mapping[NodeKind, str] = {
    NodeKind.SLICE: "#fdf3dd",
    NodeKind.CHIPLET: "#fde9c3",
    NodeKind.CARD: "#d9e8f5",
    NodeKind.PCIE_SWITCH: "#cfe3f2",
    NodeKind.HOST: "#e6e6e6",
    NodeKind.NIC: "#d5efe6",
    NodeKind.NVSWITCH: "#e3f2c8",
    NodeKind.LEAF: "#e4dcf1",
    NodeKind.SPINE: "#e4dcf1",
}
_PADDINGS: Mapping[NodeKind, float] = {
    NodeKind.QUAD: 0.35,
    NodeKind.PACKAGE: 0.45,
    NodeKind.CARD: 0.45,
    NodeKind.BRIDGE: 0.2,
    NodeKind.SERVER: 0.5,
    NodeKind.RACK: 0.9,
}
"""Margin of a holder around its contents, from the inside outwards."""

_BARS = frozenset({NodeKind.PCIE_SWITCH, NodeKind.NVSWITCH, NodeKind.LEAF, NodeKind.SPINE})
"""Drawn as wide as what they join, so that their lines run straight."""
_SPANNED: Mapping[NodeKind, tuple[NodeKind, ...]] = {
    NodeKind.CHIPLET: (NodeKind.SLICE,),
    NodeKind.CARD: (NodeKind.CHIPLET,),
    NodeKind.PCIE_SWITCH: (NodeKind.CARD, NodeKind.NIC),
    NodeKind.NVSWITCH: (NodeKind.CARD,),
    NodeKind.LEAF: (NodeKind.NIC,),
    NodeKind.SPINE: (NodeKind.LEAF,),
}
_BIT = 0.3
"""Between the lines from one leaf to several spines."""
_RACK_SIZE = (2.2, 1.5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A node, or the outline of a holder. Places are of the middle; sizes in layout units."""

    name: str
    x: float
    y: float
    width: float
    height: float
    fill: str
    label: str
    words: tuple[str, ...] = ()
    """Further text of the box, shown if there is room."""
    outline: bool = False
    label_below: bool = False
    """The label of an outline is at its lower edge."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """Both directions of one link."""

    kind: LinkKind
    x: float
    y: float
    x2: float
    y2: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """All elements of a picture; later boxes cover earlier ones and the lines."""

    title: str
    subtitle: str
    boxes: tuple[Box, ...]
    lines: tuple[Line, ...]
    legend: tuple[tuple[LinkKind, str], ...]


def make_scene(graph: Graph) -> Scene:
    """Elements of a picture of the topology. Each of several racks is one box."""
    racks = _names(graph, NodeKind.RACK)
    shown = _racks_only(graph) if len(racks) > 1 else meshes_as_bars(graph)
    boxes = _node_boxes(shown)
    outlines = list(_outlines(shown, boxes))
    return Scene(
        title=f"{graph.name}: {graph.graph['level']}",
        subtitle=count_words(graph),
        boxes=(*outlines, *boxes.values()),
        lines=tuple(_lines(shown, boxes)),
        legend=tuple(_legend(graph, shown)),
    )


def _racks_only(graph: Graph) -> Graph:
    """Leaves and spines of a pod: every leaf represents its rack, in rows about the spines."""
    kept = [*_names(graph, NodeKind.LEAF), *_names(graph, NodeKind.SPINE)]
    pod: Graph = graph.__class__(**graph.graph)
    pod.add_nodes_from((name, dict(graph.nodes[name])) for name in kept)
    pod.add_edges_from((s, t, d) for s, t, d in graph.edges(data=True) if s in pod and t in pod)
    leaves, spines = _names(pod, NodeKind.LEAF), _names(pod, NodeKind.SPINE)
    columns = len(leaves) if len(leaves) <= 8 else -(-len(leaves) // 2)
    step = max(_RACK_SIZE[0], _BIT * (len(spines) + 1)) + 0.4
    to_spine = _RACK_SIZE[1] / 2 + 1.2
    for index, spine in enumerate(spines):
        pod.nodes[spine].update(x=(columns - 1) * step / 2, y=-to_spine - index)
    below = -2 * to_spine - (len(spines) - 1)
    for index, leaf in enumerate(leaves):
        y = 0.0 if index < columns < len(leaves) else below
        about = "; ".join(_held_words(graph, graph.nodes[leaf]["within"]))
        pod.nodes[leaf].update(x=(index % columns) * step, y=y, within="", about=about)
    return pod


def _held_words(graph: Graph, rack: str) -> list[str]:
    """How many servers and cards a rack holds."""
    servers = {n for n, d in graph.nodes(data=True) if d["within"] == rack}
    holders = servers | {n for n, d in graph.nodes(data=True) if d["within"] in servers}
    cards = [
        name
        for name, data in graph.nodes(data=True)
        if data["kind"] == NodeKind.CARD and data["within"] in holders
    ]
    racked = [name for name in servers if graph.nodes[name]["kind"] == NodeKind.SERVER]
    return [f"{len(racked)} servers", f"{len(cards)} cards"]


def _node_boxes(graph: Graph) -> dict[str, Box]:
    boxes: dict[str, Box] = {}
    for name, node in graph.nodes(data=True):
        kind: NodeKind = node["kind"]
        if kind in CONTAINERS:
            continue
        width, height = SIZES[kind]
        boxes[name] = Box(
            name=name,
            x=node["x"],
            y=node["y"],
            width=width,
            height=height,
            fill=_FILLS[kind],
            label=name.rpartition(".")[2],
            words=tuple(filter(None, node["about"].split("; "))),
        )
    for name, box in list(boxes.items()):
        boxes[name] = _shaped(graph, boxes, box)
    return boxes


def _shaped(graph: Graph, boxes: Mapping[str, Box], box: Box) -> Box:
    """The box of a node that is more than its usual size."""
    kind: NodeKind = graph.nodes[box.name]["kind"]
    near = {graph.nodes[other]["kind"] for other in graph.successors(box.name)}
    if kind == NodeKind.LEAF and near == {NodeKind.SPINE}:
        rack = box.name.rpartition(".")[0] or box.name
        return replace(box, width=_RACK_SIZE[0], height=_RACK_SIZE[1], label=rack)
    if kind in _BARS:
        return _stretched(graph, boxes, box)
    if kind == NodeKind.CARD and NodeKind.CHIPLET in near:
        return replace(_stretched(graph, boxes, box), height=CARD_BAR)
    if kind == NodeKind.CHIPLET and NodeKind.SLICE in near:
        bar = _stretched(graph, boxes, box)
        return replace(bar, height=1.1, label=f"{box.label}: network on chip, all to all")
    return box


def _stretched(graph: Graph, boxes: Mapping[str, Box], box: Box) -> Box:
    """A bar over the nodes it connects: a switch over cards and NICs, a leaf over NICs."""
    own = graph.nodes[box.name]["kind"]
    over = [boxes[other] for other in graph.successors(box.name) if _spans(graph, own, other)]
    if not over:
        return box
    left = min(other.x - other.width / 2 for other in over)
    right = max(other.x + other.width / 2 for other in over)
    if own == NodeKind.PCIE_SWITCH:
        left, right = min(left, box.x - box.width / 2), max(right, box.x + box.width / 2)
    return replace(box, x=(left + right) / 2, width=right - left)


def _spans(graph: Graph, bar: NodeKind, other: str) -> bool:
    return graph.nodes[other]["kind"] in _SPANNED[bar]


def _outlines(graph: Graph, boxes: Mapping[str, Box]) -> Iterator[Box]:
    """Holders, outermost first, each around its contents."""
    members: dict[str, list[str]] = {}
    for name, data in graph.nodes(data=True):
        members.setdefault(data["within"], []).append(name)
    hulls: dict[str, Box] = {}
    for kind, padding in _PADDINGS.items():
        for name in _names(graph, kind):
            inside = [m for m in members.get(name, ()) if m in hulls or m in boxes]
            if inside:
                held = [hulls[m] if m in hulls else boxes[m] for m in inside]
                held += [boxes[name]] if name in boxes else []
                hulls[name] = _around(name, graph.nodes[name], held, padding)
    yield from reversed(hulls.values())


def _around(name: str, node: Mapping[str, Any], held: list[Box], padding: float) -> Box:
    left = min(box.x - box.width / 2 for box in held) - padding
    right = max(box.x + box.width / 2 for box in held) + padding
    low = min(box.y - box.height / 2 for box in held) - padding
    high = max(box.y + box.height / 2 for box in held) + padding
    plain = node["kind"] in (NodeKind.BRIDGE, NodeKind.CARD)
    label = ": ".join(filter(None, (name.rpartition(".")[2], node["about"])))
    return Box(
        name=name,
        x=(left + right) / 2,
        y=(low + high) / 2,
        width=right - left,
        height=high - low,
        fill="#f2f2f2" if node["kind"] == NodeKind.BRIDGE else "#ffffff",
        label="" if plain else label,
        outline=True,
        label_below=node["kind"] == NodeKind.PACKAGE,
    )


def _lines(graph: Graph, boxes: Mapping[str, Box]) -> Iterator[Line]:
    """One line per link, straight into bars, spread where one box has several spines."""
    order = {name: index for index, name in enumerate(graph)}
    spines = _names(graph, NodeKind.SPINE)
    for source, target, link in graph.edges(data=True):
        if graph.has_edge(target, source) and order[source] > order[target]:
            continue
        start, end = boxes[source], boxes[target]
        x, x2 = _ends(start, end)
        if link["kind"] == LinkKind.SPINE:
            spine, leaf = (source, end) if source in spines else (target, start)
            x = x2 = leaf.x + _BIT * (spines.index(spine) - (len(spines) - 1) / 2)
        yield Line(kind=link["kind"], x=x, y=start.y, x2=x2, y2=end.y)


def _ends(start: Box, end: Box) -> tuple[float, float]:
    """Where a line leaves two boxes: upright from the middle of the narrower one if it can."""
    if start.width > end.width:
        x2, x = _ends(end, start)
        return x, x2
    inside = end.width / 2 - 0.3
    if start.width == end.width or inside <= 0:
        return start.x, end.x
    x2 = min(max(start.x, end.x - inside), end.x + inside)
    half = start.width / 3
    return min(max(x2, start.x - half), start.x + half) if x2 != start.x else x2, x2


def _legend(graph: Graph, shown: Graph) -> Iterator[tuple[LinkKind, str]]:
    drawn = {link["kind"] for _, _, link in shown.edges(data=True)}
    for kind in outwards(drawn):
        links = [link for _, _, link in graph.edges(data=True) if link["kind"] == kind]
        rates = _range([link["bandwidth_bytes_per_s"] / 1e9 for link in links])
        times = _range([link["latency_ps"] / 1e3 for link in links])
        timing = "" if kind == LinkKind.PORT else f", {times} ns"
        yield kind, f"{kind.label}: {rates} GB/s each way{timing}"


def _range(values: list[float]) -> str:
    low, high = f"{min(values):.4g}", f"{max(values):.4g}"
    return low if low == high else f"{low} to {high}"


def _names(graph: Graph, kind: NodeKind) -> list[str]:
    return [name for name, data in graph.nodes(data=True) if data["kind"] == kind]
