"""Builders of the map, from one chiplet to a pod of racks, as NetworkX graphs.

Names say where a thing stands: ``s0.c3`` is card 3 of server 0, ``s0.sw1`` a PCIe switch,
``s0.nic2``, ``s0.host``, ``leaf``; with several racks all carry their rack: ``r1.s0.c3``,
``r1.leaf``, and above them ``spine0``. Inside a card: package ``c3.p0``, chiplet ``c3.k5``,
slice ``c3.k5.sl9``. A link is called ``s0.c3>s0.sw0``.

Two levels of detail: ``card`` (a card is one node; routes need no more) and ``chiplet`` (each card
also shows packages and chiplets, for pictures and export).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase

import networkx as nx

from topology.catalog import Hardware
from topology.layout import place
from topology.legs import Cable, cables, spine_cable
from topology.parts import Graph, LinkKind, NodeKind, TopologyError

DETAILS = ("card", "chiplet")
LEVELS = ("chiplet", "card", "pair", "server", "rack", "pod")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Site:
    """What every part of one build shares."""

    graph: Graph
    hardware: Hardware
    cables: dict[LinkKind, Cable]
    detail: str

    def add(self, name: str, kind: NodeKind, within: str = "", capacity: float = 0.0) -> None:
        self.graph.add_node(name, kind=kind, within=within, capacity_bytes_per_s=capacity)

    def join(self, inner: str, outer: str, kind: LinkKind) -> None:
        self.lay(inner, outer, self.cables[kind])

    def lay(self, inner: str, outer: str, cable: Cable) -> None:
        self.graph.add_edge(inner, outer, **cable.out.attributes())
        self.graph.add_edge(outer, inner, **cable.back.attributes())


def build_chiplet(hardware: Hardware) -> Graph:
    """One chiplet: its slices, in quads, around the network on chip."""
    site = _begin(hardware, "chiplet", "chiplet")
    site.add("k0", NodeKind.CHIPLET)
    quads = hardware.count("chiplet.quads")
    for quad in range(quads):
        site.add(f"k0.q{quad}", NodeKind.QUAD, "k0")
    per_quad = hardware.count("chiplet.slices") // quads
    for index in range(hardware.count("chiplet.slices")):
        site.add(f"k0.sl{index}", NodeKind.SLICE, f"k0.q{index // per_quad}")
        site.join(f"k0.sl{index}", "k0", LinkKind.NOC)
    return place(site.graph)


def build_card(hardware: Hardware, *, detail: str = "chiplet") -> Graph:
    """One card; in detail its packages and chiplets."""
    site = _begin(hardware, "card", detail)
    _add_card(site, "c0", "")
    return place(site.graph)


def build_pair(hardware: Hardware, *, detail: str = "chiplet") -> Graph:
    """Two cards and the bridge between them."""
    site = _begin(hardware, "pair", detail)
    _add_cards(site, "", "", 2)
    return place(site.graph)


def build_server(
    hardware: Hardware, *, cards_per_server: int | None = None, detail: str = "card"
) -> Graph:
    """One server: bridged cards, PCIe switches, host and NICs; its NICs lead nowhere."""
    site = _begin(hardware, "server", detail)
    _add_server(site, "s0", "", _cards(hardware, cards_per_server))
    return place(site.graph)


def build_rack(
    hardware: Hardware,
    *,
    servers_per_rack: int | None = None,
    cards_per_server: int | None = None,
    detail: str = "card",
) -> Graph:
    """One rack: servers whose NICs meet in a leaf switch."""
    return build_pod(
        hardware,
        racks=1,
        servers_per_rack=servers_per_rack,
        cards_per_server=cards_per_server,
        detail=detail,
    )


def build_pod(
    hardware: Hardware,
    *,
    racks: int = 1,
    servers_per_rack: int | None = None,
    cards_per_server: int | None = None,
    detail: str = "card",
) -> Graph:
    """Racks joined by spines; sizes that are not given are the hardware's.

    Raises
    ------
    TopologyError
        A size is below 1, or above what the hardware's server or rack holds.
    """
    servers = _within("servers_per_rack", servers_per_rack, hardware, "rack.servers")
    cards = _cards(hardware, cards_per_server)
    if racks < 1:
        raise TopologyError(f"racks must be at least 1, found {racks}")
    site = _begin(hardware, "pod" if racks > 1 else "rack", detail)
    spines = [f"spine{i}" for i in range(hardware.count("pod.spines"))] if racks > 1 else []
    for spine in spines:
        site.add(spine, NodeKind.SPINE)
    for rack in range(racks):
        _add_rack(site, rack, spines, (servers, cards))
    return place(site.graph)


def scale_links(
    graph: Graph, match: str, bandwidth_scale: float, latency_scale: float = 1.0
) -> Graph:
    """A copy of the map with better or worse cables.

    ``match`` is a pattern over ``source>target`` as a shell has it: ``s0.nic1>*`` is all that a
    NIC sends, ``*>s0.nic1`` all that it receives. Latencies are rounded to whole picoseconds.

    Raises
    ------
    TopologyError
        No link matches, or a scale is not a positive finite number.
    """
    for name, scale in (("bandwidth_scale", bandwidth_scale), ("latency_scale", latency_scale)):
        if not (scale > 0 and math.isfinite(scale)):
            raise TopologyError(f"links: {name} of {match!r} must be above 0, found {scale!r}")
    names = {f"{source}>{target}": (source, target) for source, target in graph.edges}
    matched = [ends for name, ends in names.items() if fnmatchcase(name, match)]
    if not matched:
        close = get_close_matches(match.replace("*", ""), list(names), n=3, cutoff=0.3)
        raise TopologyError(
            f"links: nothing matches {match!r}; links are called source>target, "
            f"such as {', '.join(close or list(names)[:3])}"
        )
    changed: Graph = graph.copy()
    for source, target in matched:
        link = changed.edges[source, target]
        link["bandwidth_bytes_per_s"] *= bandwidth_scale
        link["latency_ps"] = round(link["latency_ps"] * latency_scale)
    return changed


def _begin(hardware: Hardware, level: str, detail: str) -> _Site:
    if detail not in DETAILS:
        raise TopologyError(f"detail must be one of {', '.join(DETAILS)}, found {detail!r}")
    graph: Graph = nx.DiGraph(name=hardware.name, level=level, detail=detail)
    return _Site(graph=graph, hardware=hardware, cables=cables(hardware), detail=detail)


def _cards(hardware: Hardware, given: int | None) -> int:
    return _within("cards_per_server", given, hardware, "server.cards")


def _within(name: str, given: int | None, hardware: Hardware, figure: str) -> int:
    most = hardware.count(figure)
    if given is None:
        return most
    if not 1 <= given <= most:
        raise TopologyError(
            f"{name} must be 1 to {most} ({figure} of {hardware.name}), found {given}; "
            f"a larger one is a change of hardware: hardware_set {figure}"
        )
    return given


def _add_rack(site: _Site, index: int, spines: Sequence[str], size: tuple[int, int]) -> None:
    servers, cards = size
    rack = f"r{index}"
    prefix = f"{rack}." if spines else ""
    leaf = f"{prefix}leaf"
    site.add(rack, NodeKind.RACK)
    site.add(leaf, NodeKind.LEAF, rack)
    for server in range(servers):
        name = f"{prefix}s{server}"
        _add_server(site, name, rack, cards)
        for nic in range(site.hardware.count("server.nics")):
            site.join(f"{name}.nic{nic}", leaf, LinkKind.ETHERNET)
    if spines:
        cable = spine_cable(site.hardware, servers * site.hardware.count("server.nics"))
        for spine in spines:
            site.lay(leaf, spine, cable)


def _add_server(site: _Site, name: str, rack: str, cards: int) -> None:
    """Cards in order under the switches, as many under each as a full server has."""
    site.add(name, NodeKind.SERVER, rack)
    switches = [f"{name}.sw{i}" for i in range(site.hardware.count("server.pcie_switches"))]
    host = f"{name}.host"
    site.add(host, NodeKind.HOST, name)
    for index, switch in enumerate(switches):
        site.add(switch, NodeKind.PCIE_SWITCH, name)
        site.join(host, switch, LinkKind.HOST)
        for other in switches[:index]:
            site.join(other, switch, LinkKind.INTER_SWITCH)
    nics = site.hardware.count("server.nics")
    for index in range(nics):
        nic = f"{name}.nic{index}"
        site.add(nic, NodeKind.NIC, name)
        site.join(switches[index * len(switches) // nics], nic, LinkKind.NIC)
    per_switch = -(-site.hardware.count("server.cards") // len(switches))
    for index, card in enumerate(_add_cards(site, f"{name}.", name, cards)):
        site.join(card, switches[index // per_switch], LinkKind.PCIE)


def _add_cards(site: _Site, prefix: str, within: str, cards: int) -> list[str]:
    """Cards two by two, each two with a bridge; an odd last card stands alone."""
    names = [f"{prefix}c{index}" for index in range(cards)]
    both_ways = 2 * site.hardware["pair.bridge_bandwidth_bytes_per_s"]
    for index in range(0, cards, 2):
        two = names[index : index + 2]
        holder = f"{prefix}b{index // 2}" if len(two) == 2 else within
        if len(two) == 2:
            site.add(holder, NodeKind.BRIDGE, within, both_ways)
        for name in two:
            _add_card(site, name, holder)
        if len(two) == 2:
            site.join(two[0], two[1], LinkKind.BRIDGE)
    return names


def _add_card(site: _Site, name: str, within: str) -> None:
    """A card; its capacity is the x16 that sends, NIC traffic and collectives share."""
    site.add(name, NodeKind.CARD, within, site.hardware["card.pcie_bandwidth_bytes_per_s"])
    if site.detail == "card":
        return
    per_package = site.hardware.count("package.chiplets")
    last_of_previous = ""
    for package in range(site.hardware.count("card.packages")):
        holder = f"{name}.p{package}"
        total = site.hardware["package.d2d_total_bytes_per_s"]
        site.add(holder, NodeKind.PACKAGE, name, total)
        first = package * per_package
        chiplets = [f"{name}.k{index}" for index in range(first, first + per_package)]
        for index, chiplet in enumerate(chiplets):
            site.add(chiplet, NodeKind.CHIPLET, holder)
            for other in chiplets[:index]:
                site.join(other, chiplet, LinkKind.D2D)
        # assumed: the first and last chiplet of a package own the card's outer ports, which
        # makes four on a card, as many as the bridge's 256 GB/s need
        for chiplet in dict.fromkeys((chiplets[0], chiplets[-1])):
            site.join(chiplet, name, LinkKind.PORT)
        if last_of_previous:
            site.join(last_of_previous, chiplets[0], LinkKind.PACKAGE)
        last_of_previous = chiplets[-1]
