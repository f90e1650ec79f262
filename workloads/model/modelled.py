"""Structures that are counted but not simulated, and what support would require."""

from collections.abc import Mapping
from types import MappingProxyType

from workloads.model.shape import Model

NEEDED: Mapping[str, str] = MappingProxyType(
    {
        "linear attention": "a state of fixed size per sequence, in memory and in traffic, and the"
        " gated delta rule's work per token",
        "Mamba-2 layers": "a state of fixed size per sequence, in memory and in traffic, and the"
        " chunked scan's work",
        "compressed attention": "a cache of entries of several tokens, and the work of making and"
        " picking them",
        "sparse attention": "reading only the keys that an indexer picks, and the indexer's work",
        "layers without attention": "stages whose layers keep no cache",
        "layers without an MLP": "layers of one half",
        "MLPs without a gate": "an MLP of two matrices",
        "experts in a latent space": "projections to and from it around the experts",
        "norms on outputs": "two more norms in a layer",
        "hyper-connections": "several residual streams and what mixes them",
        "gates of one number per head": "their projection",
        "values made by the keys' projection": "a narrower projection with two results",
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
    """Return the conditions on context and plan under which a run can be priced."""
    chunks = {layer.attention.chunk for layer in model.layers} - {0}
    found = [f"up to a context of one chunk: {min(chunks):,} tokens"] if chunks else []
    return tuple(found)
