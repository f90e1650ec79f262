"""Requests as columns: the output of trace readers and generators, the input of engines."""

import hashlib
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from corsair_common.units import Integers

FIRST = -1
"""The previous turn of a session's first."""
SESSION_COLUMNS = ("session", "previous", "delay_ps")

MOST_TOKENS = 2**40
"""Of a prompt or an output: beyond every model, while sums stay far inside int64."""


class TraceError(ValueError):
    """An invalid trace or request for one; names what was found, where, and what is allowed."""

    exit_code: ClassVar[int] = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column of an input table."""

    name: str
    type: str
    unit: str
    meaning: str
    optional: bool = False


REQUEST_COLUMNS = (
    Column(
        name="arrival_ps",
        type="int64",
        unit="ps",
        meaning="When the request arrives, from the trace's start; non-decreasing.",
    ),
    Column(
        name="prompt_tokens",
        type="int64",
        unit="tokens",
        meaning="Tokens of the prompt; at least 1.",
    ),
    Column(
        name="output_tokens",
        type="int64",
        unit="tokens",
        meaning="Tokens that are generated; at least 1.",
    ),
    Column(
        name="hash_ids",
        type="list<int64>",
        unit="1",
        meaning="One id per block of hash_block_tokens prompt tokens (a key of the file's "
        "metadata). Equal ids mean equal content; the last block may be partial.",
        optional=True,
    ),
    Column(
        name="session",
        type="int64",
        unit="1",
        meaning="Number of its session, from 0.",
        optional=True,
    ),
    Column(
        name="previous",
        type="int64",
        unit="1",
        meaning="Row of the turn before in its session, counted from 0, or -1. It arrives after "
        "that has ended, and never before arrival_ps.",
        optional=True,
    ),
    Column(
        name="delay_ps",
        type="int64",
        unit="ps",
        meaning="From the end of that turn to the arrival: a think or tool time.",
        optional=True,
    ),
)
"""The table of requests that ``trace convert`` and ``trace generate`` write, column by column."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Requests:
    """A request trace of n rows, in order of arrival (which is also the requests' identity).

    Raises TraceError for columns of unequal length, another type than int64, arrivals that go back
    or are negative, fewer than one token, or block ids that do not cover their prompt.
    """

    arrival_ps: Integers
    """[n] from the trace's start, so the first request keeps its own offset; non-decreasing."""
    prompt_tokens: Integers
    output_tokens: Integers
    hash_offsets: Integers | None = None
    """[n + 1] start of each request's ids in ``hash_ids``; None if the trace has no ids."""
    hash_ids: Integers | None = None
    """One id per started block of ``hash_block_tokens`` prompt tokens."""
    hash_block_tokens: int = 0
    """Tokens per id; 0 without ids."""
    session: Integers | None = None
    """[n] number of each request's session, from 0; None, as the next two, without sessions."""
    previous: Integers | None = None
    """[n] row of the turn before, an earlier one, or FIRST; ``arrival_ps`` is then the earliest."""
    delay_ps: Integers | None = None
    """[n] from the end of that turn to the arrival of this one, at least 0."""
    common_tokens: int = 0
    """Of sessions without block ids: first tokens that all prompts have in common."""
    skipped: int = 0
    """Rows of the file that had no prompt or output tokens (failed requests) and are left out."""
    reordered: int = 0
    """Rows of the file that followed a later one; they are sorted stably."""
    notes: tuple[str, ...] = ()
    """Notes about suspicious or changed values of the file."""

    def __post_init__(self) -> None:
        ids = ("hash_offsets", "hash_ids")
        for name in ("arrival_ps", "prompt_tokens", "output_tokens", *ids, *SESSION_COLUMNS):
            array = getattr(self, name)
            if array is not None:
                object.__setattr__(self, name, _sealed(name, array))
        _check_rows(self)
        _check_ids(self)
        _check_sessions(self)

    def __len__(self) -> int:
        return len(self.arrival_ps)

    @property
    def shares_prefixes(self) -> bool:
        """Whether prompts are known to begin alike: by block ids, or as turns of a session."""
        return self.hash_ids is not None or self.previous is not None

    @property
    def digest(self) -> str:
        """SHA-256 of the content: the same for equal columns on any machine, in 64 hex digits.

        Notes and counts of dropped or moved rows (``skipped``, ``reordered``) are not content.
        """
        sha = hashlib.sha256(f"requests {len(self)} {self.hash_block_tokens}".encode())
        for array in (
            self.arrival_ps,
            self.prompt_tokens,
            self.output_tokens,
            self.hash_offsets,
            self.hash_ids,
            self.session,
            self.previous,
            self.delay_ps,
        ):
            if array is not None:
                sha.update(np.ascontiguousarray(array, dtype="<i8").data)
        if self.common_tokens:
            sha.update(f"common {self.common_tokens}".encode())
        return sha.hexdigest()


