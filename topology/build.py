"""Builders of the topology graph, from one chiplet to a pod of racks, with NetworkX.

Names give the location: ``s0.c3`` is card 3 of server 0, ``s0.sw1`` a PCIe switch,
``s0.nic2``, ``s0.host``, ``leaf``, and ``s0.fabric0`` the PCIe fabric of a node of 32 cards, whose
switches are drawn as one; with several racks all carry their rack: ``r1.s0.c3``,
``r1.leaf``, and above them ``spine0``. Inside a card: package ``c3.p0``, chiplet ``c3.k5``,
slice ``c3.k5.sl9``. GPUs are cards as well; ``s0.nvsw0`` is the NVSwitch that joins them, and
``s0.root`` the host's root complex where PCIe switches meet. A link is called ``s0.c3>s0.sw0``.

Two levels of detail: ``card`` (a card is one node; routes need no more) and ``chiplet`` (each card
also shows packages and chiplets, for pictures and export).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase
from types import MappingProxyType

import networkx as nx

from topology.builder import (
    Site,
    add_card,
    add_cards,
    add_gpu,
    add_scale_up,
    describe,
)
from topology.catalog import Hardware
from topology.layout import place
from topology.link_specs import cables, spine_cable
from topology.mixed import AnyHardware, kinds_of, servers_of, spans_servers
from topology.types import Graph, LinkKind, NodeKind, TopologyError

MOST_CARDS = 2**14
"""As for scenarios: routes are found card by card."""
DETAILS = ("card", "chiplet")
LEVELS = ("chiplet", "card", "pair", "server", "rack", "pod")
_ANY_SIZE: Mapping[str, int | None] = MappingProxyType({})


def build_chiplet(hardware: Hardware) -> Graph:
    """One chiplet: its slices, in quads, around the network on chip."""
    site = _begin(hardware, "chiplet", "chiplet")
    site.add("k0", NodeKind.CHIPLET, about=describe(hardware, 1))
    quads = hardware.count("chiplet.quads")
    for quad in range(quads):
        site.add(f"k0.q{quad}", NodeKind.QUAD, "k0")
    slices = hardware.count("chiplet.slices")
    per_quad = slices // quads
    cores = f"{hardware.count('chiplet.dimc_cores') // slices} cores"
    for index in range(slices):
        site.add(f"k0.sl{index}", NodeKind.SLICE, f"k0.q{index // per_quad}", about=cores)
        site.join(f"k0.sl{index}", "k0", LinkKind.NOC)
    return place(site.graph)


def build_card(hardware: Hardware, *, detail: str = "chiplet") -> Graph:
    """One card; with detail ``chiplet`` also its packages and chiplets."""
    site = _begin(hardware, "card", detail)
    (add_card if "package.chiplets" in hardware.figures else add_gpu)(site, "c0", "")
    return place(site.graph)


def build_pair(hardware: Hardware, *, detail: str = "chiplet") -> Graph:
    """Two cards and the bridge between them."""
    site = _begin(hardware, "pair", detail)
    add_cards(site, "", "", 2)
    return place(site.graph)


def build_server(
    hardware: Hardware, *, cards_per_server: int | None = None, detail: str = "card"
) -> Graph:
    """One server: bridged cards, PCIe switches, host and unconnected NICs."""
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
    """One rack: servers whose NICs connect to a leaf switch."""
    return build_pod(
        hardware,
        racks=1,
        servers_per_rack=servers_per_rack,
        cards_per_server=cards_per_server,
        detail=detail,
    )


def build_pod(
    hardware: AnyHardware,
    *,
    racks: int = 1,
    servers_per_rack: int | None = None,
    cards_per_server: int | None = None,
    detail: str = "card",
) -> Graph:
    """Racks connected by spines; omitted sizes are the hardware's.

    Raises
    ------
    TopologyError
        A size is below 1, or above what the hardware's server or rack holds.
    """
    kinds = kinds_of(hardware)
    servers = _servers(hardware, servers_per_rack)
    cards = min(_cards(kind, cards_per_server) for kind in kinds)
    if racks < 1:
        raise TopologyError(f"racks must be at least 1, found {racks}")
    if (total := racks * servers * cards) > MOST_CARDS:
        raise TopologyError(
            f"{racks:,} x {servers:,} x {cards:,} (racks, servers, cards) are {total:,} cards; at "
            f"most {MOST_CARDS:,} are laid out"
        )
    site = _begin(kinds[0], "pod" if racks > 1 else "rack", detail)
    sites = {id(kind): site.of(kind, cables(kind)) for kind in kinds[1:]} | {id(kinds[0]): site}
    if len(kinds) > 1:
        site.graph.graph |= {"name": hardware.name, "hardware_kind": "mixed"}
    spines = [f"spine{i}" for i in range(kinds[0].count("pod.spines"))] if racks > 1 else []
    for spine in spines:
        site.add(spine, NodeKind.SPINE)
    for rack, held in enumerate(servers_of(hardware, racks, servers)):
        _add_rack(rack, [sites[id(each)] for each in held], spines, cards)
    return place(site.graph)


def build_level(
    hardware: Hardware, level: str, sizes: Mapping[str, int | None] = _ANY_SIZE
) -> Graph:
    """The topology of one of LEVELS, with these ``sizes``.

    ``sizes`` may contain ``racks`` (of a pod), ``servers_per_rack`` and ``cards_per_server``; a
    None stands for the hardware's own.
    """
    racks, servers, cards = (
        sizes.get(name) for name in ("racks", "servers_per_rack", "cards_per_server")
    )
    levels = levels_of(hardware)
    if level not in levels:
        raise TopologyError(
            f"level must be one of {', '.join(levels)} (hardware {hardware.name}), found {level!r}"
        )
    if level == "pod":
        racks = hardware.count("pod.racks") if racks is None else racks
        return build_pod(hardware, racks=racks, servers_per_rack=servers, cards_per_server=cards)
    if racks not in (None, 1):
        raise TopologyError(f"a {level} has no {racks} racks; the level for that is pod")
    if level == "rack":
        return build_rack(hardware, servers_per_rack=servers, cards_per_server=cards)
    if level == "server":
        return build_server(hardware, cards_per_server=cards)
    small: dict[str, Callable[[Hardware], Graph]]
    small = {"chiplet": build_chiplet, "card": build_card, "pair": build_pair}
    return small[level](hardware)


def levels_of(hardware: Hardware) -> tuple[str, ...]:
    """The LEVELS that the hardware has: no chiplets in a GPU, no pair without a bridge."""
    figures = {"chiplet": "package.chiplets", "pair": "pair.cards"}
    return tuple(x for x in LEVELS if x not in figures or figures[x] in hardware.figures)


def scale_links(
    graph: Graph, match: str, bandwidth_scale: float, latency_scale: float = 1.0
) -> Graph:
    """A copy of the topology with faster or slower cables.

    ``match`` is a shell pattern over ``source>target``: ``s0.nic1>*`` matches all links out of a
    NIC, ``*>s0.nic1`` all links into it. Latencies are rounded to whole picoseconds.

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
            f"links: no link matches {match!r}; links are named source>target, "
            f"such as {', '.join(close or list(names)[:3])}"
        )
    changed: Graph = graph.copy()
    for source, target in matched:
        link = changed.edges[source, target]
        link["bandwidth_bytes_per_s"] *= bandwidth_scale
        link["latency_ps"] = round(link["latency_ps"] * latency_scale)
    return changed


