"""Session traces: JSON lines whose requests wait for others, as LLMServingSim, Qwen-Bailian, Dynamo
and aiperf write them.

- ``sub_requests`` (LLMServingSim): calls of one session; each comes ``tool_duration_ns`` of the one
  before after its end.
- ``parent_chat_id`` (Bailian): a turn comes at its recorded time, or at the end of its parent if
  that is later.
- ``session_id`` (Dynamo, aiperf): turns in the order of the lines. A later one comes ``delay`` (in
  the unit of the file's times), ``delay_ms`` or ``delay_s`` after the end of the one before, or at
  its recorded time, as Bailian's.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np

from corsair_common.units import Integers
from workloads.readers.blocks import hash_tokens, number_ids
from workloads.readers.diagnose import faults_of, parsed_object, shown, text_lines, whole
from workloads.readers.files import open_trace
from workloads.readers.trace_format import TOKEN_IDS, Rows, TraceFormat, take
from workloads.requests import FIRST, TraceError
from workloads.sessions import ordered

Values: TypeAlias = Mapping[str, object]

SUB_REQUESTS, TOOL = "sub_requests", "tool_duration_ns"
SESSION = "session_id"
CHAT, PARENT = "chat_id", "parent_chat_id"
NO_PARENT = -1
DELAYS = {"delay": "", "delay_ms": "ms", "delay_s": "s"}
"""Keys of a delay and their units; empty: that of the file's times."""
REFUSED_KEYS = ("parent", "parent_id", "parent_request_id", "wait_for")
"""Keys of requests that wait for others in formats that are not read."""
TURN_KEYS = (SUB_REQUESTS, PARENT, SESSION, *DELAYS)

_KEY = re.compile(
    rb'"(' + "|".join((*REFUSED_KEYS, *TURN_KEYS)).encode() + rb')"\s*:\s*(?!null|\s)'
)
_NS = {"s": 1e9, "ms": 1e6, "us": 1e3, "ns": 1.0}
_LAST_NS = 9.2e18


@dataclass(slots=True, kw_only=True)
class Turn:
    """One request of a file, and what it waits for."""

    line: int
    values: Values
    timed: bool
    """Whether it comes at a time of its own, and not a delay after another."""
    has_time: bool
    delay_ns: int = 0
    session: object = None
    """Of turns that follow one another in the file; None: alone."""
    chat: object = None
    parent: object = None
    """By which others name it, and what it names."""
    turn: object = None
    """Its place in its session, from 1."""


def holds_sessions(path: Path, form: TraceFormat) -> bool:
    """Whether JSON lines hold turns; TraceError for a key of those that are not read.

    With dates for times turns are read as single requests.
    """
    found = bool(form.session)
    with open_trace(path) as file:
        for number, line in enumerate(file, start=1):
            for key in {each.decode() for each in _KEY.findall(line)}:
                if key in REFUSED_KEYS:
                    raise TraceError(
                        f"{path}:{number}: found {key!r}: a trace of sessions in a form that is "
                        f"not read; known are {', '.join(TURN_KEYS)}"
                    )
                found = True
    return found and form.time_unit != "wall"


def read_turns(path: Path, form: TraceFormat) -> Rows:
    """Read the rows of such a file; TraceError names the first line that is wrong."""
    turns = [
        turn
        for number, line in text_lines(path)
        for turn in _turns(path, number, parsed_object(path, number, line), form)
    ]
    for turn in turns:
        for name, why in faults_of(form, turn.values, zone=False):
            raise TraceError(f"{path}:{turn.line}: column {name!r}: {why}")
    previous = _previous(path, turns)
    lengths = np.array(
        [[whole(turn.values[name]) for name in (form.prompt, form.output)] for turn in turns],
        np.int64,
    ).reshape(-1, 2)
    offsets, ids = _ids(path, turns, form)
    rows = Rows(
        ticks=np.array([_ns(turn.values[form.time], form.time_unit) for turn in turns], np.int64),
        ticks_per_s=10**9,
        prompt_tokens=lengths[:, 0],
        output_tokens=lengths[:, 1],
        hash_offsets=offsets,
        hash_ids=ids,
        hash_block_tokens=0 if ids is None else form.hash_block_tokens,
        time_unit=form.time_unit,
        session=_first_of(path, turns, previous),
        previous=previous,
        delay=np.array([turn.delay_ns for turn in turns], np.int64),
        recorded=np.array([turn.timed for turn in turns], np.int64),
    )
    return without_failed(rows)


def without_failed(rows: Rows) -> Rows:
    """Leave out rows without tokens; what followed one follows the turn before it."""
    served = (rows.prompt_tokens != 0) & (rows.output_tokens != 0)
    if served.all() or rows.previous is None:
        return rows
    if rows.recorded is not None and rows.delay is not None:  # one without its own time keeps one
        rows = replace(rows, ticks=ordered(rows.ticks, rows.previous, rows.recorded, rows.delay)[0])
    previous, before = np.array(rows.previous), np.asarray(rows.previous)
    for row in np.flatnonzero(previous != FIRST).tolist():
        while previous[row] != FIRST and not served[previous[row]]:
            previous[row] = before[previous[row]]
    kept = take(replace(rows, previous=previous), np.flatnonzero(served))
    return replace(kept, skipped=int(np.count_nonzero(~served)))


