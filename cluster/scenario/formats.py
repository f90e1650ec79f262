"""Number formats by use."""

from dataclasses import dataclass

from workloads.formats import Format


@dataclass(frozen=True, slots=True, kw_only=True)
class Formats:
    """Number formats of weights, of activations, of the cache and of links."""

    weights: Format
    activations: Format
    kv: Format
    wire: Format
