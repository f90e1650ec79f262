"""Shortest paths between PCIe switches: inside a server, and over leaves and spines.

The search runs once per switch inside its server and once per leaf over leaves and spines; a query
joins the two. Work and tables grow with servers plus leaves squared, never with cards squared.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from corsair_common.units import Integers
from topology.types import NodeKind, TopologyError

Step: TypeAlias = tuple[int, str]
"""A link and its target."""
LinkIds: TypeAlias = tuple[int, ...]
Reached: TypeAlias = tuple[int, LinkIds]
"""Latency in picoseconds, and the links in the order of the search."""

UNREACHABLE_PS = 1 << 59
"""Longer than any path; the sum of three still fits an int64."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """The part of the topology outside of cards, by name, as the search needs it."""

    kinds: Mapping[str, NodeKind]
    server_of: Mapping[str, str]
    onward: Mapping[str, list[Step]]
    """Links that leave a node."""
    inward: Mapping[str, list[Step]]
    """Links that enter a node, each with its source."""
    ends: list[str]
    """[L] target of each link."""
    opposite: list[int]
    """[L] the same cable in the other direction."""
    latency_ps: list[int]

    def named(self, kind: NodeKind) -> list[str]:
        return [name for name, found in self.kinds.items() if found == kind]

    def steps(self, name: str, kind: NodeKind) -> list[Step]:
        return [step for step in self.onward[name] if self.kinds[step[1]] == kind]


@dataclass(frozen=True, slots=True, kw_only=True)
class LeafLinks:
    """Paths from switches to leaves in one direction: the nearest ones, all equally long."""

    leaf: npt.NDArray[np.int32]
    """[S, k] leaves that switch s reaches."""
    latency_ps: Integers
    """[S, k] UNREACHABLE_PS where column k is not used."""
    paths: list[dict[int, list[LinkIds]]]
    """[S] for each leaf the equally short paths, in the order of their NICs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SwitchPaths:
    """Paths between the S switches of a topology."""

    server: npt.NDArray[np.int32]
    """[S]"""
    place: npt.NDArray[np.int32]
    """[S] which switch of its server it is."""
    inner_ps: Integers
    """[S, p] to the p switches of the same server."""
    inner: Mapping[tuple[int, int], LinkIds]
    exits: LeafLinks
    entries: LeafLinks
    leaf_ps: Integers
    """[leaf, leaf]"""
    hops: Mapping[tuple[str, int], list[Step]]
    """(leaf or spine, final leaf) -> the equally near next steps."""
    leaves: list[str]

    def latency_ps(self, here: npt.ArrayLike, there: npt.ArrayLike) -> Integers:
        """From switches ``here`` to switches ``there``, by number (shapes broadcast)."""
        start, end = np.broadcast_arrays(np.asarray(here), np.asarray(there))
        if not self.server.size:
            return np.zeros(start.shape, np.int64)
        outside = np.full(start.shape, UNREACHABLE_PS, np.int64)
        for out in range(self.exits.leaf.shape[1]):
            for back in range(self.entries.leaf.shape[1]):
                between = self.leaf_ps[self.exits.leaf[start, out], self.entries.leaf[end, back]]
                ends = self.exits.latency_ps[start, out] + self.entries.latency_ps[end, back]
                outside = np.minimum(outside, ends + between)
        inside = self.inner_ps[start, self.place[end]]
        stays = (self.server[start] == self.server[end]) & (inside < UNREACHABLE_PS)
        return np.where(stays, inside, outside)

    def links(self, here: int, there: int, choice: int) -> list[int]:
        """The links from switch to switch; ``choice`` (64 random bits) picks among equals."""
        if (here, there) in self.inner:
            return list(self.inner[here, there])
        leaf, final = _chosen(self._leaf_pairs(here, there), choice >> 48)
        found = list(_chosen(self.exits.paths[here][leaf], choice))
        node = self.leaves[leaf]
        while node != self.leaves[final]:
            link, node = _chosen(self.hops[node, final], choice >> 16)
            found.append(link)
        return found + list(_chosen(self.entries.paths[there][final], choice >> 32))

    def nearest_exits(self, switch: int) -> list[LinkIds]:
        """All paths from a switch to the nearest leaves, equally long."""
        least_ps = self.exits.latency_ps[switch].min()
        near = self.exits.latency_ps[switch] == least_ps
        return [
            path
            for leaf in dict.fromkeys(self.exits.leaf[switch][near].tolist())
            for path in self.exits.paths[switch].get(leaf, ())
        ]

    def _leaf_pairs(self, here: int, there: int) -> list[tuple[int, int]]:
        """The exit and entry leaves, every equally near choice."""
        outs, backs = self.exits.leaf[here], self.entries.leaf[there]
        total = (
            self.exits.latency_ps[here][:, None]
            + self.leaf_ps[outs[:, None], backs[None, :]]
            + self.entries.latency_ps[there][None, :]
        )
        return [(int(outs[i]), int(backs[j])) for i, j in np.argwhere(total == total.min())]


