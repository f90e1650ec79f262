"""Facts of a DIMC card independent of a model: internal links, memories, formats, energy."""

import math
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from cluster.perf_model.devices.dimc.chiplet import chiplet_of, mode_of, peak_stream_bytes_per_s
from cluster.perf_model.devices.dimc.chiplet import peak_flop_per_s as chiplet_peak_flop_per_s
from cluster.perf_model.devices.dimc.counters import (
    COUNTS,
    KMAC,
    LINE_BYTES,
    MAC_WIDTHS,
    RECIPES,
    SIMD,
)
from cluster.perf_model.devices.dimc.dvfs import energy_scale
from cluster.perf_model.devices.useful import Peaks
from cluster.perf_model.devices.work import Interior, Room
from cluster.perf_model.protocols import Figures
from cluster.scenario.formats import Formats
from corsair_common.units import BYTE_BITS, Floats, Integers
from topology.types import LinkKind
from workloads.formats import Format

if TYPE_CHECKING:
    from cluster.perf_model.collectives import Cost, Group

WIDTHS = {"int4": 4, "int8": 8, "int16": 16}
"""Bits of the operands that each DIMC column mode takes."""

PARTS = (
    "mac",
    "sram",
    "lpddr",
    "noc",
    "simd",
    "d2d",
    "pcie",
    "bridge",
    "ethernet",
    "static",
)
"""Parts of a card's energy, in the order of every axis of parts."""

PART_OF_LINK = MappingProxyType(
    {
        LinkKind.D2D: "d2d",
        LinkKind.PACKAGE: "pcie",  # the packages of a card are joined by PCIe x16
        LinkKind.BRIDGE: "bridge",
        LinkKind.NVLINK: "bridge",  # what joins cards directly: one or the other
        LinkKind.PCIE: "pcie",
        LinkKind.INTER_SWITCH: "pcie",
        LinkKind.HOST: "pcie",
        LinkKind.NIC: "pcie",
        LinkKind.ETHERNET: "ethernet",
        LinkKind.SPINE: "ethernet",
    }
)
"""Part of the energy of a byte on each kind of link."""

SIMD_NAMES = COUNTS[SIMD]
TAIL_BITS = 16
"""V's last block stays FP16 until its 64 tokens are full."""


def interior(figures: Figures) -> Interior:
    """Links between the chiplets of a card."""
    efficiency = figures["links.efficiency"]
    lanes = figures["simd.lanes"] * figures["chiplet.slices"]
    return Interior(
        packages=int(figures["card.packages"]),
        chiplets=int(figures["package.chiplets"]),
        d2d_bytes_per_s=figures["package.d2d_bandwidth_bytes_per_s"] * efficiency,
        package_bytes_per_s=figures["package.d2d_total_bytes_per_s"] * efficiency,
        package_link_bytes_per_s=figures["card.package_link_bandwidth_bytes_per_s"] * efficiency,
        d2d_latency_s=figures["package.d2d_latency_s"],
        package_latency_s=figures["card.package_link_latency_s"],
        add_element_s=figures["simd.add_clocks"] / (lanes * figures["card.clock_hz"]),
    )


def room(figures: Figures) -> Room:
    """SRAM and LPDDR of a chiplet."""
    usable = figures["chiplet.sram_bytes"] * figures["chiplet.usable_sram_fraction"]
    rate = figures["chiplet.lpddr_bandwidth_bytes_per_s"] * figures["chiplet.lpddr_efficiency"]
    return Room(
        near_bytes=usable,
        far_bytes=int(figures["chiplet.lpddr_bytes"]),
        buffer_bytes=int(figures["chiplet.prefetch_bytes"]),
        far_bytes_per_s=rate,
    )


def latent_copies(figures: Figures) -> int:
    """QK^T is summed along the latent, PV along the tokens: one block exponent serves one."""
    return int(figures["dimc.latent_copies"])


def format_breaches(figures: Figures, formats: Formats) -> list[str]:  # noqa: ARG001
    """Reasons against these formats.

    Weights and KV in memory may be expanded before the matrix engine; activations and messages may
    not, and only weights are pruned ahead of time.
    """
    used = {name: getattr(formats, name) for name in ("weights", "activations", "kv", "wire")}
    breaches = [
        f"the matrix engine does not run {use} in {chosen.name}"
        for use, chosen in used.items()
        if chosen.columns is None and use != "wire"
    ]
    if breaches:
        breaches.append("it multiplies integers: mxint8, mxint4, mxint16 and their kin")
    breaches += [
        f"formats.{use} is {chosen.name}, and only weights are stored sparse"
        for use, chosen in used.items()
        if chosen.is_sparse and use != "weights"
    ]
    supplied = formats.activations
    if supplied.arithmetic and not supplied.is_sparse:
        breaches.append(
            f"formats.activations is {supplied.name}, which is for storage and expanded to"
            f" {supplied.arithmetic} before it is multiplied: say formats.activations:"
            f" {supplied.arithmetic}"
        )
    return breaches


