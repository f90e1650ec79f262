"""Number formats by use."""

from collections.abc import Iterable
from dataclasses import dataclass

from workloads.formats import Format, get_format


@dataclass(frozen=True, slots=True, kw_only=True)
class Formats:
    """Number formats of weights, of activations, of the cache and of links."""

    weights: Format
    activations: Format
    kv: Format
    wire: Format


def formats_of(names: Iterable[tuple[str, str]]) -> Formats:
    """The formats that these names stand for, by use."""
    return Formats(**{use: get_format(name) for use, name in names})