def _sealed(name: str, array: Integers) -> Integers:
    if array.ndim != 1 or array.dtype != np.int64:
        raise TraceError(f"{name} must be one row of int64, got {array.ndim}-d {array.dtype}")
    view = array.view()
    view.flags.writeable = False
    return view


def _check_rows(requests: Requests) -> None:
    n = len(requests.arrival_ps)
    if not n:
        raise TraceError("a trace needs at least one request, got none")
    for name in ("prompt_tokens", "output_tokens"):
        column: Integers = getattr(requests, name)
        if len(column) != n:
            raise TraceError(f"{name} has {len(column)} rows, arrival_ps has {n}")
        if column.min() < 1:
            row = int(column.argmin())
            raise TraceError(f"{name} of request {row} is {column[row]}, at least 1 is needed")
        if column.max() > MOST_TOKENS:
            row = int(column.argmax())
            raise TraceError(
                f"{name} of request {row} is {column[row]}, at most {MOST_TOKENS} is allowed"
            )
    if requests.arrival_ps[0] < 0:
        raise TraceError(f"the first arrival is {requests.arrival_ps[0]} ps, before the trace")
    back = np.flatnonzero(requests.arrival_ps[1:] < requests.arrival_ps[:-1])
    if len(back):
        raise TraceError(f"request {back[0] + 1} arrives before request {back[0]}")


def _check_sessions(requests: Requests) -> None:
    columns = {name: getattr(requests, name) for name in SESSION_COLUMNS}
    if all(column is None for column in columns.values()):
        if requests.common_tokens:
            raise TraceError("common_tokens are of sessions")
        return
    if requests.common_tokens < 0 or (requests.common_tokens and requests.hash_ids is not None):
        raise TraceError(
            f"common_tokens is {requests.common_tokens}; it must be at least 0, and is of requests "
            "without block ids"
        )
    for name, column in columns.items():
        if column is None or len(column) != len(requests):
            raise TraceError(f"session, previous and delay_ps go together; {name} has other rows")
        least = FIRST if name == "previous" else 0
        if column.min() < least:
            row = int(column.argmin())
            raise TraceError(
                f"{name} of request {row} is {column[row]}, at least {least} is needed"
            )
    before = np.asarray(requests.previous)
    wrong = np.flatnonzero(before >= np.arange(len(before)))
    if len(wrong):
        row = int(wrong[0])
        raise TraceError(f"previous of request {row} is {before[row]}, not an earlier request")


def _check_ids(requests: Requests) -> None:
    offsets, ids, size = requests.hash_offsets, requests.hash_ids, requests.hash_block_tokens
    if offsets is None or ids is None or size == 0:
        if offsets is None and ids is None and size == 0:
            return
        raise TraceError("hash_offsets, hash_ids and hash_block_tokens go together or not at all")
    if size < 0:
        raise TraceError(f"hash_block_tokens must be positive, got {size}")
    if len(offsets) != len(requests) + 1 or offsets[0] != 0 or offsets[-1] != len(ids):
        raise TraceError(f"hash_offsets must run from 0 to {len(ids)} in {len(requests) + 1} steps")
    wrong = np.flatnonzero(~ids_fit(np.diff(offsets), requests.prompt_tokens, size))
    if len(wrong):
        row = int(wrong[0])
        raise TraceError(
            f"request {row} has {offsets[row + 1] - offsets[row]} block ids, its prompt of "
            f"{requests.prompt_tokens[row]} tokens has {requests.prompt_tokens[row] // size} full "
            f"blocks of {size}"
        )


def ids_fit(counts: Integers, prompt_tokens: Integers, block_tokens: int) -> npt.NDArray[np.bool_]:
    """Return for each request whether its ids cover its prompt.

    A partial last block may have an id or not; traces differ.
    """
    full = prompt_tokens // block_tokens
    return (counts >= full) & (counts <= -(-prompt_tokens // block_tokens))
