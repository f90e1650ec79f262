"""Operation programs as columns: the operations of every rank, their order and dependencies.

Millions of operations are affordable because a program may be a template that is repeated: row i
of repeat r is operation ``r * rows + i``, its step is that of the template moved on by r times the
steps of the template, and only the values of ``VARYING`` columns may differ, through a small table.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from corsair_common.units import Integers
from workloads.program.schema import DEFAULTS, OPEN, PROGRAM_COLUMNS, VARYING, VOCABULARIES
from workloads.program.schema import ProgramError as ProgramError

Narrow: TypeAlias = npt.NDArray[np.int32]
Codes: TypeAlias = npt.NDArray[np.int8]

_NARROW = {"rank", "name", "step", "layer", "microbatch", "group", "peer", "varies"}
_CODES = {
    "stream",
    "kind",
    "phase",
    "collective",
    "weight_class",
    "weight_format",
    "activation_format",
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Operations:
    """Columns of n operations, as ``PROGRAM_COLUMNS`` explains them; words are codes.

    ``first`` is the number of the first; the others follow without gaps.
    """

    first: int = 0
    rank: Narrow
    stream: Codes
    kind: Codes
    """Index into KINDS."""
    name: Narrow
    """Index into the program's ``words["name"]``; so are weight_class and the formats."""
    step: Narrow
    layer: Narrow
    microbatch: Narrow
    phase: Codes
    """Index into PHASES."""
    tokens: Integers
    m: Integers
    k: Integers
    n: Integers
    count: Integers
    context_tokens: Integers
    weight_class: Codes
    weight_format: Codes
    activation_format: Codes
    flop: Integers
    read_bytes: Integers
    write_bytes: Integers
    payload_bytes: Integers
    collective: Codes
    """Index into COLLECTIVES, -1 for none."""
    group: Narrow
    peer: Narrow
    tag: Integers
    duration_ps: Integers
    """-1: not recorded."""
    varies: Narrow
    """[n] column of ``Program.varying``, -1 for none."""
    dep_offsets: Integers
    """[n + 1] where each operation's dependencies begin in ``deps``."""
    deps: Integers
    """Numbers of operations."""

    def __len__(self) -> int:
        return len(self.rank)

    @property
    def op(self) -> Integers:
        return np.arange(self.first, self.first + len(self), dtype=np.int64)


ROW_COLUMNS = tuple(
    item.name for item in fields(Operations) if item.name not in ("first", "dep_offsets", "deps")
)
"""Columns with one value a row."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Program:
    """A template of operations, how often it is repeated, and the groups of its collectives."""

    operations: Operations
    """The template: operations 0 to n - 1. A dependency below 0 is in the previous repeat; in the
    first repeat it does not exist."""
    words: Mapping[str, tuple[str, ...]]
    """Dictionaries of the columns in OPEN."""
    groups: tuple[tuple[int, ...], ...] = ()
    """Ranks of each group, in order of position."""
    repeats: int = 1
    varying: Integers = field(default_factory=lambda: np.zeros((1, 0, len(VARYING)), np.int64))
    """[repeats, varies, VARYING] values of the rows that vary; the template holds the first."""

    def __post_init__(self) -> None:
        if not self.repeats >= 1:
            raise ProgramError(f"repeats must be at least 1, got {self.repeats}")
        if self.varying.shape[0] != self.repeats or self.varying.shape[2:] != (len(VARYING),):
            raise ProgramError(
                f"varying must hold {len(VARYING)} values for each of {self.repeats} repeats, got"
                f" an array of {self.varying.shape}"
            )

    def __len__(self) -> int:
        return len(self.operations) * self.repeats

    @property
    def ranks(self) -> int:
        return int(self.operations.rank.max(initial=-1)) + 1

    @property
    def steps_per_repeat(self) -> int:
        return int(self.operations.step.max(initial=-1)) + 1

    @property
    def steps(self) -> int:
        return self.steps_per_repeat * self.repeats

    def word(self, column: str, code: int) -> str:
        """The word of a dictionary column's code; "" where a fixed one has none."""
        words = VOCABULARIES.get(column) or self.words[column]
        return words[code] if code >= 0 else ""

    def block(self, first: int, last: int) -> Operations:
        """Return repeats ``first`` to ``last - 1`` written out."""
        if not 0 <= first < last <= self.repeats:
            raise ProgramError(
                f"repeats are 0 to {self.repeats - 1}, got {first} up to but not {last}"
            )
        if self.repeats == 1:
            return self.operations
        rows, copies = len(self.operations), last - first
        columns = {name: np.tile(getattr(self.operations, name), copies) for name in ROW_COLUMNS}
        repeat = np.repeat(np.arange(first, last), rows)
        columns["step"] += (repeat * self.steps_per_repeat).astype(np.int32)
        varied = columns["varies"] >= 0
        values = self.varying[repeat[varied], columns["varies"][varied]]
        for index, name in enumerate(VARYING):
            columns[name][varied] = values[:, index]
        offsets, deps = self._dependencies(first, last)
        return Operations(first=first * rows, dep_offsets=offsets, deps=deps, **columns)

    def expanded(self) -> "Program":
        """Return the same operations as a program without repeats."""
        if self.repeats == 1:
            return self
        whole = self.block(0, self.repeats)
        fixed = replace(whole, varies=np.full(len(whole), -1, np.int32))
        return Program(operations=fixed, words=self.words, groups=self.groups)

    def _dependencies(self, first: int, last: int) -> tuple[Integers, Integers]:
        own = self.operations
        rows = len(own)
        copies = np.arange(first, last)[:, None]
        deps = (own.deps[None, :] + copies * rows).ravel()
        counts = np.tile(np.diff(own.dep_offsets), last - first)
        if first == 0:
            absent = np.flatnonzero(own.deps < 0)
            owner = np.searchsorted(own.dep_offsets, absent, side="right") - 1
            np.subtract.at(counts, owner, 1)
            deps = np.delete(deps, absent)
        return np.concatenate([[0], np.cumsum(counts)]), deps