def _chosen(equals: Sequence[Any], choice: int) -> Any:
    return equals[(choice & 0xFFFF) % len(equals)]


def find_paths(network: Network, *, cut: bool = False) -> SwitchPaths:
    """Search the topology; unless it may be ``cut``, two switches without a path between them are
    refused (TopologyError)."""
    switches = network.named(NodeKind.PCIE_SWITCH)
    leaves = network.named(NodeKind.LEAF)
    mates: dict[str, list[int]] = {}
    for number, switch in enumerate(switches):
        mates.setdefault(network.server_of[switch], []).append(number)
    width = max((len(group) for group in mates.values()), default=1)
    inner_ps = np.full((len(switches), width), UNREACHABLE_PS, np.int64)
    inner: dict[tuple[int, int], LinkIds] = {}
    outward, homeward = [], []
    for number, switch in enumerate(switches):
        reached = _nearest(network, switch, network.onward, _stays_in_server(network, switch))
        for place, other in enumerate(mates[network.server_of[switch]]):
            if switches[other] in reached:
                inner_ps[number, place], inner[number, other] = reached[switches[other]]
        outward.append(_leaf_links(network, reached, network.onward, leaves))
        coming = _nearest(network, switch, network.inward, _stays_in_server(network, switch))
        homeward.append(_leaf_links(network, coming, network.inward, leaves))
    leaf_ps, hops = _between_leaves(network, leaves)
    server_numbers = {name: number for number, name in enumerate(mates)}
    paths = SwitchPaths(
        server=np.array([server_numbers[network.server_of[s]] for s in switches], np.int32),
        place=np.array(
            [mates[network.server_of[s]].index(number) for number, s in enumerate(switches)],
            np.int32,
        ),
        inner_ps=inner_ps,
        inner=inner,
        exits=_doors(outward),
        entries=_doors(homeward, backwards=True),
        leaf_ps=leaf_ps,
        hops=hops,
        leaves=leaves,
    )
    if not cut:
        _refuse_cut_off(paths, switches)
    return paths


def _stays_in_server(network: Network, switch: str) -> Callable[[str], bool]:
    """Whether a node is a switch or NIC of the switch's own server."""
    server = network.server_of[switch]
    passable = (NodeKind.PCIE_SWITCH, NodeKind.NIC)
    return lambda name: network.kinds[name] in passable and network.server_of[name] == server


def _nearest(
    network: Network,
    start: str,
    steps: Mapping[str, list[Step]],
    passable: Callable[[str], bool],
) -> dict[str, Reached]:
    """Dijkstra: latency and links to every passable node; the first found is kept on ties."""
    found: dict[str, Reached] = {}
    heap: list[tuple[int, int, str, LinkIds]] = [(0, 0, start, ())]
    pushed = 0
    while heap:
        latency_ps, _, name, links = heappop(heap)
        if name in found:
            continue
        found[name] = (latency_ps, links)
        for link, target in steps[name]:
            if target not in found and passable(target):
                pushed += 1
                farther = latency_ps + network.latency_ps[link]
                heappush(heap, (farther, pushed, target, (*links, link)))
    return found


