"""Route tables made from the graph: tiers between cards, links of a message, latencies."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from corsair_common.units import Floats, Indices, Integers
from topology.check import check_map, holder_of
from topology.paths import LinkIds, Network, Step, SwitchPaths, find_paths
from topology.scale_up import ScaleUp, find_scale_up
from topology.types import INSIDE_CARD, Graph, LinkKind, NodeKind

TIERS = (LinkKind.PCIE, LinkKind.NIC, LinkKind.ETHERNET, LinkKind.SPINE)
"""Columns of ``up_links`` and ``down_links``, from the card outwards."""
LEVELS = tuple(
    kind.name.lower()
    for kind in (
        LinkKind.BRIDGE,
        LinkKind.PCIE,
        LinkKind.INTER_SWITCH,
        LinkKind.ETHERNET,
        LinkKind.SPINE,
    )
)
"""The levels of a map without a scale-up network, bottom-up."""
_TOPS = (LinkKind.ETHERNET, LinkKind.SPINE)
"""Levels that every map has."""
_CARD_COLUMNS = (
    "pair", "switch", "up_links", "down_links", "bridge_link", "inter_switch_link", "nic_links",
)  # fmt: skip
_MASK = (1 << 64) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Routes:
    """Every path between C cards over L directed links; cards and links are numbered from 0.

    Messages between the two cards of a pair take their bridge, those inside a scale-up network its
    links; inside a server they take PCIe; else a NIC of the nearest, leaf and spine. Among equally
    near NICs and spines a hash of (source, destination) chooses, so a flow keeps its way. Nothing
    here grows as cards squared, but for the cards of a mesh.
    """

    card_id: npt.NDArray[np.str_]
    """[C] names of the cards, in the order of the topology."""
    pair: Indices
    """[C] cards with the same number share a bridge; a card without one has a number alone."""
    switch: Indices
    """[C] PCIe switch, -1 where there is none."""
    server: Indices
    rack: Indices
    up_links: Indices
    """[C, 4] links from the card outwards by TIERS, -1 where missing. Cards take equally near NICs
    and spines in turn, so that they load all of them evenly."""
    down_links: Indices
    """[C, 4] the same inwards: column 0 is switch to card, column 3 spine to leaf."""
    bridge_link: Indices
    """[C] link to the other card of the pair, -1 where there is none."""
    inter_switch_link: Indices
    """[C] link from the card's switch to the next of its server, -1 where there is none."""
    nic_links: Indices
    """[C, n] links NIC to leaf of all NICs that are equally near to the card, padded with -1."""
    link_name: npt.NDArray[np.str_]
    """[L] ``source>target``"""
    link_kind: npt.NDArray[np.int8]
    """[L] values of LinkKind"""
    link_bandwidth_bytes_per_s: Floats
    link_latency_ps: Integers
    link_energy_j_per_bit: Floats
    link_efficiency: Floats
    """[L] part of the bandwidth that payload can use."""
    paths: SwitchPaths
    """What lies between the switches; ``path`` and ``latency_ps`` read it."""
    scale_up: ScaleUp
    """NVSwitch and mesh domains of the cards."""
    used: Indices | None = None
    """Cards that messages go between, where they are not all: ``levels`` are theirs."""

    def between(self, cards: npt.ArrayLike) -> "Routes":
        """The same map for messages between some of its cards only.

        On a map of two kinds of servers, cards of one kind then have the levels that they have on
        a map of their own.
        """
        used = np.asarray(cards, np.int32).ravel()
        scale_up = replace(self.scale_up, kind=self.scale_up.kind_of(used))
        return replace(self, used=used, scale_up=scale_up)

    @property
    def levels(self) -> tuple[tuple[str, Indices], ...]:
        """Bottom-up: the kind of link, and [C] cards with equal numbers are joined by links of this
        kind and those before it. PCIe is no level where every two cards that it joins have a
        scale-up network; that network takes the bridge's place."""
        units: tuple[tuple[LinkKind, Indices], ...] = (
            (LinkKind.PCIE, self.switch),
            (LinkKind.INTER_SWITCH, self.server),
            (LinkKind.ETHERNET, self.rack),
            (LinkKind.SPINE, np.zeros_like(self.rack)),
        )
        below, first = self.pair, LinkKind.BRIDGE
        if self.scale_up.kind is not None:
            below, first = _coarser(self.pair, self.scale_up.domain), self.scale_up.kind
            used = slice(None) if self.used is None else self.used
            units = tuple(
                (k, unit) for k, unit in units if not _within(unit[used], below[used]) or k in _TOPS
            )
        return tuple((kind.name.lower(), unit) for kind, unit in ((first, below), *units))

    def path(self, src: int, dst: int) -> Indices:
        """The links that a message from card ``src`` to card ``dst`` crosses, in order."""
        if src == dst:
            return np.empty(0, np.int32)
        if self.pair[src] == self.pair[dst]:
            return self.bridge_link[src : src + 1].copy()
        if self.scale_up.domain[src] == self.scale_up.domain[dst]:
            return np.array(self.scale_up.links(src, dst), np.int32)
        here, there = int(self.switch[src]), int(self.switch[dst])
        across = self.paths.links(here, there, _flow_hash(src, dst))
        links = (self.up_links[src, 0], *across, self.down_links[dst, 0])
        return np.array(links, np.int32)

    def latency_ps(self, src: npt.ArrayLike, dst: npt.ArrayLike) -> Integers:
        """Latencies of the paths from cards ``src`` to cards ``dst`` (shapes broadcast)."""
        start, end = np.broadcast_arrays(np.asarray(src, np.int64), np.asarray(dst, np.int64))
        if not self.link_name.size:
            return np.zeros(start.shape, np.int64)
        ends_ps = (
            self.link_latency_ps[self.up_links[start, 0]]
            + self.link_latency_ps[self.down_links[end, 0]]
        )
        far_ps = ends_ps + self.paths.latency_ps(self.switch[start], self.switch[end])
        bridge_ps = self.link_latency_ps[self.bridge_link[start]]
        near_ps = np.where(start == end, np.int64(0), bridge_ps)
        if self.scale_up.kind is not None:
            inside_ps = self.scale_up.latency_ps(self.link_latency_ps, start, end)
            joined = self.scale_up.domain[start] == self.scale_up.domain[end]
            far_ps = np.where(joined, inside_ps, far_ps)
        return np.where(self.pair[start] == self.pair[end], near_ps, far_ps)


