"""Which weights lie in SRAM and which in LPDDR: values here, the choice in ``choose``."""

from cluster.machine.residency.places import (
    ALL,
    ALL_IN_LPDDR,
    ALL_IN_SRAM,
    KV_PLACES,
    MODES,
    NO_PINS,
    LayerPlaces,
    Pins,
    Residency,
    StagePlaces,
    Traffic,
    class_of,
    uniform,
)

__all__ = [
    "ALL",
    "ALL_IN_LPDDR",
    "ALL_IN_SRAM",
    "KV_PLACES",
    "MODES",
    "NO_PINS",
    "LayerPlaces",
    "Pins",
    "Residency",
    "StagePlaces",
    "Traffic",
    "class_of",
    "uniform",
]