def program_of(
    columns: Mapping[str, Any], groups: Sequence[Sequence[int]] = (), *, repeats: int = 1
) -> Program:
    """Make a program of whatever columns there are; the others take their defaults.

    Numbers are arrays or sequences, in which None stands for the default. Words may be given as
    they are (a list of str, "" or None for none), as a tuple of a dictionary and codes into it (-1
    for none), or, for columns of fixed words, as codes. ``deps`` is a sequence of sequences, or a
    pair of arrays (offsets, values). Nothing is checked but names, lengths and words:
    ``workloads.program.check`` does the rest.

    Raises
    ------
    ProgramError
        A column that does not exist, of another length, or with an unknown word.
    """
    rows = len(columns["rank"])
    known = {column.name for column in PROGRAM_COLUMNS}
    unknown = set(columns) - known
    if unknown:
        raise ProgramError(f"a program has no column {sorted(unknown)[0]!r}")
    words: dict[str, tuple[str, ...]] = {}
    made: dict[str, Any] = {}
    for name in ROW_COLUMNS:
        values = columns.get(name)
        if name in VOCABULARIES or name in OPEN:
            made[name], words[name] = _coded(name, values, rows)
        elif values is None:
            made[name] = np.full(rows, DEFAULTS.get(name, 0), dtype_of(name))
        else:
            made[name] = _numbers(name, values)
        if len(made[name]) != rows:
            raise ProgramError(f"{name} has {len(made[name])} rows, rank has {rows}")
    offsets, deps = _lists(columns.get("deps"), rows)
    return Program(
        operations=Operations(dep_offsets=offsets, deps=deps, **made),
        words=MappingProxyType({name: words[name] for name in OPEN}),
        groups=tuple(tuple(int(rank) for rank in group) for group in groups),
        repeats=repeats,
        varying=np.zeros((repeats, 0, len(VARYING)), np.int64),
    )


def dtype_of(name: str) -> type[np.signedinteger[Any]]:
    """The type in which a column is held."""
    if name in _CODES:
        return np.int8
    return np.int32 if name in _NARROW else np.int64


def _numbers(name: str, values: Any) -> npt.NDArray[Any]:
    if not isinstance(values, np.ndarray):
        nothing = DEFAULTS.get(name, 0)
        values = np.array([nothing if value is None else value for value in values])
    narrow: npt.NDArray[Any] = values.astype(dtype_of(name), copy=False)
    return narrow


def _coded(name: str, values: Any, rows: int) -> tuple[Any, tuple[str, ...]]:
    """Codes of a column of words, and its dictionary."""
    fixed = VOCABULARIES.get(name)
    nothing = -1 if name == "collective" else 0
    if values is None:
        return np.full(rows, nothing, dtype_of(name)), fixed or ("",)
    if isinstance(values, np.ndarray) and values.dtype.kind == "i" and fixed is not None:
        return values.astype(dtype_of(name)), fixed
    if isinstance(values, tuple):
        return _recoded(name, *values)
    listed = ["" if value is None else str(value) for value in values]
    own = fixed or tuple(dict.fromkeys(listed))
    index = {word: code for code, word in enumerate(own)}
    if name == "collective":
        index[""] = -1
    absent = next((word for word in listed if word not in index), None)
    if absent is not None:
        raise ProgramError(f"{name} {absent!r} is none of {', '.join(own)}")
    if len(own) > np.iinfo(dtype_of(name)).max:
        raise ProgramError(f"{name} has {len(own)} different words")
    return np.array([index[word] for word in listed], dtype_of(name)), own


def _recoded(
    name: str, words: Sequence[str], codes: Integers
) -> tuple[npt.NDArray[Any], tuple[str, ...]]:
    """Codes of words given as a dictionary and codes, -1 for none."""
    nothing = [""] if len(codes) and codes.min() < 0 else []
    table, own = _coded(name, [*words, *nothing], 0)
    return table[codes], own


def _lists(deps: Any, rows: int) -> tuple[Integers, Integers]:
    if deps is None:
        return np.zeros(rows + 1, np.int64), np.zeros(0, np.int64)
    if isinstance(deps, tuple) and len(deps) == 2 and isinstance(deps[0], np.ndarray):
        return np.asarray(deps[0], np.int64), np.asarray(deps[1], np.int64)
    if len(deps) != rows:
        raise ProgramError(f"deps has {len(deps)} rows, rank has {rows}")
    counts = [len(each) for each in deps]
    offsets = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]).astype(np.int64)
    return offsets, np.array([int(dep) for each in deps for dep in each], np.int64)
