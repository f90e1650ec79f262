"""The builder of a topology: adds nodes, links and cards."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from topology.catalog import Hardware
from topology.link_specs import Cable
from topology.types import Graph, LinkKind, NodeKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """State shared by all parts of one build."""

    graph: Graph
    hardware: Hardware
    cables: dict[LinkKind, Cable]
    detail: str

    def of(self, hardware: Hardware, cables: dict[LinkKind, Cable]) -> "Site":
        """The same site for parts of another hardware."""
        return Site(graph=self.graph, hardware=hardware, cables=cables, detail=self.detail)

    def add(
        self,
        name: str,
        kind: NodeKind,
        within: str = "",
        capacity: float = 0.0,
        about: str = "",
    ) -> None:
        self.graph.add_node(
            name, kind=kind, within=within, capacity_bytes_per_s=capacity, about=about
        )
        if kind == NodeKind.CARD:
            self.graph.nodes[name]["hardware"] = self.hardware.name

    def join(self, inner: str, outer: str, kind: LinkKind) -> None:
        self.lay(inner, outer, self.cables[kind])

    def lay(self, inner: str, outer: str, cable: Cable) -> None:
        self.graph.add_edge(inner, outer, **cable.out.attributes())
        self.graph.add_edge(outer, inner, **cable.back.attributes())


def add_cards(site: Site, prefix: str, within: str, cards: int) -> list[str]:
    """The cards of a server and what joins them directly; Corsair's cards two by two by a bridge,
    where an odd last one stands alone. Where an NVSwitch joins cards, there are no bridges."""
    names = [f"{prefix}c{index}" for index in range(cards)]
    chiplets = "package.chiplets" in site.hardware.figures
    if not chiplets or LinkKind.NVLINK in site.cables:
        for name in names:
            (add_card if chiplets else add_gpu)(site, name, within)
        return names
    both_ways = 2 * site.hardware["pair.bridge_bandwidth_bytes_per_s"]
    for index in range(0, cards, 2):
        two = names[index : index + 2]
        holder = f"{prefix}b{index // 2}" if len(two) == 2 else within
        if len(two) == 2:
            site.add(holder, NodeKind.BRIDGE, within, both_ways)
        for name in two:
            add_card(site, name, holder)
        if len(two) == 2:
            site.join(two[0], two[1], LinkKind.BRIDGE)
    return names


def add_card(site: Site, name: str, within: str) -> None:
    """A card; its capacity is the x16 port shared by sends, NIC traffic and collectives."""
    per_package = site.hardware.count("package.chiplets")
    packages = site.hardware.count("card.packages")
    x16 = site.hardware["card.pcie_bandwidth_bytes_per_s"]
    about = describe(site.hardware, packages * per_package)
    site.add(name, NodeKind.CARD, within, x16, about)
    if site.detail == "card":
        return
    last_of_previous = ""
    for package in range(packages):
        holder = f"{name}.p{package}"
        total = site.hardware["package.d2d_total_bytes_per_s"]
        site.add(holder, NodeKind.PACKAGE, name, total, f"D2D {total / 1e12:g} TB/s in all")
        first = package * per_package
        chiplets = [f"{name}.k{index}" for index in range(first, first + per_package)]
        for index, chiplet in enumerate(chiplets):
            site.add(chiplet, NodeKind.CHIPLET, holder, about=describe(site.hardware, 1))
            for other in chiplets[:index]:
                site.join(other, chiplet, LinkKind.D2D)
        # assumed: the first and last chiplet of a package own the card's outer ports, which
        # makes four on a card, as many as the bridge's 256 GB/s need
        for chiplet in dict.fromkeys((chiplets[0], chiplets[-1])):
            site.join(chiplet, name, LinkKind.PORT)
        if last_of_previous:
            site.join(last_of_previous, chiplets[0], LinkKind.PACKAGE)
        last_of_previous = chiplets[-1]


def add_gpu(site: Site, name: str, within: str) -> None:
    """A card that is one node in every detail."""
    hardware = site.hardware
    about = (
        f"{hardware['gpu.bf16_flop_per_s'] / 1e12:.4g} TFLOPS; "
        f"{hardware['gpu.memory_bytes'] / 1e9:.3g} GB"
    )
    site.add(name, NodeKind.CARD, within, hardware["card.pcie_bandwidth_bytes_per_s"], about)


def add_scale_up(site: Site, prefix: str, within: str, cards: Sequence[str]) -> None:
    """Join cards by NVSwitches or by a full mesh, as many in each domain as the hardware says."""
    if LinkKind.NVLINK in site.cables:
        gpus = site.hardware.count("nvswitch.gpus")
        for index, first in enumerate(range(0, len(cards), gpus)):
            switch = f"{prefix}nvsw{index}"
            site.add(switch, NodeKind.NVSWITCH, within, about=f"{gpus} GPUs at most")
            for card in cards[first : first + gpus]:
                site.join(card, switch, LinkKind.NVLINK)
    elif LinkKind.MESH in site.cables:
        gpus = site.hardware.count("mesh.gpus")
        for first in range(0, len(cards), gpus):
            for one, other in combinations(cards[first : first + gpus], 2):
                site.join(one, other, LinkKind.MESH)


def describe(hardware: Hardware, chiplets: int) -> str:
    """Cores and memory of ``chiplets`` chiplets, for a label in a picture."""
    near = chiplets * hardware["chiplet.sram_bytes"]
    near_text = f"{near / 1e9:.3g} GB" if near >= 1e9 else f"{near / 1e6:.3g} MB"
    cores = chiplets * hardware.count("chiplet.dimc_cores")
    far_gb = chiplets * hardware["chiplet.lpddr_bytes"] / 1e9
    return f"{cores:,} cores; {near_text} SRAM; {far_gb:.3g} GB LPDDR"
