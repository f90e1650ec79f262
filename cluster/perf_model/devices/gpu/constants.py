"""Constants of a GPU's kernels, read from the figures of its hardware file.

A figure of 8-bit operands or of experts is optional: a file that lacks it has one set for all.
"""

from dataclasses import dataclass

from cluster.perf_model.protocols import Figures
from workloads.formats import Format

PEAKS = {
    "bf16": "gpu.bf16_flop_per_s",
    "fp16": "gpu.bf16_flop_per_s",
    "fp8_e4m3": "gpu.fp8_flop_per_s",
    "fp8_e5m2": "gpu.fp8_flop_per_s",
    "nvfp4": "gpu.nvfp4_flop_per_s",
    "mxfp4": "gpu.mxfp4_flop_per_s",
}
"""The figure that says how fast tensor cores multiply a format."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """A kernel's rates after its efficiencies, and its latency."""

    bytes_per_s: float
    flop_per_s: float
    latency_s: float


def has(figures: Figures, name: str) -> bool:
    """Whether the hardware file gives this optional figure."""
    return name in getattr(figures, "figures", ())


def peak_flop_per_s(figures: Figures, operand: Format) -> float:
    """Dense peak of the tensor cores for a format that ``PEAKS`` has."""
    return figures[PEAKS[operand.name]]


def narrow(operand: Format) -> bool:
    """Of 8 bits or fewer: kernels of these share constants."""
    return operand.element_bits <= 8


def gemm(figures: Figures, operand: Format) -> Kernel:
    """Products whose activations are of this format."""
    return _kernel(figures, "gemm", operand, peak_flop_per_s(figures, operand))


def experts(figures: Figures, operand: Format) -> Kernel:
    """One of the two grouped products of a layer's experts; those of a GEMM where none are given.

    ``expert_latency_s`` is that of the fused kernel that makes both.
    """
    own = "fp8_expert" if narrow(operand) else "expert"
    if not has(figures, f"gpu.{own}_latency_s"):
        return gemm(figures, operand)
    found = _named(figures, own, peak_flop_per_s(figures, operand))
    return Kernel(
        bytes_per_s=found.bytes_per_s,
        flop_per_s=found.flop_per_s,
        latency_s=found.latency_s / 2,
    )


def attention(figures: Figures, kv: Format) -> Kernel:
    """Attention over keys and values of this format; it is multiplied in 16 bits."""
    return _kernel(figures, "attention", kv, figures["gpu.bf16_flop_per_s"])


def vector_bytes_per_s(figures: Figures) -> float:
    """What a fused elementwise kernel reads and writes."""
    return figures["gpu.vector_bandwidth_efficiency"] * figures["gpu.memory_bandwidth_bytes_per_s"]


def query_bytes_per_s(figures: Figures, kv: Format) -> float:
    """At which attention takes in new tokens' queries, keys and values, and gives their context."""
    own = "gpu.fp8_attention_query_bandwidth_efficiency"
    name = own if narrow(kv) and has(figures, own) else "gpu.attention_query_bandwidth_efficiency"
    return figures[name] * figures["gpu.memory_bandwidth_bytes_per_s"]


def _kernel(figures: Figures, name: str, operand: Format, peak: float) -> Kernel:
    own = f"fp8_{name}"
    return _named(
        figures, own if narrow(operand) and has(figures, f"gpu.{own}_latency_s") else name, peak
    )


def _named(figures: Figures, name: str, peak: float) -> Kernel:
    bandwidth = figures["gpu.memory_bandwidth_bytes_per_s"]
    return Kernel(
        bytes_per_s=bandwidth * figures[f"gpu.{name}_bandwidth_efficiency"],
        flop_per_s=peak * figures[f"gpu.{name}_flop_efficiency"],
        latency_s=figures[f"gpu.{name}_latency_s"],
    )
