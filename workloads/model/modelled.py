"""Structures that are counted but not simulated, and what support would require."""

from collections.abc import Mapping
from types import MappingProxyType

from workloads.model.shape import Model

NEEDED: Mapping[str, str] = MappingProxyType(
    {
        "compressed attention": "a cache of entries of several tokens, and the work of making and"
        " picking them",
        "hyper-connections": "several residual streams and what mixes them",
    }
)
"""For each structure that pricing refuses: what its price would require.

Chunked attention is not among them: it is priced up to a context of one chunk.
"""


def not_modelled(model: Model) -> tuple[str, ...]:
    """Return each structure that is not simulated, in words; none for a model that can be."""
    found = [name for name in model.irregular if name in NEEDED]
    return tuple(f"{name} ({NEEDED[name]} would be needed)" for name in found)


def simulation_conditions(model: Model) -> tuple[str, ...]:
    """Return how a run is priced where it is not as usual, and up to which context."""
    chunks = {layer.attention.chunk for layer in model.layers} - {0}
    picked = {layer.attention.index_tokens for layer in model.layers} - {0}
    found = [f"up to a context of one chunk: {min(chunks):,} tokens"] if chunks else []
    if model.state_elements_per_sequence:
        found.append("without hits of cached prefixes: with a state no other sequence can begin")
    if picked:
        found.append(
            f"each query reads {max(picked):,} picked tokens, and the index keys of its context"
        )
    return tuple(found)
