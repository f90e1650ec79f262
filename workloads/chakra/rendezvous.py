"""Checks that every collective and message appears in the traces of all its ranks."""

from collections.abc import Sequence

import numpy as np

from corsair_common.units import Integers
from workloads.chakra.columns import COLLECTIVES, ChakraError, ChakraTrace, NodeType

_UNEVEN = COLLECTIVES.index("all_to_all")
"""The collective in which sizes may differ between ranks."""


def check_rendezvous(trace: ChakraTrace, paths: Sequence[str]) -> None:
    """Refuse a trace with a deadlock or with mismatched collectives.

    Collectives of a group are matched in the order of each rank's columns; so are messages of the
    same sender, receiver and tag. ``paths`` are the ranks' files.

    Raises
    ------
    ChakraError
        The first node without a matching counterpart.
    """
    checker = _Rendezvous(trace, paths)
    for group in range(len(trace.groups)):
        checker.check_group(group)
    checker.check_messages()


class _Rendezvous:
    def __init__(self, trace: ChakraTrace, paths: Sequence[str]) -> None:
        self._trace = trace
        self._paths = paths

    def check_group(self, group: int) -> None:
        trace = self._trace
        ranks, name = trace.groups[group], trace.group_names[group]
        rows = np.flatnonzero(trace.group == group)
        if len(set(ranks)) != len(ranks):
            raise self._refusal(rows[0], f"process group {name!r} names a rank twice")
        if absent := sorted(set(ranks) - set(range(trace.ranks))):
            raise self._refusal(
                rows[0], f"process group {name!r} has rank {absent[0]}, which has no file"
            )
        unknown = rows[~np.isin(trace.rank[rows], ranks)]
        if unknown.size:
            raise self._refusal(
                unknown[0], f"process group {name!r} is without rank {trace.rank[unknown[0]]}"
            )
        per_rank = {rank: rows[trace.rank[rows] == rank] for rank in ranks}
        for rank in ranks[1:]:
            self._check_pair(per_rank, ranks[0], rank)

    def _check_pair(self, per_rank: dict[int, Integers], one: int, two: int) -> None:
        """Refuse ranks of a group whose collectives or their order differ."""
        both = min(len(per_rank[one]), len(per_rank[two]))
        mine, other = per_rank[one][:both], per_rank[two][:both]
        kind, size = self._trace.collective, self._trace.comm_bytes
        differ = kind[mine] != kind[other]
        differ |= (kind[mine] != _UNEVEN) & (size[mine] != size[other])
        if (wrong := np.flatnonzero(differ)).size:
            at = wrong[0]
            there = f"node {self._trace.node[other[at]]} of {self._paths[two]}"
            raise self._refusal(
                mine[at],
                f"collective {at} of its group is {self._collective(mine[at])} here, but "
                f"{self._collective(other[at])} at {there}",
            )
        for rank, absent in ((one, two), (two, one)):
            if len(per_rank[rank]) > both:
                row = per_rank[rank][both]
                raise self._refusal(
                    row,
                    f"collective {both} of its group ({self._collective(row)}) has no "
                    f"counterpart in {self._paths[absent]}",
                )

    def check_messages(self) -> None:
        """Refuse a send without its receive, and a receive without its send."""
        trace = self._trace
        is_send = (trace.type == NodeType.SEND) & ~trace.on_cpu
        is_recv = (trace.type == NodeType.RECV) & ~trace.on_cpu
        rows = np.flatnonzero(is_send | is_recv)
        for row in rows[(trace.peer[rows] < 0) | (trace.peer[rows] >= trace.ranks)]:
            raise self._refusal(row, f"its peer is rank {trace.peer[row]}, which has no file")
        source = np.where(is_send, trace.rank, trace.peer)
        target = np.where(is_send, trace.peer, trace.rank)
        open_ends: dict[tuple[int, int, int], list[list[int]]] = {}
        for row in rows.tolist():
            key = (int(source[row]), int(target[row]), int(trace.tag[row]))
            open_ends.setdefault(key, [[], []])[int(is_recv[row])].append(row)
        for key, (sends, receives) in open_ends.items():
            self._check_channel(key, sends, receives)

    def _check_channel(
        self, key: tuple[int, int, int], sends: Sequence[int], receives: Sequence[int]
    ) -> None:
        trace = self._trace
        channel = "from rank {} to rank {} with tag {}".format(*key)
        for send, receive in zip(sends, receives, strict=False):
            if trace.comm_bytes[send] != trace.comm_bytes[receive]:
                raise self._refusal(
                    receive,
                    f"receives {trace.comm_bytes[receive]} bytes {channel}, but node "
                    f"{trace.node[send]} of {self._paths[key[0]]} sends {trace.comm_bytes[send]}",
                )
        both = min(len(sends), len(receives))
        if len(sends) != len(receives):
            row = sends[both] if len(sends) > both else receives[both]
            done = "sends" if len(sends) > both else "waits for"
            wanted = "receives" if len(sends) > both else "sends"
            there = self._paths[key[1] if len(sends) > both else key[0]]
            raise self._refusal(
                row, f"{done} message {both} {channel}, but {there} {wanted} {both}"
            )

    def _collective(self, row: int) -> str:
        name = COLLECTIVES[self._trace.collective[row]]
        return f"{name} of {self._trace.comm_bytes[row]} bytes"

    def _refusal(self, row: int, what: str) -> ChakraError:
        path = self._paths[self._trace.rank[row]]
        return ChakraError(f"{path}: node {self._trace.node[row]}: {what}")
