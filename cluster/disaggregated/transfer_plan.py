"""What is known of the KV transfers of a run before its first event."""

from dataclasses import dataclass

import numpy as np

from cluster.disaggregated.kv_format import KvPath
from cluster.perf_model.collectives import Resources, link_resources
from cluster.perf_model.collectives.cost import picoseconds
from cluster.perf_model.collectives.point_to_point import PairPaths, pair_paths
from corsair_common.units import Integers


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TransferPlan:
    """The requests, one row each, and the paths of their messages."""

    kv: KvPath
    resources: Resources
    paths: PairPaths
    """Of all pairs of replicas, and of ranks."""
    layerwise: bool
    """Whether the KV of a chunk follows its layers, else all of it the prompt."""
    base_ps: int
    """Start of the first bin of the links' loads: nothing is sent before."""
    prompt_tokens: Integers
    kind: Integers
    """[n] of prompts with messages of the same sizes."""
    drawn: Integers
    """[n] replica of the decode pool drawn for each, for the router ``random``."""
    before_ps: Integers
    """[n] conversion before the first message."""
    after_ps: Integers
    """[n] conversion after the last, and the software of both pools."""


def plan_transfers(
    kv: KvPath, prompt_tokens: Integers, drawn: Integers, *, layerwise: bool, base_ps: int
) -> TransferPlan:
    """Look up paths and conversions of these prompts.

    Raises
    ------
    TooSlowError
        A link is too slow for the longest prompt.
    """
    resources = link_resources(kv.routes)
    paths = paths_of(resources, kv)
    tokens, of_tokens = np.unique(prompt_tokens, return_inverse=True)
    sizes = kv.shares.bytes_of(tokens)
    if len(sizes) and len(paths.slowest):
        slowest = resources.capacity_bytes_per_s[paths.slowest].min()
        longest = sizes.max(axis=1).astype(np.float64)
        picoseconds(longest / slowest, longest)
    _, kinds = np.unique(sizes, axis=0, return_inverse=True)
    before_ps, after_ps = kv.conversion_ps(tokens, last_layer=layerwise)
    return TransferPlan(
        kv=kv,
        resources=resources,
        paths=paths,
        layerwise=layerwise,
        base_ps=base_ps,
        prompt_tokens=prompt_tokens,
        kind=kinds.ravel()[of_tokens],
        drawn=drawn,
        before_ps=before_ps[of_tokens],
        after_ps=after_ps[of_tokens] + kv.hand_over_ps,
    )


def paths_of(resources: Resources, kv: KvPath) -> PairPaths:
    """Paths of all pairs of replicas, and of ranks, in that order."""
    (source, target), shares = kv.cards, kv.shares
    from_card = source[:, shares.source_stage, shares.source_position]
    to_card = target[:, shares.target_stage, shares.target_position]
    first, second = np.broadcast_arrays(from_card[:, None, :], to_card[None, :, :])
    message_s = kv.figures[0]["links.chunk_overhead_s"]
    return pair_paths(resources, kv.routes, first.ravel(), second.ravel(), message_s)
