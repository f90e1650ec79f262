"""A scenario's memory block, and the names of modes and places that the optimizer knows too."""

from typing import Annotated, Literal, TypeAlias, get_args

from pydantic import Field

from cluster.scenario.base import Part

Mode: TypeAlias = Literal["performance", "capacity", "auto"]
"""All weights in SRAM; all in LPDDR and streamed; or placed for the traffic at hand."""
Place: TypeAlias = Literal["sram", "lpddr"]
KvPlace: TypeAlias = Place | Literal["spill"]
Tier: TypeAlias = Literal["lpddr", "host"]
KvWrite: TypeAlias = Literal["eviction", "through"]
KvPolicy: TypeAlias = Literal["lru", "value"]
LoadFrom: TypeAlias = Literal["none", "lpddr", "host"]
Layers: TypeAlias = Annotated[int, Field(ge=0, le=2**20)]

KV_WRITES: tuple[KvWrite, ...] = get_args(KvWrite)
KV_POLICIES: tuple[KvPolicy, ...] = get_args(KvPolicy)
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


class KvTierSettings(Part):
    """A memory that keeps KV blocks which the cards' blocks lose to others."""

    tier: Tier
    capacity_bytes: Annotated[float, Field(gt=0, le=1e18)] | None = None
    """Of each card's part. LPDDR: by default all that weights leave; of the host it is needed."""


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
    kv_tiers: Annotated[tuple[KvTierSettings, ...], Field(strict=False, max_length=2)] = ()
    """Below the KV blocks, the nearest first: what a block loses goes to the first, what that drops
    to the next. Needs prefix caching."""
    kv_write: KvWrite = "eviction"
    """When a block goes to the first tier: at its eviction, or through, once it is computed."""
    kv_policy: KvPolicy = "lru"
    """What a full tier drops: the block least recently used, or of those loaded least often."""