def compile_routes(graph: Graph, *, cut: bool = False) -> Routes:
    """Check the topology and convert it to tables; the inside of cards is ignored.

    With ``cut`` some cards may be without a path to others: ``latency_ps`` is then UNREACHABLE_PS
    or more, and ``path`` has no meaning.

    Raises
    ------
    TopologyError
        The topology violates a rule, or a card cannot reach another by going up and down once.
    """
    check_map(graph, cut=cut)
    kinds = {n: d["kind"] for n, d in graph.nodes(data=True) if d["kind"] not in INSIDE_CARD}
    edges = [(s, t, d) for s, t, d in graph.edges(data=True) if s in kinds and t in kinds]
    network = _network(graph, kinds, edges)
    paths = find_paths(network, cut=cut)
    cards = network.named(NodeKind.CARD)
    links = [data for _, _, data in edges]
    return Routes(
        card_id=np.array(cards, np.str_),
        server=_numbered([network.server_of[card] for card in cards]),
        rack=_numbered([holder_of(graph, card, NodeKind.RACK) for card in cards]),
        link_name=np.array([f"{source}>{target}" for source, target, _ in edges], np.str_),
        link_kind=np.array([link["kind"] for link in links], np.int8),
        link_bandwidth_bytes_per_s=np.array(
            [link["bandwidth_bytes_per_s"] for link in links], np.float64
        ),
        link_latency_ps=np.array(network.latency_ps, np.int64),
        link_energy_j_per_bit=np.array([link["energy_j_per_bit"] for link in links], np.float64),
        link_efficiency=np.array([link["efficiency"] for link in links], np.float64),
        **_card_columns(network, paths, cards, [link["kind"] for link in links]),
        paths=paths,
        scale_up=find_scale_up(network, cards, [link["kind"] for link in links]),
    )


