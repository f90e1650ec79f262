"""What a trace format is (its columns, units and quirks) and what reading a file of it gives."""

from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np

from workloads.columns import Integers

TimeUnit: TypeAlias = Literal["s", "ms", "ns", "ps", "wall"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
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
    marks: tuple[str, ...] = ()
    """Further columns that tell this format from others; they are not read."""
    zero_output_fails: bool = False
    """A row without output is a failed request: skipped and counted, else refused."""

    @property
    def needed(self) -> tuple[str, ...]:
        return (self.time, self.prompt, self.output)

    @property
    def least_output(self) -> int:
        return 0 if self.zero_output_fails else 1


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
        ticks=rows.ticks[index],
        prompt_tokens=rows.prompt_tokens[index],
        output_tokens=rows.output_tokens[index],
        hash_offsets=offsets,
        hash_ids=ids,
    )
