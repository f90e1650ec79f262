"""Replays the messages of KV transfers whose times are known beforehand."""

from dataclasses import dataclass

import numpy as np

from cluster.disaggregated.kv_format import KvPath
from cluster.perf_model.collectives import Resources
from cluster.perf_model.collectives.point_to_point import PairPaths, paced_messages
from cluster.replay.engine import replay
from cluster.replay.interface import Kind, Operations
from cluster.replay.kernel.state import LONGEST_PS
from corsair_common.units import Integers


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Messages:
    """The messages of requests, one row each."""

    kv: KvPath
    resources: Resources
    paths: PairPaths
    """Of all pairs of replicas, and of ranks."""
    first_path: Integers
    """[n] of its pair of replicas."""
    prompt_tokens: Integers
    origin_ps: Integers
    """[n] when the first message can start (whole), or when the prefill began."""
    paced_ps: Integers
    """[n] length of the prefill if KV follows its layers, else 0."""

    def ends_ps(self) -> Integers:
        """[n] end of each request's last message."""
        sizes = self.kv.shares.bytes_of(self.prompt_tokens)
        pairs = sizes.shape[1]
        offset_ps, first, paced_ps = self._paced(sizes)
        path = (self.first_path[:, None] + np.arange(pairs)).ravel()
        transfers = paced_messages(
            self.resources, self.paths, path, first, paced_ps, sizes.ravel() - first
        )
        found = replay(_released(np.repeat(self.origin_ps, pairs) + offset_ps), transfers)
        ends_ps: Integers = found.end_ps[len(found.end_ps) - sizes.size :].reshape(sizes.shape)
        last_ps: Integers = ends_ps.max(axis=1, initial=0)
        return last_ps

    def _paced(self, sizes: Integers) -> tuple[Integers, Integers, Integers]:
        """Of each message: its start after the origin (the end of its first layer), bytes sent
        during the prefill, and their time."""
        if not self.paced_ps.any():
            none = np.zeros(sizes.size, np.int64)
            return none, none, none
        shares, spent_ps = self.kv.shares, self.paced_ps[:, None]
        after_ps = spent_ps // self.kv.layers * (shares.first_layer + 1)
        first = sizes - -(-sizes // shares.layers)
        paced_ps = np.where(first > 0, spent_ps - after_ps, 0)
        return np.where(first > 0, after_ps, spent_ps).ravel(), first.ravel(), paced_ps.ravel()


def _released(start_ps: Integers) -> Operations:
    """A program in which message i, alone in its group, starts at ``start_ps[i]``.

    Its transfer is legs 2i and 2i + 1. Idle operations precede a start that is later than the
    longest operation.
    """
    count = len(start_ps)
    idle = np.repeat(np.arange(count), start_ps // LONGEST_PS)
    rank = np.concatenate([idle, np.arange(count)])
    waits = len(idle)

    def column(before: int, message: Integers) -> Integers:
        return np.concatenate([np.full(waits, before, np.int64), message])

    zeros, own = np.zeros(count, np.int64), np.arange(count)
    return Operations(
        rank=rank,
        stream=np.zeros(len(rank), np.int64),
        kind=column(int(Kind.WORK), zeros + int(Kind.COLLECTIVE)),
        duration_ps=column(LONGEST_PS, start_ps % LONGEST_PS),
        transfer=column(-1, 2 * own),
        group=column(-1, own),
        peer=np.full(len(rank), -1, np.int64),
        tag=np.zeros(len(rank), np.int64),
        passive=np.zeros(len(rank), np.int64),
        dep_offsets=np.zeros(len(rank) + 1, np.int64),
        deps=np.zeros(0, np.int64),
        group_offsets=np.arange(count + 1),
        group_ranks=own,
    )
