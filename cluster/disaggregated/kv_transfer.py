"""KV transfers from the prefill to the decode pool: messages that contend on links."""

from dataclasses import dataclass, replace

import numpy as np

from cluster.disaggregated.kv_format import KvPath
from cluster.disaggregated.kv_messages import Messages, replay_messages
from cluster.perf_model.collectives import Resources, link_resources
from cluster.perf_model.collectives.point_to_point import PairPaths, pair_paths
from corsair_common.units import PS_PER_S, Integers


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PrefilledRequests:
    """The prefilled requests, one row each."""

    began_ps: Integers
    """Start of the first step of its prefill."""
    ended_ps: Integers
    """End of its last."""
    prompt_tokens: Integers
    replica: Integers
    """Of the prefill pool."""
    target: Integers
    """Replica of the decode pool."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class KvTransfers:
    """Results of the transfers."""

    received_ps: Integers
    """[n] arrival of the last byte of a request's KV; never before ``ended_ps``."""
    sent_bytes: Integers
    """[n] of all messages of the request."""
    start_ps: int
    """Start of the first bin: nothing is sent before."""
    bin_ps: int
    link_bytes: Integers
    """[bin, link] of all transfers; sums over bins are exact."""


def transfer_kv(
    kv: KvPath, prefilled: PrefilledRequests, *, layerwise: bool, most_bins: int
) -> KvTransfers:
    """Send every prompt's KV, one message for each pair of ranks that shares some.

    Each starts when its request's prefill ends. With ``layerwise`` all layers of a pair but the
    last are sent at a constant rate, from the end of the first layer to the end of the prefill, as
    far as links allow; the last layer follows. Layers are assumed to take equal shares of the
    prefill. Conversion delays messages or the decode pool's start, layerwise by that of one layer;
    last comes what the software of both pools takes to hand a request over.
    """
    base_ps = int(prefilled.began_ps.min()) if len(prefilled.began_ps) else 0
    prefilled = replace(
        prefilled, began_ps=prefilled.began_ps - base_ps, ended_ps=prefilled.ended_ps - base_ps
    )
    resources = link_resources(kv.routes)
    paths, first_path = _paths(resources, kv, prefilled)
    before_ps, after_ps = kv.conversion_ps(prefilled.prompt_tokens, last_layer=layerwise)
    spent_ps = prefilled.ended_ps - prefilled.began_ps
    messages = Messages(
        kv=kv,
        resources=resources,
        paths=paths,
        first_path=first_path,
        prompt_tokens=prefilled.prompt_tokens,
        origin_ps=before_ps + (prefilled.began_ps if layerwise else prefilled.ended_ps),
        paced_ps=spent_ps * int(layerwise),
    )
    ends_ps, bin_ps, link_bytes = replay_messages(messages, most_bins)
    tokens, which = np.unique(prefilled.prompt_tokens, return_inverse=True)
    arrived_ps = np.maximum(ends_ps, prefilled.ended_ps)
    return KvTransfers(
        received_ps=base_ps + arrived_ps + after_ps + kv.hand_over_ps,
        sent_bytes=kv.shares.bytes_of(tokens).sum(axis=1)[which],
        start_ps=base_ps,
        bin_ps=bin_ps,
        link_bytes=link_bytes,
    )


def alone_s(kv: KvPath, prompt_tokens: int) -> tuple[int, float]:
    """Bytes of one prompt's KV, and the time from its prefill to its arrival without other traffic,
    with hand-over and conversion; nothing is sent during the prefill."""
    one = PrefilledRequests(
        began_ps=np.zeros(1, np.int64),
        ended_ps=np.zeros(1, np.int64),
        prompt_tokens=np.array([prompt_tokens]),
        replica=np.zeros(1, np.int64),
        target=np.zeros(1, np.int64),
    )
    moved = transfer_kv(kv, one, layerwise=False, most_bins=2)
    return int(moved.sent_bytes[0]), float(moved.received_ps[0]) / PS_PER_S


def break_even_s(delay_s: float, output_tokens: int) -> float:
    """What each output token must save for a request to end no later, although its first token
    comes ``delay_s`` later.

    >>> f"{1e3 * break_even_s(2 * 2**30 / 25e9, 128):.3f} ms"
    '0.671 ms'
    """
    return delay_s / output_tokens


def _paths(
    resources: Resources, kv: KvPath, prefilled: PrefilledRequests
) -> tuple[PairPaths, Integers]:
    """Paths of all pairs of replicas and ranks, and [n] the first one of each request's pair."""
    (source, target), shares = kv.cards, kv.shares
    from_card = source[:, shares.source_stage, shares.source_position]
    to_card = target[:, shares.target_stage, shares.target_position]
    first, second = np.broadcast_arrays(from_card[:, None, :], to_card[None, :, :])
    message_s = kv.figures[0]["links.chunk_overhead_s"]
    paths = pair_paths(resources, kv.routes, first.ravel(), second.ravel(), message_s)
    pairs = from_card.shape[1]
    return paths, (prefilled.replica * len(target) + prefilled.target) * pairs