def peak_flop_per_s(figures: Figures, item: Format, activation_bits: int | None) -> float | None:
    """Of all chiplets, in the mode of the DIMC columns that the format takes."""
    if item.columns is None:
        return None
    width = WIDTHS[item.columns]
    streamed = width if activation_bits is None else activation_bits
    mode = mode_of(
        figures,
        weight_width=width,
        activation_width=streamed,
        activation_bytes=streamed / 8,
    )
    return interior(figures).units * chiplet_peak_flop_per_s(chiplet_of(figures), mode)


def peaks(figures: Figures, formats: Formats) -> Peaks:
    """SRAM that streams tiles into all cores, and the mode of weights and activations."""
    chiplet, units = chiplet_of(figures), interior(figures).units
    width, streamed = (
        WIDTHS[each.columns or "int8"] for each in (formats.weights, formats.activations)
    )
    mode = mode_of(
        figures, weight_width=width, activation_width=streamed, activation_bytes=streamed / 8
    )
    stream = peak_stream_bytes_per_s(chiplet, mode, width)
    return units * stream, units * chiplet_peak_flop_per_s(chiplet, mode)


def all_reduce(
    figures: Figures,  # noqa: ARG001 - of the protocol
    group: "Group",  # noqa: ARG001
    payload_bytes: Integers,  # noqa: ARG001
) -> "Cost | None":
    """No curve: the collectives library's algorithms."""
    return None


def dispatch_ps(figures: Figures) -> int:
    """Every operation pays to be dispatched."""
    return round(figures["card.dispatch_s"] * 1e12)


def request_s(figures: Figures) -> float:
    """Tokenising and the client's network."""
    return figures["client.ttft_overhead_s"]


def count_joules(figures: Figures) -> Floats:
    """[COUNTS, PARTS] joules of one of each count; on-die energies scale with the clock."""
    scale = energy_scale(figures)
    joules = {
        **{
            f"mac_int{width}_kmac": ("mac", scale * KMAC * figures[f"energy.mac_int{width}_j"])
            for width in MAC_WIDTHS
        },
        "sram_lines": ("sram", LINE_BYTES * _sram_j(figures)),
        "lpddr_bytes": ("lpddr", BYTE_BITS * figures["energy.lpddr_j_per_bit"]),
        "noc_lines": ("noc", scale * LINE_BYTES * BYTE_BITS * figures["energy.noc_j_per_bit"]),
        **{
            name: ("simd", scale * figures[f"energy.{name}_j"])
            for name in COUNTS
            if name.startswith("simd_")
        },
    }
    table = np.zeros((len(COUNTS), len(PARTS)))
    for name, (part, cost) in joules.items():
        table[COUNTS.index(name), PARTS.index(part)] = cost
    return table


def ends_joules(figures: Figures) -> Floats:
    """[PARTS] of a sent byte: read from SRAM at the source, written at the destination."""
    spent = np.zeros(len(PARTS))
    spent[PARTS.index("sram")] = 2 * _sram_j(figures)
    return spent


def inside_joules(figures: Figures) -> tuple[Floats, ...]:
    """[PARTS] of a byte on each tier inside a card: D2D, and the link between packages."""
    found = []
    for name, kind in (("d2d", LinkKind.D2D), ("pcie", LinkKind.PACKAGE)):
        spent = np.zeros(len(PARTS))
        spent[PARTS.index(PART_OF_LINK[kind])] = BYTE_BITS * figures[f"energy.{name}_j_per_bit"]
        found.append(spent)
    return tuple(found)


def converted_s(
    figures: Figures,
    elements: Integers,
    moved_bytes: Integers,  # noqa: ARG001 - of the protocol
) -> Floats:
    """Every element is rounded once, on the vector lanes of all chiplets of the card."""
    card = interior(figures)
    lanes = figures["simd.lanes"] * figures["chiplet.slices"] * card.units
    each_s = figures["simd.quantize_clocks"] / (lanes * figures["card.clock_hz"])
    return np.asarray(elements * each_s, np.float64)


def converted_joules(figures: Figures, elements: float, moved_bytes: float) -> Floats:
    """[PARTS] of the roundings, and of SRAM read and written."""
    spent = np.zeros(len(PARTS))
    scale = energy_scale(figures)
    each = zip(SIMD_NAMES, RECIPES["quantize"], strict=True)
    spent[PARTS.index("simd")] = elements * math.fsum(
        count * scale * figures[f"energy.{name}_j"] for name, count in each
    )
    spent[PARTS.index("sram")] = moved_bytes * _sram_j(figures)
    return spent


def _sram_j(figures: Figures) -> float:
    """Of a byte, at the card's clock."""
    return energy_scale(figures) * BYTE_BITS * figures["energy.sram_j_per_bit"]
