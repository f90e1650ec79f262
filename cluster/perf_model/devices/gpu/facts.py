"""Facts of a GPU that hold without a model: memory, formats, what its counts cost in joules."""

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from cluster.perf_model.devices.gpu.constants import PEAKS, has, vector_bytes_per_s
from cluster.perf_model.devices.useful import USEFUL, Peaks
from cluster.perf_model.devices.work import Interior, Room
from cluster.perf_model.protocols import Figures
from cluster.scenario.formats import Formats
from corsair_common.units import BYTE_BITS, Floats, Integers
from topology.types import LinkKind
from workloads.formats import Format

BOUNDS = ("memory", "tensor", "vector", "network", "launch", "host")
MEMORY, TENSOR, VECTOR, NETWORK, LAUNCH, HOST = range(len(BOUNDS))
FAR_BOUND = None
HOST_BOUND = "host"
MEMORIES = ("hbm",)
"""The near memory; there is no far one."""

TAIL_BITS = 0
"""All blocks of a cache are stored alike."""

COUNTS = (
    "tensor_16_bit_kflop",
    "tensor_8_bit_mflop",
    "tensor_4_bit_mflop",
    "memory_lines",
    *USEFUL,
)
"""In the order of every axis of counts. Large units, so that a GPU that works for 40 days without
pause does not run out of int64 in any time bin."""
UNITS = (1 << 10, 1 << 20, 1 << 20, 64)
"""Flop, and bytes, of one count. Attention counts single query-key pairs, in 16 bits."""
TENSOR_COUNTS: Mapping[int, int] = MappingProxyType({16: 0, 8: 1, 4: 2})
"""Position of the count of products by the bits of their operands."""
LINES = COUNTS.index("memory_lines")

PARTS = ("tensor", "memory", "scale_up", "pcie", "ethernet", "static")
"""Where a GPU's energy goes, in the order of every axis of parts."""

PART_OF_LINK = MappingProxyType(
    {
        LinkKind.NVLINK: "scale_up",
        LinkKind.MESH: "scale_up",
        LinkKind.PCIE: "pcie",
        LinkKind.INTER_SWITCH: "pcie",
        LinkKind.HOST: "pcie",
        LinkKind.NIC: "pcie",
        LinkKind.ETHERNET: "ethernet",
        LinkKind.SPINE: "ethernet",
    }
)
"""The part of the energy that a byte on a link belongs to."""

MEMORY_AT_PEAK = 0.15
"""Assumed: the share of its bandwidth that the memory works at while products run at the board's
full power, which is how the energy of a flop follows from ``card.tdp_w``."""

_PEAK_OF_BITS = {8: PEAKS["fp8_e4m3"], 16: PEAKS["bf16"]}
_ADDED_BYTES = 6
"""Of a 16-bit addition: two operands and a sum."""


def interior(figures: Figures) -> Interior:
    """One unit, so nothing crosses its links; additions run at the bandwidth of vector work."""
    memory = figures["gpu.memory_bandwidth_bytes_per_s"]
    return Interior(
        d2d_bytes_per_s=memory,
        package_bytes_per_s=memory,
        package_link_bytes_per_s=memory,
        add_element_s=_ADDED_BYTES / vector_bytes_per_s(figures),
    )


def latent_copies(figures: Figures) -> int:  # noqa: ARG001 - of the protocol
    """A kernel reads a latent as keys and as values."""
    return 1


def room(figures: Figures) -> Room:
    """What the engine leaves of a GPU's memory to weights and KV."""
    usable = figures["gpu.memory_bytes"] * figures["engine.memory_fraction"]
    kept = figures["engine.reserved_bytes"] + figures["engine.communication_bytes"]
    return Room(
        near_bytes=max(0.0, usable - kept),
        far_bytes=0,
        buffer_bytes=0,
        far_bytes_per_s=float("inf"),
    )


