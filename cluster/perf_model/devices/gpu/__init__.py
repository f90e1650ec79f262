"""A GPU with tensor cores and one memory (``kind: gpu``)."""

from cluster.perf_model.devices.gpu.all_reduce import all_reduce
from cluster.perf_model.devices.gpu.device import Gpu, device_of
from cluster.perf_model.devices.gpu.facts import (
    BOUNDS,
    COUNTS,
    FAR_BOUND,
    HOST_BOUND,
    MEMORIES,
    PART_OF_LINK,
    PARTS,
    TAIL_BITS,
    converted_joules,
    converted_s,
    count_joules,
    dispatch_ps,
    ends_joules,
    format_breaches,
    inside_joules,
    interior,
    latent_copies,
    peak_flop_per_s,
    peaks,
    request_s,
    room,
)

PRODUCTS = ("attention",)
"""In the order of the records: the fused kernel."""
INDEX_PRODUCTS = ("index scores",)
STATE_PRODUCTS = ("scan",)

__all__ = [
    "BOUNDS",
    "COUNTS",
    "FAR_BOUND",
    "HOST_BOUND",
    "INDEX_PRODUCTS",
    "MEMORIES",
    "PARTS",
    "PART_OF_LINK",
    "PRODUCTS",
    "STATE_PRODUCTS",
    "TAIL_BITS",
    "Gpu",
    "all_reduce",
    "converted_joules",
    "converted_s",
    "count_joules",
    "device_of",
    "dispatch_ps",
    "ends_joules",
    "format_breaches",
    "inside_joules",
    "interior",
    "latent_copies",
    "peak_flop_per_s",
    "peaks",
    "request_s",
    "room",
]