def _leaf_links(
    network: Network,
    reached: Mapping[str, Reached],
    steps: Mapping[str, list[Step]],
    leaves: Sequence[str],
) -> dict[int, tuple[int, list[LinkIds]]]:
    """For each leaf connected to reached NICs: the least latency and all paths with it."""
    numbers = {leaf: number for number, leaf in enumerate(leaves)}
    found: dict[int, tuple[int, list[LinkIds]]] = {}
    for name, (near_ps, links) in sorted(reached.items(), key=lambda item: item[1][1]):
        for link, target in steps[name]:
            if target not in numbers:
                continue
            leaf, total_ps = numbers[target], near_ps + network.latency_ps[link]
            least_ps, paths = found.get(leaf, (UNREACHABLE_PS, []))
            if total_ps < least_ps:
                found[leaf] = (total_ps, [(*links, link)])
            elif total_ps == least_ps:
                paths.append((*links, link))
    return found


def _between_leaves(
    network: Network, leaves: Sequence[str]
) -> tuple[Integers, dict[tuple[str, int], list[Step]]]:
    """Latency from leaf to leaf, and for every node above the next steps on such paths."""
    table = np.full((max(len(leaves), 1),) * 2, UNREACHABLE_PS, np.int64)
    hops: dict[tuple[str, int], list[Step]] = {}
    onward, inward = (_above(network, steps) for steps in (network.onward, network.inward))
    for final, leaf in enumerate(leaves):
        reached = _nearest(network, leaf, inward, lambda _: True)
        for start, name in enumerate(leaves):
            if name in reached:
                table[start, final] = reached[name][0]
        for name, (left_ps, _) in reached.items():
            hops[name, final] = [
                (link, target)
                for link, target in onward[name]
                if target in reached and network.latency_ps[link] + reached[target][0] == left_ps
            ]
    return table, hops


def _above(network: Network, steps: Mapping[str, list[Step]]) -> dict[str, list[Step]]:
    """The links between leaves and spines, which are few of those of a leaf."""
    above = (NodeKind.LEAF, NodeKind.SPINE)
    return {
        name: [step for step in steps[name] if network.kinds[step[1]] in above]
        for name, kind in network.kinds.items()
        if kind in above
    }


def _doors(
    found: Sequence[Mapping[int, tuple[int, list[LinkIds]]]], *, backwards: bool = False
) -> LeafLinks:
    width = max((len(leaf_links) for leaf_links in found), default=1) or 1
    leaf = np.zeros((len(found), width), np.int32)
    latency_ps = np.full((len(found), width), UNREACHABLE_PS, np.int64)
    for number, leaf_links in enumerate(found):
        for column, (target, (least_ps, _)) in enumerate(leaf_links.items()):
            leaf[number, column], latency_ps[number, column] = target, least_ps
    turn = slice(None, None, -1 if backwards else 1)
    paths = [{k: [path[turn] for path in paths] for k, (_, paths) in d.items()} for d in found]
    return LeafLinks(leaf=leaf, latency_ps=latency_ps, paths=paths)


def _refuse_cut_off(paths: SwitchPaths, switches: Sequence[str]) -> None:
    """Every two switches need a path; row by row, so that memory grows with switches only."""
    everyone = np.arange(len(switches))
    seen: set[tuple[object, ...]] = set()
    for number in range(len(switches)):
        leaf_links = (frozenset(paths.exits.paths[number]), frozenset(paths.entries.paths[number]))
        server_is_joined = (paths.inner_ps[number] < UNREACHABLE_PS).sum() == _mates(paths, number)
        if (alike := (*leaf_links, server_is_joined)) in seen and server_is_joined:
            continue
        seen.add(alike)
        far = paths.latency_ps(number, everyone) >= UNREACHABLE_PS
        if far.any():
            raise TopologyError(
                f"no path from {switches[number]} to {switches[int(far.argmax())]}: a message goes "
                "to a NIC of its own server, to a leaf, over spines, to a NIC of the other server"
            )


def _mates(paths: SwitchPaths, number: int) -> int:
    return int((paths.server == paths.server[number]).sum())
