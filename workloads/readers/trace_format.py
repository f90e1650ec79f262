"""Description of a trace format (columns, units, quirks), and the rows read from a file."""

from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import numpy as np

from corsair_common.units import Integers
from workloads.requests import FIRST

GivenUnit: TypeAlias = Literal["s", "ms", "us", "ns", "wall"]
TimeUnit: TypeAlias = GivenUnit | Literal["ps"]
"""Units that a user may name; ``ps`` is our own Parquet's."""

LaterPrompts: TypeAlias = Literal["whole", "added"]

TOKEN_IDS = "input_tok_ids"
"""Column of the prompt's token ids, hashed into blocks where a file has no block ids."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadOptions:
    """User options for a file; empty or 0 keeps the format's own."""

    time_unit: GivenUnit | None = None
    hash_block_tokens: int = 0
    time: str = ""
    prompt_tokens: str = ""
    output_tokens: str = ""
    hash_ids: str = ""
    session: str = ""
    delay: str = ""
    later_prompts: LaterPrompts = "whole"
    """What lengths of later turns' prompts count: the whole prompt, or what the turn adds to the
    one before and its answer."""

    @property
    def names_columns(self) -> bool:
        own = (self.time, self.prompt_tokens, self.output_tokens, self.hash_ids)
        return any((*own, self.session, self.delay))


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceFormat:
    """One format: which column holds what."""

    name: str
    container: Literal["csv", "jsonl", "parquet"]
    time: str
    time_unit: TimeUnit
    """``wall`` is a date with time of day: the earliest request is then the trace's start. All
    others count from the trace's start, and are read to the nanosecond."""
    prompt: str
    output: str
    hash_ids: str = ""
    """Column of block ids, empty if the format has none; a file may leave it out."""
    hash_block_tokens: int = 0
    token_ids: str = ""
    """Column of the prompt's token ids, set where a file has these and no block ids."""
    session: str = ""
    """Column of the session, empty if the format has none; a CSV file may leave it out."""
    elapsed: str = ""
    """... of how long the answer took, in seconds: the next turn comes as long after its end."""
    delay: str = ""
    """... of the time from the end of the turn before, in the unit of the times."""
    marks: tuple[str, ...] = ()
    """Further columns that identify this format; they are not read."""

    @property
    def needed(self) -> tuple[str, ...]:
        """Time (unless the file has none), prompt and output."""
        return (*([self.time] if self.time else []), self.prompt, self.output)

    def adapted(self, options: ReadOptions) -> "TraceFormat":
        """This format with the user's options in place of its own."""
        return replace(
            self,
            time=options.time or self.time,
            time_unit=options.time_unit or self.time_unit,
            prompt=options.prompt_tokens or self.prompt,
            output=options.output_tokens or self.output,
            hash_ids=options.hash_ids or self.hash_ids,
            session=options.session or self.session,
            delay=options.delay or self.delay,
            hash_block_tokens=options.hash_block_tokens or self.hash_block_tokens,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """A file's rows in the file's order, with time still in its own ticks.

    Ticks hold times that picoseconds would not (int64 picoseconds end after 106 days), so a month
    of a year-long trace can be cut out before anything is converted.
    """

    ticks: Integers
    ticks_per_s: int
    prompt_tokens: Integers
    output_tokens: Integers
    hash_offsets: Integers | None = None
    hash_ids: Integers | None = None
    hash_block_tokens: int = 0
    skipped: int = 0
    """Rows left out since they have no prompt or no output tokens: failed requests."""
    timed: bool = True
    """False for lengths without arrivals; all ticks are then 0."""
    time_unit: TimeUnit = "ps"
    session: Integers | None = None
    """[n] equal for turns of one session; None, as the next three, without sessions."""
    previous: Integers | None = None
    """[n] row of the turn before, or FIRST."""
    delay: Integers | None = None
    """[n] ticks from the end of that turn."""
    recorded: Integers | None = None
    """[n] 1 where a turn has a time of its own, before which it does not come."""
    common_tokens: int = 0
    """First tokens that all prompts have in common (our own files only)."""

    def __len__(self) -> int:
        return len(self.ticks)


def take(rows: Rows, index: Integers) -> Rows:
    """Keep the rows of ``index``, in its order, with their block ids."""
    offsets = ids = None
    if rows.hash_offsets is not None and rows.hash_ids is not None:
        starts = rows.hash_offsets[:-1][index]
        counts = np.diff(rows.hash_offsets)[index]
        offsets = np.concatenate(([0], np.cumsum(counts)))
        ids = rows.hash_ids[np.repeat(starts - offsets[:-1], counts) + np.arange(offsets[-1])]
    return replace(
        rows,
        **_turns(rows, index),
        ticks=rows.ticks[index],
        prompt_tokens=rows.prompt_tokens[index],
        output_tokens=rows.output_tokens[index],
        hash_offsets=offsets,
        hash_ids=ids,
    )


def _turns(rows: Rows, index: Integers) -> dict[str, Any]:
    """The columns of sessions; a turn whose previous one is not kept comes at its own time."""
    if rows.previous is None or rows.session is None:
        return {}
    if rows.delay is None or rows.recorded is None:
        return {}
    place = np.full(len(rows) + 1, FIRST, np.int64)  # the last is that of FIRST
    place[index] = np.arange(len(index))
    previous = place[rows.previous[index]]
    return {
        "session": rows.session[index],
        "previous": previous,
        "delay": np.where(previous == FIRST, 0, rows.delay[index]),
        "recorded": np.where(previous == FIRST, 1, rows.recorded[index]),
    }
