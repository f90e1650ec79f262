"""The distinct calls of a program, and a transfer for each of them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from cluster.perf_model.collectives import Leg, Messages, TransferList, Transfers
from cluster.replay.op_durations import RECORDED, Work
from corsair_common.units import Integers
from workloads.program import Program
from workloads.program.schema import COLLECTIVES, COMMUNICATION, KINDS

SEND, RECV, COLLECTIVE = (KINDS.index(kind) for kind in COMMUNICATION)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One kind of send or collective."""

    collective: str
    """"" for a send."""
    ranks: tuple[int, ...]
    """Of the group in order of position; of a send its source and target."""
    payload_bytes: int
    alone_ps: int
    """Its priced or recorded duration without contention."""
    recorded: bool


class TransferModel(Protocol):
    """Converts calls to transfers: between cards, or over a plain network."""

    def legs(self, call: Call, /) -> tuple[Leg, ...]: ...

    def messages(self, call: Call, transfers: TransferList, /) -> Messages | None:
        """The messages of a collective if they are separate transfers; else None."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Calls:
    """Every transfer of a program."""

    transfers: Transfers
    transfer: Integers
    """[n] of each row of the template: its first leg; -1 for work, and where others name it."""
    plans: Mapping[int, Messages]
    """Transfers to expand into messages."""


def is_matched(program: Program) -> npt.NDArray[np.bool_]:
    """[n] whether a row of the template matches another rank's: sends, receives, group calls."""
    own = program.operations
    sizes = np.array([len(ranks) for ranks in program.groups] or [0], np.int64)
    joined = (own.kind == COLLECTIVE) & (own.group >= 0) & (sizes[own.group] > 1)
    found: npt.NDArray[np.bool_] = joined | (own.kind == SEND) | (own.kind == RECV)
    return found


def calls_of(program: Program, work: Work, network: TransferModel, empty: TransferList) -> Calls:
    """Give a transfer to every send, and to every collective by its group's lowest rank.

    Raises
    ------
    CollectiveError, FabricError
        A collective that the network does not support.
    """
    own = program.operations
    lowest = np.array([min(ranks) for ranks in program.groups] or [0], np.int64)
    names = is_matched(program) & ((own.kind == SEND) | (own.rank == lowest[own.group]))
    rows = np.flatnonzero(names & (own.kind != RECV))
    alone_ps = (work.duration_ps - work.dispatch_ps)[rows]
    sends = own.kind[rows] == SEND
    columns = (
        own.collective[rows],
        own.group[rows],
        np.where(sends, own.rank[rows], -1),
        own.peer[rows],
        own.payload_bytes[rows],
        alone_ps,
        work.bound[rows] == RECORDED,
    )
    kinds, which = np.unique(np.stack(columns, axis=1), axis=0, return_inverse=True)
    plans: dict[int, Messages] = {}
    numbers = np.zeros(len(kinds), np.int64)
    for index, call in enumerate(_calls(program, kinds)):
        planned = None if call.recorded or not call.collective else network.messages(call, empty)
        numbers[index] = empty.add(network.legs(call), own=planned is not None)
        if planned is not None:
            plans[int(numbers[index])] = planned
    transfer = np.full(len(own), -1, np.int64)
    transfer[rows] = numbers[which.ravel()]
    return Calls(transfers=empty.table(), transfer=transfer, plans=plans)


def _calls(program: Program, kinds: Integers) -> Iterator[Call]:
    for collective, group, source, target, payload, alone_ps, recorded in kinds.tolist():
        yield Call(
            collective=COLLECTIVES[collective] if source < 0 else "",
            ranks=program.groups[group] if source < 0 else (source, target),
            payload_bytes=payload,
            alone_ps=alone_ps,
            recorded=bool(recorded),
        )