def _network(
    graph: Graph, kinds: Mapping[str, NodeKind], edges: Sequence[tuple[str, str, Any]]
) -> Network:
    numbers = {(source, target): number for number, (source, target, _) in enumerate(edges)}
    onward: dict[str, list[Step]] = {name: [] for name in kinds}
    inward: dict[str, list[Step]] = {name: [] for name in kinds}
    for number, (source, target, _) in enumerate(edges):
        onward[source].append((number, target))
        inward[target].append((number, source))
    return Network(
        kinds=kinds,
        server_of={name: holder_of(graph, name, NodeKind.SERVER) for name in kinds},
        onward=onward,
        inward=inward,
        ends=[target for _, target, _ in edges],
        opposite=[numbers[target, source] for source, target, _ in edges],
        latency_ps=[int(data["latency_ps"]) for _, _, data in edges],
    )


def _card_columns(
    network: Network, paths: SwitchPaths, cards: Sequence[str], kinds: Sequence[LinkKind]
) -> dict[str, Indices]:
    """The columns of Routes that say where each card hangs and by which links."""
    switches = {name: i for i, name in enumerate(network.named(NodeKind.PCIE_SWITCH))}
    passed: Counter[str] = Counter()
    bridges = {link for link, kind in enumerate(kinds) if kind == LinkKind.BRIDGE}
    rows: dict[str, list[Any]] = {name: [] for name in _CARD_COLUMNS}
    for card in cards:
        bridge, partner = _bridge(network, bridges, card)
        pcie, switch = next(iter(network.steps(card, NodeKind.PCIE_SWITCH)), (-1, ""))
        others = network.steps(switch, NodeKind.PCIE_SWITCH) if switch else []
        exits = paths.nearest_exits(switches[switch]) if switch else []
        up = [pcie, *_home_links(network, exits, passed, switch)]
        rows["switch"].append(switches.get(switch, -1))
        rows["pair"].append(min(card, partner))
        rows["bridge_link"].append(bridge)
        rows["inter_switch_link"].append(others[0][0] if others else -1)
        rows["nic_links"].append([path[-1] for path in exits])
        rows["up_links"].append(up)
        rows["down_links"].append([network.opposite[link] if link >= 0 else -1 for link in up])
    return {
        "pair": _numbered(rows.pop("pair")),
        "nic_links": _padded(rows.pop("nic_links")),
        **{name: np.array(column, np.int32) for name, column in rows.items()},
    }


def _bridge(network: Network, bridges: Collection[int], card: str) -> Step:
    """The link to the other card of the pair, and that card; -1 and itself where there is none."""
    steps = network.steps(card, NodeKind.CARD)
    return next((step for step in steps if step[0] in bridges), (-1, card))


def _coarser(one: Indices, other: Indices) -> Indices:
    """Units of both: the other's, and for cards that are alone there the one's."""
    alone = np.bincount(other)[other] == 1
    return _numbered(
        [str(a) if lone else f"o{b}" for a, b, lone in zip(one, other, alone, strict=True)]
    )


def _within(unit: Indices, below: Indices) -> bool:
    """Whether every unit lies inside one unit of the level below, which then joins its cards."""
    pairs = np.unique(np.stack([unit, below]), axis=1)
    return bool(pairs.shape[1] == np.unique(unit).size)


def _home_links(
    network: Network, exits: Sequence[LinkIds], passed: Counter[str], switch: str
) -> list[int]:
    """Links to the NIC, leaf and spine of a card: the next of the equally near ones in turn."""
    if not exits:
        return [-1, -1, -1]
    path = exits[passed[switch] % len(exits)]
    passed[switch] += 1
    leaf = network.ends[path[-1]]
    spines = network.steps(leaf, NodeKind.SPINE)
    spine = spines[passed[leaf] % len(spines)][0] if spines else -1
    passed[leaf] += 1
    return [path[-2], path[-1], spine]


def _numbered(names: Sequence[str]) -> Indices:
    """Equal names get equal numbers, counted from 0 in the order of their first card."""
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(name, len(numbers)) for name in names], np.int32)


def _padded(rows: Sequence[Sequence[int]]) -> Indices:
    width = max((len(row) for row in rows), default=0)
    return np.array([[*row, *[-1] * (width - len(row))] for row in rows], np.int32).reshape(
        len(rows), width
    )


def _flow_hash(src: int, dst: int) -> int:
    """64 bits that look random and are the same on every machine (the splitmix64 finaliser)."""
    mixed = ((src << 32 | dst) + 0x9E3779B97F4A7C15) & _MASK
    mixed = ((mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9) & _MASK
    mixed = ((mixed ^ mixed >> 27) * 0x94D049BB133111EB) & _MASK
    return mixed ^ mixed >> 31
