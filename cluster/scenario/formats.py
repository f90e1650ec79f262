"""Which number format is used for what."""

from dataclasses import dataclass

from workloads.formats import Format


@dataclass(frozen=True, slots=True, kw_only=True)
class Formats:
    """Number formats of weights, of what enters the matrix engine, of the cache and of the wire."""

    weights: Format
    activations: Format
    kv: Format
    wire: Format