def format_breaches(figures: Figures, formats: Formats) -> list[str]:
    """Why these formats cannot be used so.

    Weights may be narrower than the activations, to whose format they are expanded; the tensor
    cores need a peak for that of the activations. Attention multiplies in 16 bits.
    """
    peaks = [name for name, figure in PEAKS.items() if has(figures, figure)]
    floats = [name for name in PEAKS if name not in ("nvfp4", "mxfp4")]
    allowed = {"weights": list(PEAKS), "activations": peaks, "kv": floats, "wire": floats}
    used: dict[str, Format] = {name: getattr(formats, name) for name in allowed}
    breaches = [
        f"formats.{use} is {chosen.name}, this GPU takes {', '.join(allowed[use])}"
        for use, chosen in used.items()
        if chosen.name not in allowed[use]
    ]
    if breaches:
        breaches.append("auto takes the hardware file's own")
    elif formats.weights.element_bits > formats.activations.element_bits:
        breaches.append(
            f"formats.weights ({formats.weights.name}) is wider than formats.activations"
            f" ({formats.activations.name})"
        )
    return breaches


def peak_flop_per_s(figures: Figures, item: Format, activation_bits: int | None) -> float | None:
    """Dense, by the format of both operands; weights of fewer bits are expanded."""
    if item.name not in PEAKS or (activation_bits or item.element_bits) < item.element_bits:
        return None
    own = activation_bits in (None, item.element_bits)
    name = PEAKS[item.name] if own else _PEAK_OF_BITS[activation_bits or 16]
    return figures[name] if has(figures, name) else None


def peaks(figures: Figures, formats: Formats) -> Peaks:
    """Weights are multiplied in the format of the activations."""
    flop_per_s = peak_flop_per_s(figures, formats.activations, None)
    return figures["gpu.memory_bandwidth_bytes_per_s"], flop_per_s or 0.0


def dispatch_ps(figures: Figures) -> int:  # noqa: ARG001 - of the protocol
    """Kernels carry their launch."""
    return 0


def request_s(figures: Figures) -> float:
    """The client's side and what the engine needs once a request."""
    return figures["client.ttft_overhead_s"] + figures["engine.request_s"]


def count_joules(figures: Figures) -> Floats:
    """[COUNTS, PARTS] joules of one of each count."""
    table = np.zeros((len(COUNTS), len(PARTS)))
    tensor = PARTS.index("tensor")
    for bits, count in TENSOR_COUNTS.items():
        table[count, tensor] = UNITS[count] * flop_j(figures) * bits / 16
    table[LINES, PARTS.index("memory")] = UNITS[LINES] * _memory_j(figures)
    return table


def ends_joules(figures: Figures) -> Floats:
    """[PARTS] of a byte that is sent: read where it leaves, written where it arrives."""
    spent = np.zeros(len(PARTS))
    spent[PARTS.index("memory")] = 2 * _memory_j(figures)
    return spent


def inside_joules(figures: Figures) -> tuple[Floats, ...]:  # noqa: ARG001 - of the protocol
    """No links inside."""
    return ()


def converted_s(figures: Figures, elements: Integers, moved_bytes: Integers) -> Floats:  # noqa: ARG001 - of the protocol
    """A fused elementwise kernel reads one format and writes the other."""
    seconds: Floats = moved_bytes / vector_bytes_per_s(figures)
    return seconds


def converted_joules(figures: Figures, elements: float, moved_bytes: float) -> Floats:  # noqa: ARG001
    """[PARTS] of memory read and written."""
    spent = np.zeros(len(PARTS))
    spent[PARTS.index("memory")] = moved_bytes * _memory_j(figures)
    return spent


def flop_j(figures: Figures) -> float:
    """Joules of a flop with 16-bit operands, as if large products drew the board's full power.

    Half of it with 8-bit operands, a quarter with 4-bit ones.
    """
    bandwidth = figures["gpu.memory_bandwidth_bytes_per_s"]
    memory_w = MEMORY_AT_PEAK * bandwidth * _memory_j(figures)
    left_w = figures["card.tdp_w"] - figures["card.static_w"] - memory_w
    rate = figures["gpu.gemm_flop_efficiency"] * figures["gpu.bf16_flop_per_s"]
    return max(0.0, figures["energy.tensor_share"] * left_w / rate)


def _memory_j(figures: Figures) -> float:
    """Of a byte."""
    return BYTE_BITS * figures["energy.memory_j_per_bit"]
