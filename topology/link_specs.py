"""Splits published end-to-end latencies into one part per link, with an exact sum."""

from dataclasses import dataclass, replace

from corsair_common.units import PS_PER_S
from topology.catalog import Hardware
from topology.types import Link, LinkKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Cable:
    """A link in both directions; ``out`` leads away from the cards (or slices)."""

    out: Link
    back: Link


def cables(hardware: Hardware) -> dict[LinkKind, Cable]:
    """Every kind of link except the spine's, whose bandwidth depends on the rack.

    In whole picoseconds: card - switch - card is ``server.pcie_latency_s``; through both switches
    of a server ``server.inter_switch_latency_s`` more; card - switch - NIC - leaf - NIC - switch -
    card is ``rack.network_latency_s``, of which the leaf is ``rack.leaf_latency_s``. Each PCIe
    link that is crossed costs the PCIe energy; a leaf's energy is split over its two legs.
    """
    found = _server_cables(hardware)
    if "package.chiplets" in hardware.figures:
        found |= _card_cables(hardware)
    if "nvswitch.gpus" in hardware.figures:
        found[LinkKind.NVLINK] = _cut(
            LinkKind.NVLINK,
            hardware["nvswitch.bandwidth_bytes_per_s"],
            picoseconds(hardware["nvswitch.latency_s"]),
            hardware["energy.scale_up_j_per_bit"],
        )
    if "mesh.gpus" in hardware.figures:
        found[LinkKind.MESH] = _whole(
            LinkKind.MESH,
            hardware["mesh.link_bandwidth_bytes_per_s"],
            picoseconds(hardware["mesh.latency_s"]),
            hardware["energy.scale_up_j_per_bit"],
        )
    return {kind: _used(cable, hardware) for kind, cable in found.items()}


def _server_cables(hardware: Hardware) -> dict[LinkKind, Cable]:
    """From a card's x16 to the leaf: every kind of hardware has these."""
    ports = hardware["card.pcie_bandwidth_bytes_per_s"]
    nic = hardware["server.nic_bandwidth_bytes_per_s"]
    pcie_j = hardware["energy.pcie_j_per_bit"]
    pcie_ps = picoseconds(hardware["server.pcie_latency_s"])
    leaf_ps = picoseconds(hardware["rack.leaf_latency_s"])
    nic_ps = picoseconds(hardware["rack.network_latency_s"]) - pcie_ps - leaf_ps
    return {
        LinkKind.PCIE: _cut(LinkKind.PCIE, ports, pcie_ps, pcie_j),
        LinkKind.INTER_SWITCH: _whole(
            LinkKind.INTER_SWITCH,
            hardware["server.inter_switch_bandwidth_bytes_per_s"],
            picoseconds(hardware["server.inter_switch_latency_s"]),
            pcie_j,
        ),
        LinkKind.HOST: _cut(LinkKind.HOST, ports, pcie_ps, pcie_j),
        LinkKind.NIC: _cut(LinkKind.NIC, ports, nic_ps, pcie_j),
        LinkKind.ETHERNET: _cut(
            LinkKind.ETHERNET, nic, leaf_ps, hardware["energy.ethernet_j_per_bit"] / 2
        ),
    }


def _card_cables(hardware: Hardware) -> dict[LinkKind, Cable]:
    """Inside cards of chiplets, and the bridge between two of them."""
    noc = hardware["chiplet.noc_bytes_per_clock"] * hardware["card.clock_hz"]
    pcie_j = hardware["energy.pcie_j_per_bit"]
    return {
        LinkKind.NOC: _cut(LinkKind.NOC, noc, picoseconds(hardware["chiplet.noc_latency_s"]), 0.0),
        LinkKind.D2D: _whole(
            LinkKind.D2D,
            hardware["package.d2d_bandwidth_bytes_per_s"],
            picoseconds(hardware["package.d2d_latency_s"]),
            hardware["energy.d2d_j_per_bit"],
        ),
        LinkKind.PACKAGE: _whole(
            LinkKind.PACKAGE,
            hardware["card.package_link_bandwidth_bytes_per_s"],
            picoseconds(hardware["card.package_link_latency_s"]),
            pcie_j,
        ),
        LinkKind.PORT: _whole(LinkKind.PORT, hardware["card.pcie_bandwidth_bytes_per_s"], 0, 0.0),
        LinkKind.BRIDGE: _whole(
            LinkKind.BRIDGE,
            hardware["pair.bridge_bandwidth_bytes_per_s"],
            picoseconds(hardware["pair.bridge_latency_s"]),
            pcie_j,
        ),
    }


def spine_cable(hardware: Hardware, nics_bytes_per_s: float) -> Cable:
    """Leaf to one spine: together a leaf's cables carry all its NICs over the oversubscription.

    Across racks a message crosses a second leaf and the spine, so the two legs add
    ``rack.leaf_latency_s + pod.spine_latency_s`` to the latency inside a rack.
    """
    share = nics_bytes_per_s / hardware["pod.spine_oversubscription"] / hardware["pod.spines"]
    added_s = picoseconds(hardware["rack.leaf_latency_s"]) + picoseconds(
        hardware["pod.spine_latency_s"]
    )
    cable = _cut(LinkKind.SPINE, share, added_s, hardware["energy.ethernet_j_per_bit"])
    return _used(cable, hardware)


def picoseconds(time_s: float) -> int:
    """The whole number of picoseconds nearest to a latency."""
    return round(time_s * PS_PER_S)


def _used(cable: Cable, hardware: Hardware) -> Cable:
    """The cable with the part of its bandwidth that payload can use."""
    efficiency = hardware["links.efficiency"]
    return Cable(
        out=replace(cable.out, efficiency=efficiency),
        back=replace(cable.back, efficiency=efficiency),
    )


def _whole(kind: LinkKind, bandwidth: float, latency_ps: int, energy_j_per_bit: float) -> Cable:
    link = Link(
        kind=kind,
        bandwidth_bytes_per_s=bandwidth,
        latency_ps=latency_ps,
        energy_j_per_bit=energy_j_per_bit,
    )
    return Cable(out=link, back=link)


def _cut(kind: LinkKind, bandwidth: float, latency_ps: int, energy_j_per_bit: float) -> Cable:
    """Two legs of one path, out and back in; the outward leg takes the odd picosecond."""
    out = _whole(kind, bandwidth, latency_ps - latency_ps // 2, energy_j_per_bit).out
    return Cable(out=out, back=replace(out, latency_ps=latency_ps // 2))
