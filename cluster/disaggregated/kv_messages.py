"""Replays the messages of KV transfers, those that meet no others once for all alike.

Transfers of two requests affect one another only if their times overlap. In light traffic most do
not, and two requests with equal bytes between the same replicas, and equally long prefills if
messages are paced by them, then take equally long. So one of each kind is replayed alone; those
that overlap are replayed together, group by group, and so are those that cross the edge of a time
bin, whose bytes are divided there. Times and bytes are those of a replay of all together.
"""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from cluster.disaggregated.kv_format import KvPath
from cluster.perf_model.collectives import Resources
from cluster.perf_model.collectives.point_to_point import PairPaths, paced_messages
from cluster.replay.engine import replay
from cluster.replay.interface import FIRST_BIN_PS, LAST_PS, Kind, Operations
from cluster.replay.kernel.state import LONGEST_PS
from corsair_common.units import PS_PER_S, Integers

AT_ONCE = 1 << 10
"""Requests of one replay: 100 MB with 56 messages each."""
FEW = 64
"""So few requests are replayed together in any case."""
ROUNDS = 8
"""Most attempts to find which requests meet others."""

Kinds: TypeAlias = tuple[Integers, Integers]
"""[kind] the first request of each, and [n] the kind of a request."""
Found: TypeAlias = tuple[Integers, int, Integers]
"""[n] end of each request's last message; length of a time bin; [bin, link] bytes."""


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

    def __len__(self) -> int:
        return len(self.origin_ps)

    def replayed(self, rows: Integers, origin_ps: Integers, most_bins: int) -> Found:
        """Replay the messages of some requests, which begin at ``origin_ps``."""
        sizes = self.kv.shares.bytes_of(self.prompt_tokens[rows])
        pairs = sizes.shape[1]
        offset_ps, first, paced_ps = self._paced(rows, sizes)
        path = (self.first_path[rows][:, None] + np.arange(pairs)).ravel()
        transfers = paced_messages(
            self.resources, self.paths, path, first, paced_ps, sizes.ravel() - first
        )
        operations = _released(np.repeat(origin_ps, pairs) + offset_ps)
        found = replay(operations, transfers, most_bins=most_bins)
        ends_ps = found.end_ps[len(found.end_ps) - sizes.size :].reshape(sizes.shape)
        return ends_ps.max(axis=1, initial=0), found.bin_ps, found.load_bytes

    def _paced(self, rows: Integers, sizes: Integers) -> tuple[Integers, Integers, Integers]:
        """Of each message: its start after the origin (the end of its first layer), bytes sent
        during the prefill, and their time."""
        if not self.paced_ps.any():
            none = np.zeros(sizes.size, np.int64)
            return none, none, none
        shares, spent_ps = self.kv.shares, self.paced_ps[rows][:, None]
        after_ps = spent_ps // self.kv.layers * (shares.first_layer + 1)
        first = sizes - -(-sizes // shares.layers)
        paced_ps = np.where(first > 0, spent_ps - after_ps, 0)
        return np.where(first > 0, after_ps, spent_ps).ravel(), first.ravel(), paced_ps.ravel()

    def kinds(self) -> Kinds:
        """Of requests that take equally long alone."""
        tokens, of_tokens = np.unique(self.prompt_tokens, return_inverse=True)
        _, sizes = np.unique(self.kv.shares.bytes_of(tokens), axis=0, return_inverse=True)
        return _alike(self.first_path, sizes.ravel()[of_tokens], self.paced_ps)

    def bytes_by_link(self, kinds: Kinds, rows: Integers, place: Integers, places: int) -> Integers:
        """[place, link] bytes of the messages of some requests, each added at its place."""
        loads = np.zeros((places, self.resources.links), np.int64)
        first_row, kind = kinds
        one, which = _alike(kind[rows], place)
        alike = first_row[kind[rows[one]]]
        sizes = self.kv.shares.bytes_of(self.prompt_tokens[alike])
        sizes *= np.bincount(which, minlength=len(one))[:, None]
        base = self.first_path[alike]
        for first in np.unique(base).tolist():
            used, at = np.unique(place[one[base == first]], return_inverse=True)
            sums = np.zeros((len(used), sizes.shape[1]), np.int64)
            np.add.at(sums, at, sizes[base == first])
            for pair in range(sizes.shape[1]):
                begin, end = self.paths.offsets[first + pair : first + pair + 2]
                loads[np.ix_(used, self.paths.links[begin:end])] += sums[:, pair, None]
        return loads


def _alike(*columns: Integers) -> Kinds:
    """Kinds of rows with equal columns."""
    kind = np.zeros(len(columns[0]), np.int64)
    one = kind
    for column in columns:
        values, place = np.unique(column, return_inverse=True)
        _, one, kind = np.unique(
            kind * max(1, len(values)) + place, return_index=True, return_inverse=True
        )
    return one, kind


def replay_messages(messages: Messages, most_bins: int) -> Found:
    """Ends of the requests' messages, and bytes of all links over time."""
    kinds = messages.kinds()
    alone = _alone_ps(messages, kinds) if len(messages) > FEW else None
    found = None if alone is None else _apart(messages, kinds, alone, most_bins)
    if found is None:
        found = messages.replayed(np.arange(len(messages)), messages.origin_ps, most_bins)
    ends_ps, bin_ps, loads = found
    return ends_ps, bin_ps, loads[:, : messages.resources.links]


def _apart(messages: Messages, kinds: Kinds, alone: Integers, most_bins: int) -> Found | None:
    """The same by groups, from what each takes alone; None if that is not found in a few rounds."""
    met = np.zeros(len(messages), bool)
    ends_ps = messages.origin_ps + alone
    parts: list[tuple[int, Integers]] = []
    for _ in range(ROUNDS):
        if int(ends_ps.max()) > LAST_PS:
            return None
        bin_ps = _bin_ps(int(ends_ps.max()), most_bins)
        group = _groups(messages.origin_ps, ends_ps)
        crosses = messages.origin_ps // bin_ps != (ends_ps - 1) // bin_ps
        again = crosses | (np.bincount(group)[group] > 1)
        if not (again & ~met).any():
            break
        met |= again
        ends_ps[met], parts = _together(messages, np.flatnonzero(met), group, most_bins)
    else:
        return None
    bins = max(1, -(-int(ends_ps.max()) // bin_ps))
    rest = np.flatnonzero(~met)
    loads = messages.bytes_by_link(kinds, rest, messages.origin_ps[rest] // bin_ps, bins)
    for fine_ps, fine in parts:
        np.add.at(loads, np.arange(len(fine)) * fine_ps // bin_ps, fine)
    return ends_ps, bin_ps, loads


def _alone_ps(messages: Messages, kinds: Kinds) -> Integers | None:
    """[n] from each origin to the end of the last message if no other request's are sent.

    None if kinds are so many, or take so long, that it does not pay.
    """
    one, which = kinds
    if 2 * len(one) > len(messages) or not messages.kv.shares.layers.size:
        return None
    rates = messages.resources.capacity_bytes_per_s[messages.paths.slowest]
    sizes = messages.kv.shares.bytes_of(messages.prompt_tokens[one]).sum(axis=1)
    apart_ps = 2 * float(messages.paced_ps[one].max() + messages.paths.latency_ps.max())
    apart_ps += 2 * float(sizes.max()) / float(rates.min()) * PS_PER_S
    found = np.empty(len(one), np.int64)
    for first in range(0, len(one), AT_ONCE):
        rows = one[first : first + AT_ONCE]
        if apart_ps * (len(rows) + 1) > LAST_PS:
            return None
        origin_ps = np.arange(len(rows)) * int(apart_ps)
        took_ps = messages.replayed(rows, origin_ps, 2)[0] - origin_ps
        if int(took_ps.max()) >= int(apart_ps):
            return None
        found[first : first + AT_ONCE] = took_ps
    return found[which]


def _groups(first_ps: Integers, last_ps: Integers) -> Integers:
    """[n] number of the group of intervals that overlap or touch, in order of time."""
    order = np.argsort(first_ps, kind="stable")
    reached_ps = np.maximum.accumulate(last_ps[order])
    begins = np.concatenate([[0], first_ps[order][1:] > reached_ps[:-1]])
    group = np.empty(len(order), np.int64)
    group[order] = np.cumsum(begins)
    return group


def _together(
    messages: Messages, rows: Integers, group: Integers, most_bins: int
) -> tuple[Integers, list[tuple[int, Integers]]]:
    """Replay some requests, whole groups at once: their ends, and bytes of links by part."""
    ends_ps, parts = np.empty(len(rows), np.int64), []
    order = np.argsort(group[rows], kind="stable")
    edges = np.flatnonzero(np.diff(group[rows][order], prepend=-1))
    first = 0
    while first < len(rows):
        later = edges[edges >= first + AT_ONCE]
        last = int(later[0]) if len(later) else len(rows)
        chosen = np.sort(order[first:last])  # in the order of requests, as in one replay
        own = rows[chosen]
        ends_ps[chosen], bin_ps, loads = messages.replayed(own, messages.origin_ps[own], most_bins)
        parts.append((bin_ps, loads[:, : messages.resources.links]))
        first = last
    return ends_ps, parts


def _bin_ps(end_ps: int, most_bins: int) -> int:
    """Length of the time bins of a replay that ends then."""
    bin_ps = FIRST_BIN_PS
    while end_ps > most_bins * bin_ps:
        bin_ps *= 2
    return bin_ps


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