def _turns(path: Path, line: int, found: Values, form: TraceFormat) -> Iterator[Turn]:
    """The requests of a line."""
    if SUB_REQUESTS in found:
        yield from _sub_requests(path, line, found, form)
        return
    timed = found.get(form.time) is not None
    delay_ns = _delay_ns(path, line, found, form)
    yield Turn(
        line=line,
        values=found if timed else {**found, form.time: 0},
        timed=timed and delay_ns is None,
        has_time=timed,
        delay_ns=delay_ns or 0,
        session=found.get(form.session or SESSION),
        chat=found.get(CHAT),
        parent=found.get(PARENT),
        turn=found.get("turn"),
    )


def _sub_requests(path: Path, line: int, found: Values, form: TraceFormat) -> Iterator[Turn]:
    """LLMServingSim's session: a chain of calls with the time of a tool behind each."""
    calls = found[SUB_REQUESTS]
    if not isinstance(calls, list) or not calls or not all(isinstance(c, dict) for c in calls):
        raise TraceError(
            f"{path}:{line}: column {SUB_REQUESTS!r}: found {shown(calls)}; a list of objects, at "
            "least one, is needed"
        )
    tool_ns = 0
    for place, call in enumerate(calls):
        time = {form.time: found.get(form.time) if place == 0 else 0}
        yield Turn(
            line=line,
            values={**call, **time},
            timed=place == 0,
            has_time=place == 0,
            delay_ns=tool_ns,
            session=(SUB_REQUESTS, line),
        )
        tool_ns = _duration_ns(path, line, TOOL, call.get(TOOL) or 0, "ns")


def _delay_ns(path: Path, line: int, found: Values, form: TraceFormat) -> int | None:
    named = {form.delay: ""} if form.delay else DELAYS
    for key, unit in named.items():
        if found.get(key) is not None:
            name = form.session or SESSION
            if found.get(name) is None:
                raise TraceError(
                    f"{path}:{line}: column {key!r}: found without {name!r}, which says of what"
                )
            return _duration_ns(path, line, key, found[key], unit or form.time_unit)
    return None


def _duration_ns(path: Path, line: int, key: str, value: object, unit: str) -> int:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 <= float(str(value)) * _NS.get(unit, 1.0) < _LAST_NS:
        raise TraceError(
            f"{path}:{line}: column {key!r}: found {shown(value)}; a number of {unit}, at least 0, "
            "is needed"
        )
    return _ns(value, unit)


def _ns(value: object, unit: str) -> int:
    if unit == "ns":
        return int(float(str(value))) if isinstance(value, float) else int(str(value))
    return int(np.rint(float(str(value)) * _NS[unit]))


def _previous(path: Path, turns: list[Turn]) -> Integers:
    """[n] row of the turn that each follows, or FIRST."""
    chats = {turn.chat: row for row, turn in enumerate(turns) if turn.chat is not None}
    last: dict[object, int] = {}
    previous = []
    for row, turn in enumerate(turns):
        before = FIRST
        if turn.session is not None:
            before = last.get(turn.session, FIRST)
            last[turn.session] = row
        elif turn.parent is not None and turn.parent != NO_PARENT:
            before = chats.get(turn.parent, FIRST)
            if before == FIRST and whole(turn.turn) in (None, 1):
                raise TraceError(
                    f"{path}:{turn.line}: column {PARENT!r}: found {shown(turn.parent)}, which is "
                    f"the {CHAT!r} of no line"
                )  # a later turn may have been cut off from what was before the file
        if before == FIRST and (turn.delay_ns or not turn.has_time):
            raise TraceError(
                f"{path}:{turn.line}: the first turn of session {shown(turn.session)} needs an "
                "arrival time and no delay"
            )
        previous.append(before)
    return np.array(previous, np.int64)


def _first_of(path: Path, turns: list[Turn], previous: Integers) -> Integers:
    """[n] row of the first turn of each row's session; TraceError for turns that form a loop."""
    first = np.arange(len(turns))
    left = previous.copy()
    for _ in range(len(turns) + 1):
        going = left != FIRST
        if not going.any():
            return first
        first[going] = left[going]
        left[going] = previous[left[going]]
        if (left[going] == np.flatnonzero(going)).any():
            break
    row = int(np.flatnonzero(left != FIRST)[0])
    raise TraceError(
        f"{path}:{turns[row].line}: column {PARENT!r}: found {shown(turns[row].parent)}: these "
        "turns follow one another in a loop"
    )


def _ids(
    path: Path, turns: list[Turn], form: TraceFormat
) -> tuple[Integers | None, Integers | None]:
    """Block ids as they are, or numbered; or those of blocks of token ids. All rows or none."""
    if not form.hash_block_tokens:
        return None, None
    for name in (form.hash_ids, TOKEN_IDS):
        lists = [turn.values.get(name) for turn in turns]
        have = [isinstance(each, list) and bool(each) for each in lists]
        if not any(have):
            continue
        if not all(have):
            line = turns[have.index(not have[0])].line
            why = "is missing" if have[0] else "found ids"
            raise TraceError(
                f"{path}:{line}: column {name!r}: {why}; all lines or none must have it"
            )
        found = [each if isinstance(each, list) else [] for each in lists]
        offsets = np.cumsum([0, *map(len, found)])
        try:
            values = np.array([each for row in found for each in row], np.int64)
        except (OverflowError, ValueError):  # strings, or integers without a sign
            return number_ids(found)
        if name == form.hash_ids:
            return offsets, values
        return hash_tokens(offsets, values, form.hash_block_tokens)
    return None, None
