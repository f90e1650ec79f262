"""A card of DIMC chiplets (``kind: dimc_card``)."""

from cluster.perf_model.devices.dimc.attention import INDEX_PRODUCTS, PRODUCTS
from cluster.perf_model.devices.dimc.chiplet import BOUNDS
from cluster.perf_model.devices.dimc.counters import COUNTS
from cluster.perf_model.devices.dimc.device import DimcCard, device_of
from cluster.perf_model.devices.dimc.facts import (
    PART_OF_LINK,
    PARTS,
    TAIL_BITS,
    all_reduce,
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
from cluster.perf_model.devices.dimc.recurrent import STATE_PRODUCTS

FAR_BOUND = "lpddr"
HOST_BOUND = "dispatch"
MEMORIES = ("sram", "lpddr")

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
    "DimcCard",
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
