"""What must hold in every program; the first row that breaks it is named."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from corsair_common.units import Integers
from workloads.program.columns import Operations, Program
from workloads.program.schema import COLLECTIVES, KINDS, VARYING, VOCABULARIES, ProgramError

_COUNTS = (
    *("stream", "step", "microbatch", "tokens", "m", "k", "n", "count", "context_tokens", "flop"),
    *("read_bytes", "write_bytes", "payload_bytes"),
)
_MINUS_ONE = ("layer", "duration_ps")


@dataclass(frozen=True, slots=True)
class Fault:
    """The first row that is wrong in some way."""

    row: int
    column: str
    found: str
    allowed: str


def check_program(program: Program, name: str = "the program") -> None:
    """Refuse a program that makes no sense; ``name`` is how the message calls it.

    Raises
    ------
    ProgramError
        No operations, ranks with gaps, negative sizes, words and groups that do not exist, peers
        that do not, dependencies on rows that do not exist or on later steps, sends without their
        receives, collectives without all of their ranks.
    """
    if not len(program.operations):
        raise ProgramError(f"{name}: holds no operations")
    for find in _CHECKS:
        if find is _wiring:
            _check_ranks(program, name)
        for fault in find(program):
            raise ProgramError(
                f"{name}: row {fault.row}: column {fault.column!r}: found {fault.found};"
                f" {fault.allowed}"
            )


def _check_ranks(program: Program, name: str) -> None:
    present = np.unique(program.operations.rank)
    missing = np.flatnonzero(present != np.arange(len(present)))
    if len(missing):
        raise ProgramError(
            f"{name}: column 'rank': rank {missing[0]} has no operations, rank"
            f" {present[missing[0]]} has; ranks count from 0 without gaps"
        )


def _ranges(program: Program) -> Iterator[Fault]:
    own = program.operations
    for column in ("rank", *_COUNTS, *_MINUS_ONE):
        least = -1 if column in _MINUS_ONE else 0
        yield from _beyond(own, column, least, None)
    for column, words in VOCABULARIES.items():
        yield from _beyond(own, column, -1 if column == "collective" else 0, len(words) - 1)
    yield from _beyond(own, "varies", -1, program.varying.shape[1] - 1)


def _wiring(program: Program) -> Iterator[Fault]:
    """Groups, peers and collectives where they belong, and nowhere else."""
    own = program.operations
    is_collective = own.kind == KINDS.index("collective")
    is_message = np.isin(own.kind, (KINDS.index("send"), KINDS.index("recv")))
    highest = len(program.groups) - 1
    yield from _beyond(own, "group", -1, highest)
    yield from _first(own, "group", ~is_collective & (own.group >= 0), "only collectives have one")
    words = f"a collective is one of {', '.join(COLLECTIVES)}"
    yield from _first(own, "collective", is_collective & (own.collective < 0), words)
    alone = "only collectives have one"
    yield from _first(own, "collective", ~is_collective & (own.collective >= 0), alone)
    yield from _beyond(own, "peer", -1, program.ranks - 1)
    needed = "a send or recv needs another rank"
    yield from _first(own, "peer", is_message & ((own.peer < 0) | (own.peer == own.rank)), needed)
    yield from _first(own, "peer", ~is_message & (own.peer >= 0), "only send and recv have one")


def _groups(program: Program) -> Iterator[Fault]:
    own = program.operations
    for number, ranks in enumerate(program.groups):
        outside = [rank for rank in ranks if not 0 <= rank < program.ranks]
        if not ranks or len(set(ranks)) < len(ranks) or outside:
            yield Fault(
                row=int(np.argmax(own.group == number)),
                column="group",
                found=f"group {number} with the ranks {list(ranks)}",
                allowed=f"a group has different ranks of 0 to {program.ranks - 1}",
            )
    width = program.ranks
    members = [
        number * width + rank for number, group in enumerate(program.groups) for rank in group
    ]
    taken = own.group.astype(np.int64) * width + own.rank
    strange = (own.group >= 0) & ~np.isin(taken, members)
    yield from _first(own, "group", strange, "only the ranks of a group take part in it")


def _dependencies(program: Program) -> Iterator[Fault]:
    own = program.operations
    rows = len(own)
    owner = np.repeat(np.arange(rows), np.diff(own.dep_offsets))
    least = -rows if program.repeats > 1 else 0
    what = f"a row of {least} to {rows - 1}"
    yield from _dep((own.deps < least) | (own.deps >= rows), owner, own.deps, what)
    yield from _dep(own.deps == owner, owner, own.deps, "another row than itself")
    later = (own.deps >= 0) & (own.step[own.deps % rows] > own.step[owner])
    yield from _dep(later, owner, own.deps, "a row of no later step")


def _messages(program: Program) -> Iterator[Fault]:
    """The k-th send between two ranks under a tag matches the k-th receive."""
    own = program.operations
    receive = KINDS.index("recv")
    rows = np.flatnonzero((own.kind == KINDS.index("send")) | (own.kind == receive))
    side = own.kind[rows] == receive
    source = np.where(side, own.peer[rows], own.rank[rows])
    target = np.where(side, own.rank[rows], own.peer[rows])
    call = matched_calls(classes(source, target, own.tag[rows]), side.astype(np.int64))
    lonely = np.bincount(call)[call] < 2
    for row in rows[lonely][:1]:
        one, other = ("receive", "send") if own.kind[row] == receive else ("send", "receive")
        yield Fault(
            row=int(row),
            column="peer",
            found=f"a {one} of rank {own.rank[row]} without its {other} (tag {own.tag[row]})",
            allowed=f"rank {own.peer[row]} must have as many of the other kind under that tag",
        )
    sent = np.zeros(len(rows), np.int64)
    sent[call[~side]] = own.payload_bytes[rows[~side]]
    unequal = side & (own.payload_bytes[rows] != sent[call])
    for row, expected in zip(rows[unequal][:1], sent[call][unequal][:1], strict=True):
        found = str(own.payload_bytes[row])
        yield Fault(int(row), "payload_bytes", found, f"its send carries {expected}")


def _collectives(program: Program) -> Iterator[Fault]:
    """The k-th call of every rank of a group under a tag is the same collective."""
    own = program.operations
    rows = np.flatnonzero((own.kind == KINDS.index("collective")) & (own.group >= 0))
    group, rank = own.group[rows], own.rank[rows].astype(np.int64)
    call = matched_calls(classes(group, own.tag[rows]), rank)
    sizes = np.array([len(ranks) for ranks in program.groups] or [0])
    short = np.bincount(call)[call] < sizes[group]
    for row in rows[short][:1]:
        yield Fault(
            row=int(row),
            column="group",
            found=f"a call of group {own.group[row]} that some of its ranks do not make",
            allowed="all ranks of a group make as many calls under a tag",
        )
    first = np.zeros(len(rows), np.int64)
    first[call[::-1]] = rows[::-1]
    for column in ("collective", "payload_bytes"):
        values = getattr(own, column)
        unequal = values[rows] != values[first[call]]
        for row, other in zip(rows[unequal][:1], first[call][unequal][:1], strict=True):
            found = str(values[row])
            if column == "collective":
                found = repr(program.word(column, int(values[row])))
            allowed = f"row {other}, the same call of rank {own.rank[other]}, has another"
            yield Fault(int(row), column, found, allowed)


def _varying(program: Program) -> Iterator[Fault]:
    own = program.operations
    rows = np.flatnonzero(own.varies >= 0)
    for index, column in enumerate(VARYING):
        values = getattr(own, column)[rows]
        unequal = values != program.varying[0, own.varies[rows], index]
        for row in rows[unequal][:1]:
            found = str(getattr(own, column)[row])
            yield Fault(int(row), column, found, "the first of its varying values is another")
    _, first, which = np.unique(own.varies[rows], return_index=True, return_inverse=True)
    for column in ("kind", "name", "tokens", "m", "k", "count"):
        values = getattr(own, column)
        for row in rows[values[rows] != values[rows[first][which]]][:1]:
            other = rows[first][which][np.flatnonzero(rows == row)[0]]
            found = str(values[row])
            yield Fault(int(row), column, found, f"row {other}, which varies alike, has another")
    if program.varying.size and program.varying.min() < 0:
        yield Fault(int(rows[0]) if len(rows) else 0, "varies", "a value below 0", "0 or more")


_CHECKS: tuple[Callable[[Program], Iterator[Fault]], ...] = (
    _ranges,
    _wiring,
    _groups,
    _dependencies,
    _messages,
    _collectives,
    _varying,
)


def classes(*columns: npt.NDArray[np.signedinteger[Any]]) -> Integers:
    """Number the different combinations of values, row by row."""
    codes = np.zeros(len(columns[0]), np.int64)
    for column in columns:
        values, own = np.unique(column, return_inverse=True)
        codes = np.unique(codes * max(1, len(values)) + own, return_inverse=True)[1]
    return codes.astype(np.int64)


def matched_calls(code: Integers, member: Integers) -> Integers:
    """Number the matched calls: a member's k-th call of a code matches the others' k-th."""
    order = np.lexsort((np.arange(len(code)), member, code))
    same = np.ones(len(code), np.bool_)
    same[1:] = (np.diff(code[order]) != 0) | (np.diff(member[order]) != 0)
    start = np.maximum.accumulate(np.where(same, np.arange(len(code)), 0))
    call = np.zeros(len(code), np.int64)
    call[order] = np.arange(len(code)) - start
    return classes(code, call)


def _beyond(own: Operations, column: str, least: int, most: int | None) -> Iterator[Fault]:
    values = getattr(own, column)
    allowed = f"at least {least} is needed" if most is None else f"{least} to {most} are allowed"
    wrong = values < least
    if most is not None:
        wrong |= values > most
    return _first(own, column, wrong, allowed)


def _first(
    own: Operations, column: str, wrong: npt.NDArray[np.bool_], allowed: str
) -> Iterator[Fault]:
    for row in np.flatnonzero(wrong)[:1]:
        found = str(getattr(own, column)[row])
        yield Fault(row=int(row), column=column, found=found, allowed=allowed)


def _dep(
    wrong: npt.NDArray[np.bool_], owner: Integers, deps: Integers, allowed: str
) -> Iterator[Fault]:
    for index in np.flatnonzero(wrong)[:1]:
        found = str(deps[index])
        yield Fault(int(owner[index]), "deps", found, f"{allowed} is needed")
