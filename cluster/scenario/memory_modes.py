"""The names of memory modes and places: what a scenario may choose and the optimizer knows."""

from typing import Literal, TypeAlias, get_args

Mode: TypeAlias = Literal["performance", "capacity", "auto"]
"""All weights in SRAM; all in LPDDR and streamed; or placed for the traffic at hand."""
Place: TypeAlias = Literal["sram", "lpddr"]
KvPlace: TypeAlias = Place | Literal["spill"]
LoadFrom: TypeAlias = Literal["none", "lpddr", "host"]

MODES: tuple[Mode, ...] = get_args(Mode)
UNIFORM_MODES: tuple[Mode, ...] = ("performance", "capacity")
"""Those that place all weights alike; ``auto`` places them anew for every batch."""
PLACES: tuple[Place, ...] = get_args(Place)
KV_PLACES: tuple[KvPlace, ...] = (*PLACES, "spill")
