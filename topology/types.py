"""Types of the topology: kinds of nodes and links, the graph, the error."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING, ClassVar, TypeAlias

if TYPE_CHECKING:
    import networkx as nx

Graph: TypeAlias = "nx.DiGraph[str]"


class TopologyError(ValueError):
    """An invalid topology or hardware file; names every violation."""

    exit_code: ClassVar[int] = 2


class NodeKind(StrEnum):
    """What a node is; the members of CONTAINERS only hold others."""

    SLICE = "slice"
    CHIPLET = "chiplet"
    CARD = "card"
    PCIE_SWITCH = "pcie_switch"
    HOST = "host"
    NIC = "nic"
    LEAF = "leaf"
    SPINE = "spine"
    NVSWITCH = "nvswitch"
    """Joins the cards of a scale-up network all to all; several chips are drawn as one."""
    PACKAGE = "package"
    """Holds chiplets; its capacity is the total of all D2D links of the package."""
    BRIDGE = "bridge"
    """Holds two bridged cards; its capacity is the bridge's total of both directions."""
    SERVER = "server"
    RACK = "rack"
    QUAD = "quad"


CONTAINERS = frozenset(
    {NodeKind.QUAD, NodeKind.PACKAGE, NodeKind.BRIDGE, NodeKind.SERVER, NodeKind.RACK}
)
"""Kinds that only hold others and carry no links."""

INSIDE_CARD = frozenset({NodeKind.SLICE, NodeKind.QUAD, NodeKind.CHIPLET, NodeKind.PACKAGE})
"""Kinds below the card: pictures and exports show them, routes do not."""


class LinkKind(IntEnum):
    """What a link is. The numbers stand in route tables; LINK_ENDS has the order outwards."""

    NOC = 0
    """Slice to the middle of its chiplet."""
    D2D = 1
    """Chiplet to chiplet in a package."""
    PACKAGE = 2
    """Package to package on a card (between one chiplet of each)."""
    PORT = 3
    """Chiplet to the edge of its card: no time, since published latencies contain it."""
    BRIDGE = 4
    """Card to card of a pair (DMX Bridge)."""
    PCIE = 5
    """Card to PCIe switch: the card's x16."""
    INTER_SWITCH = 6
    HOST = 7
    NIC = 8
    """PCIe switch to NIC."""
    ETHERNET = 9
    """NIC to leaf."""
    SPINE = 10
    """Leaf to spine."""
    NVLINK = 11
    """Card to NVSwitch."""
    MESH = 12
    """Card to card of a scale-up network without a switch, all to all."""

    @property
    def label(self) -> str:
        """Name for output."""
        return _LABELS[self]


_LABELS: Mapping[LinkKind, str] = {
    LinkKind.NOC: "network on chip",
    LinkKind.D2D: "die to die",
    LinkKind.PACKAGE: "package link",
    LinkKind.PORT: "chiplet port",
    LinkKind.BRIDGE: "DMX bridge",
    LinkKind.PCIE: "card x16",
    LinkKind.INTER_SWITCH: "inter-switch",
    LinkKind.HOST: "host x16",
    LinkKind.NIC: "NIC x16",
    LinkKind.ETHERNET: "Ethernet",
    LinkKind.SPINE: "leaf to spine",
    LinkKind.NVLINK: "NVLink",
    LinkKind.MESH: "GPU mesh",
}


LINK_ENDS: Mapping[LinkKind, tuple[NodeKind, NodeKind]] = {
    LinkKind.NOC: (NodeKind.SLICE, NodeKind.CHIPLET),
    LinkKind.D2D: (NodeKind.CHIPLET, NodeKind.CHIPLET),
    LinkKind.PACKAGE: (NodeKind.CHIPLET, NodeKind.CHIPLET),
    LinkKind.PORT: (NodeKind.CHIPLET, NodeKind.CARD),
    LinkKind.BRIDGE: (NodeKind.CARD, NodeKind.CARD),
    LinkKind.NVLINK: (NodeKind.CARD, NodeKind.NVSWITCH),
    LinkKind.MESH: (NodeKind.CARD, NodeKind.CARD),
    LinkKind.PCIE: (NodeKind.CARD, NodeKind.PCIE_SWITCH),
    LinkKind.INTER_SWITCH: (NodeKind.PCIE_SWITCH, NodeKind.PCIE_SWITCH),
    LinkKind.HOST: (NodeKind.HOST, NodeKind.PCIE_SWITCH),
    LinkKind.NIC: (NodeKind.PCIE_SWITCH, NodeKind.NIC),
    LinkKind.ETHERNET: (NodeKind.NIC, NodeKind.LEAF),
    LinkKind.SPINE: (NodeKind.LEAF, NodeKind.SPINE),
}
"""What a link of each kind joins, the inner end, then the outer; from the inside outwards."""


SCALE_UP = (LinkKind.NVLINK, LinkKind.MESH)
"""Links of networks that join cards directly; a card has links of one kind at most."""


def outwards(kinds: Iterable[LinkKind]) -> list[LinkKind]:
    """The kinds that there are, each once, from the inside of a chiplet outwards."""
    found = set(kinds)
    return [kind for kind in LINK_ENDS if kind in found]


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """One direction of a cable, bridge or lane group."""

    kind: LinkKind
    bandwidth_bytes_per_s: float
    latency_ps: int
    energy_j_per_bit: float = 0.0
    efficiency: float = 1.0
    """Part of the bandwidth that payload can use."""

    def attributes(self) -> dict[str, object]:
        """As the attributes of an edge."""
        return {name: getattr(self, name) for name in self.__slots__}
