"""A scenario's memory block, and the names of modes and places that the optimizer knows too."""

from typing import Annotated, Literal, TypeAlias, get_args

from pydantic import Field

from cluster.scenario.base import Part

Mode: TypeAlias = Literal["performance", "capacity", "auto"]
"""All weights in SRAM; all in LPDDR and streamed; or placed for the traffic at hand."""
Place: TypeAlias = Literal["sram", "lpddr"]
KvPlace: TypeAlias = Place | Literal["spill"]
LoadFrom: TypeAlias = Literal["none", "lpddr", "host"]
Layers: TypeAlias = Annotated[int, Field(ge=0, le=2**20)]

MODES: tuple[Mode, ...] = get_args(Mode)
UNIFORM_MODES: tuple[Mode, ...] = ("performance", "capacity")
"""Those that place all weights alike; ``auto`` places them anew for every batch."""
PLACES: tuple[Place, ...] = get_args(Place)
KV_PLACES: tuple[KvPlace, ...] = (*PLACES, "spill")


class Pins(Part):
    """Placement that overrides the mode: of matrices sram or lpddr, and of KV also spill."""

    attention: Place | Layers | None = None
    """A number: the first layers of each stage that have it in SRAM."""
    mlp: Place | Layers | None = None
    experts: Place | Layers | None = None
    """A number: each layer's experts in SRAM, the most popular ones."""
    embedding: Place | None = None
    head: Place | None = None
    kv: KvPlace = "sram"


class Memory(Part):
    """Memory of weights and KV: all weights in SRAM, all in LPDDR, or placed by benefit.

    A device with one memory (a GPU) takes none of this but ``auto``.
    """

    mode: Mode = "performance"
    pin: Pins = Pins()
    load: LoadFrom = "none"
    """Serving begins when weights have come to SRAM from LPDDR, or to the cards from the hosts."""
    also_resident: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """Standby models in the LPDDR of the same cards, to be swapped in."""