def _begin(hardware: Hardware, level: str, detail: str) -> Site:
    if detail not in DETAILS:
        raise TopologyError(f"detail must be one of {', '.join(DETAILS)}, found {detail!r}")
    graph: Graph = nx.DiGraph(
        name=hardware.name,
        level=level,
        detail=detail,
        hardware_kind=hardware.kind,
        fabric=hardware.fabric,
    )
    return Site(graph=graph, hardware=hardware, cables=cables(hardware), detail=detail)


def server_sizes(hardware: Hardware) -> tuple[int, ...]:
    """How many cards a server may have; those of a fabric share it out evenly."""
    most = hardware.count("server.cards")
    return tuple(n for n in range(1, most + 1) if not hardware.fabric or most % n == 0)


def _cards(hardware: Hardware, inputs: int | None) -> int:
    cards = _within("cards_per_server", inputs, hardware, "server.cards")
    if cards not in (sizes := server_sizes(hardware)):
        raise TopologyError(
            f"cards_per_server must divide the {sizes[-1]} cards of a node on the fabric "
            f"{hardware.fabric} ({', '.join(map(str, sizes))}), found {cards}"
        )
    return cards


def _servers(hardware: AnyHardware, inputs: int | None) -> int:
    """Of a rack; the room for servers of two kinds is checked where it is known which they are."""
    if isinstance(hardware, Hardware):
        return _within("servers_per_rack", inputs, hardware, "rack.servers")
    return hardware.first_servers + 1 if inputs is None else inputs


