"""KV transfers from the prefill to the decode pool: messages that contend on links."""

from dataclasses import dataclass

import numpy as np

from cluster.disaggregated.kv_format import KvPath
from cluster.disaggregated.kv_messages import Messages
from cluster.disaggregated.loop import PoolsServed
from cluster.disaggregated.transfer_plan import TransferPlan, plan_transfers
from corsair_common.units import NEVER, PS_PER_S, Integers


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


def transfers_of(plan: TransferPlan, found: PoolsServed) -> KvTransfers:
    """The results of a run's transfers; those that met no others are added to the links."""
    shares = plan.kv.shares
    tokens, kind = np.unique(plan.prompt_tokens, return_inverse=True)
    sizes = shares.bytes_of(tokens)
    lone = np.flatnonzero(found.alone_ps != NEVER)
    sent = found.sent_bytes.copy()
    sent[lone] += sizes.sum(axis=1)[kind[lone]]
    loads = found.loads.copy()
    targets = plan.kv.cards[1].shape[0]
    way = found.source[lone] * targets + found.target[lone]
    place = (found.alone_ps[lone] - plan.base_ps) // found.bin_ps
    pairs = sizes.shape[1]
    for first in np.unique(way).tolist():
        own = way == first
        used, at = np.unique(place[own], return_inverse=True)
        counts = np.zeros((len(used), len(tokens)), np.int64)
        np.add.at(counts, (at, kind[lone[own]]), 1)
        sums = counts @ sizes
        for pair in range(pairs):
            begin, end = plan.paths.offsets[first * pairs + pair : first * pairs + pair + 2]
            loads[np.ix_(used, plan.paths.links[begin:end])] += sums[:, pair, None]
    return KvTransfers(
        received_ps=found.received_ps,
        sent_bytes=sent,
        start_ps=plan.base_ps,
        bin_ps=found.bin_ps,
        link_bytes=loads[: int(np.flatnonzero(loads.any(axis=1)).max(initial=0)) + 1],
    )


def alone_s(kv: KvPath, prompt_tokens: int) -> tuple[int, float]:
    """Bytes of one prompt's KV, and the time from its prefill to its arrival without other traffic,
    with hand-over and conversion; nothing is sent during the prefill."""
    one, none = np.array([prompt_tokens]), np.zeros(1, np.int64)
    plan = plan_transfers(kv, one, none, layerwise=False, base_ps=0)
    messages = Messages(
        kv=kv,
        resources=plan.resources,
        paths=plan.paths,
        first_path=none,
        prompt_tokens=one,
        origin_ps=plan.before_ps,
        paced_ps=none,
    )
    received_ps = int((messages.ends_ps() + plan.after_ps)[0])
    return int(kv.shares.bytes_of(one).sum()), received_ps / PS_PER_S


def break_even_s(delay_s: float, output_tokens: int) -> float:
    """What each output token must save for a request to end no later, although its first token
    comes ``delay_s`` later.

    >>> f"{1e3 * break_even_s(2 * 2**30 / 25e9, 128):.3f} ms"
    '0.671 ms'
    """
    return delay_s / output_tokens
