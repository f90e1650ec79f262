"""Matches communication calls: the k-th call of one rank with the k-th call of every other."""

from dataclasses import dataclass

import numpy as np

from cluster.replay.interface import Kind, Operations, ReplayError
from corsair_common.units import Integers


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MatchedCalls:
    """Of one repeat, numbered by their lowest row."""

    of: Integers
    """[n] the matched call of each row, -1 for work."""
    key: Integers
    """[m] key that matching calls share."""
    transfer: Integers
    """[m] first leg, -1 if the matched call has no transfer."""
    drivers: Integers
    """[m] members that must arrive before it begins, missing ones included."""
    member_offsets: Integers
    """[m + 1] into ``members``."""
    members: Integers
    """Rows, rising within a matched call."""

    def __len__(self) -> int:
        return len(self.transfer)


def pair(operations: Operations) -> MatchedCalls:
    """Match the calls of one repeat by row order, as in DESIGN.md; partners may be missing.

    Raises
    ------
    ReplayError
        Members of a matched call name different transfers, or none of them is a driver.
    """
    rows = np.flatnonzero(operations.kind != Kind.WORK)
    key, side = _keys(operations, rows)
    number, firsts = _meeting_numbers(key, _call(key, side))
    order = np.argsort(number, kind="stable")
    members, number = rows[order], number[order]
    offsets = np.searchsorted(number, np.arange(len(firsts) + 1))
    of = np.full(len(operations.kind), -1, np.int64)
    of[members] = number
    return MatchedCalls(
        of=of,
        key=key[firsts],
        transfer=_transfers(operations, members, offsets),
        drivers=_drivers(operations, members, offsets),
        member_offsets=offsets,
        members=members,
    )


def _keys(operations: Operations, rows: Integers) -> tuple[Integers, Integers]:
    """[c] key that matching calls share, as a dense number, and the role of each call."""
    kind, rank, peer = (getattr(operations, name)[rows] for name in ("kind", "rank", "peer"))
    collective = kind == Kind.COLLECTIVE
    source = np.where(kind == Kind.SEND, rank, peer)
    target = np.where(kind == Kind.SEND, peer, rank)
    ranks = int(operations.rank.max(initial=0)) + 1
    pairs = ranks + source * ranks + target  # beyond every group number once shifted below
    groups = len(operations.group_offsets)
    ends = np.where(collective, operations.group[rows], pairs + groups)
    _, tag = np.unique(operations.tag[rows], return_inverse=True)
    _, key = np.unique(ends * (int(tag.max(initial=0)) + 1) + tag, return_inverse=True)
    side = np.where(collective, rank, (kind == Kind.RECV).astype(np.int64))
    return key.astype(np.int64), side


def _call(key: Integers, side: Integers) -> Integers:
    """[c] number of calls with the same key and role before each."""
    both = key * (int(side.max(initial=0)) + 1) + side
    order = np.argsort(both, kind="stable")
    place = np.arange(len(both))
    starts = np.concatenate([[True], np.diff(both[order]) != 0])[: len(both)]
    first = np.maximum.accumulate(np.where(starts, place, 0))
    call = np.empty(len(both), np.int64)
    call[order] = place - first
    return call


def _meeting_numbers(key: Integers, call: Integers) -> tuple[Integers, Integers]:
    """[c] the matched call of each call and [m] the first call of each, numbered by the latter."""
    both = key * (int(call.max(initial=0)) + 1) + call
    _, first, found = np.unique(both, return_index=True, return_inverse=True)
    rank_of = np.empty(len(first), np.int64)
    rank_of[np.argsort(first)] = np.arange(len(first))
    return rank_of[found], np.sort(first)


def _transfers(operations: Operations, members: Integers, offsets: Integers) -> Integers:
    if not len(members):
        return np.zeros(0, np.int64)
    named = operations.transfer[members]
    most = np.maximum.reduceat(named, offsets[:-1])
    other = (named >= 0) & (named != np.repeat(most, np.diff(offsets)))
    if other.any():
        place = int(np.argmax(other))
        matched_call = int(np.searchsorted(offsets, place, "right")) - 1
        partners = members[offsets[matched_call] : offsets[matched_call + 1]]
        agreed = partners[operations.transfer[partners] == most[matched_call]][0]
        raise ReplayError(
            f"operations {members[place]} and {agreed} match, but name transfers {named[place]} "
            f"and {most[matched_call]}: members of a matched call name one, or -1"
        )
    return most


def _drivers(operations: Operations, members: Integers, offsets: Integers) -> Integers:
    if not len(members):
        return np.zeros(0, np.int64)
    first = members[offsets[:-1]]
    sizes = np.diff(operations.group_offsets)
    group = operations.group[first]
    collective = operations.kind[first] == Kind.COLLECTIVE
    wanted = np.full(len(first), 2, np.int64)
    wanted[collective] = sizes[group[collective]]
    needed: Integers = wanted - np.add.reduceat(operations.passive[members], offsets[:-1])
    if (needed < 1).any():
        row = first[int(np.argmax(needed < 1))]
        raise ReplayError(f"operation {row} matches only passive members: it would never begin")
    return needed