def _within(name: str, inputs: int | None, hardware: Hardware, figure: str) -> int:
    most = hardware.count(figure)
    if inputs is None:
        return most
    if not 1 <= inputs <= most:
        raise TopologyError(
            f"{name} must be 1 to {most} ({figure} of {hardware.name}), found {inputs}; "
            f"a larger one is a change of hardware: hardware_set {figure}"
        )
    return inputs


def _add_rack(index: int, sites: Sequence[Site], spines: Sequence[str], cards: int) -> None:
    """A rack of servers, each of the hardware of its site; the leaf is that of the first one."""
    rack = f"r{index}"
    prefix = f"{rack}." if spines else ""
    leaf = f"{prefix}leaf"
    sites[0].add(rack, NodeKind.RACK)
    sites[0].add(leaf, NodeKind.LEAF, rack)
    names: dict[int, list[str]] = {id(site): [] for site in sites}
    for server, site in enumerate(sites):
        name = f"{prefix}s{server}"
        names[id(site)] += _add_server(site, name, rack, cards)
        for nic in range(site.hardware.count("server.nics")):
            site.join(f"{name}.nic{nic}", leaf, LinkKind.ETHERNET)
    nics_bytes_per_s = 0.0
    for site in {id(site): site for site in sites}.values():
        if spans_servers(site.hardware):
            add_scale_up(site, prefix, rack, names[id(site)])
        count = sum(each is site for each in sites) * site.hardware.count("server.nics")
        nics_bytes_per_s += count * site.hardware["server.nic_bandwidth_bytes_per_s"]
    for spine in spines:
        sites[0].lay(leaf, spine, spine_cable(sites[0].hardware, nics_bytes_per_s))


def _add_server(site: Site, name: str, rack: str, cards: int) -> list[str]:
    """Cards in order under the switches, as many under each as a full server has."""
    mixed = site.graph.graph["hardware_kind"] == "mixed"
    site.add(name, NodeKind.SERVER, rack, about=site.hardware.name if mixed else "")
    label = "fabric" if site.hardware.fabric else "sw"
    switches = [f"{name}.{label}{i}" for i in range(site.hardware.count("server.pcie_switches"))]
    host = f"{name}.host"
    site.add(host, NodeKind.HOST, name)
    if "pair.cards" in site.hardware.figures or len(switches) <= 2:
        _join_all(site, name, switches, host)
    else:
        _join_at_root(site, name, switches, host)
    nics = site.hardware.count("server.nics")
    for index in range(nics):
        nic = f"{name}.nic{index}"
        site.add(nic, NodeKind.NIC, name)
        site.join(switches[index * len(switches) // nics], nic, LinkKind.NIC)
    per_switch = -(-site.hardware.count("server.cards") // len(switches))
    names = add_cards(site, f"{name}.", name, cards)
    for index, card in enumerate(names):
        site.join(card, switches[index // per_switch], LinkKind.PCIE)
    if not (rack and spans_servers(site.hardware)):
        add_scale_up(site, f"{name}.", name, names)
    return names


def _join_all(site: Site, name: str, switches: Sequence[str], host: str) -> None:
    """Each PCIe switch to the host and to each other."""
    for index, switch in enumerate(switches):
        site.add(switch, NodeKind.PCIE_SWITCH, name)
        site.join(host, switch, LinkKind.HOST)
        for other in switches[:index]:
            site.join(other, switch, LinkKind.INTER_SWITCH)


def _join_at_root(site: Site, name: str, switches: Sequence[str], host: str) -> None:
    """Many small PCIe switches meet in the host's root complex."""
    root = f"{name}.root"
    for switch in (*switches, root):
        site.add(switch, NodeKind.PCIE_SWITCH, name)
    site.join(host, root, LinkKind.HOST)
    for switch in switches:
        site.join(switch, root, LinkKind.INTER_SWITCH)
