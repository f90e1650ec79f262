"""Sessions: turns that wait for the answer before, with its history as their prefix."""

from dataclasses import replace
from itertools import pairwise

import numpy as np

from corsair_common.units import Integers
from workloads.prefix import block_keys
from workloads.readers.trace_format import Rows, take
from workloads.requests import FIRST, Requests


def turns_of(previous: Integers) -> Integers:
    """[n] place of each request in its session, from 0; ``previous`` is of earlier rows."""
    turn = np.zeros(len(previous), np.int64)
    left = previous.copy()
    while (going := left != FIRST).any():  # one round for each turn of the longest session
        turn[going] += 1
        left[going] = previous[left[going]]
    return turn


def sequence_keys(requests: Requests, block_size: int) -> tuple[Integers, Integers, int]:
    """Return keys of full KV blocks as ``prefix.block_keys`` does, of prompts and of answers.

    Beyond the prompt a request has keys as far as a later turn's prompt repeats its answer: with
    block ids those of the first later turn that begins with its prompt. Without ids a turn is
    taken to repeat the whole sequence before it if its prompt is at least as long; else the prompt
    before it if that is no longer than its own; else nothing.
    """
    if requests.previous is None:
        return block_keys(requests, block_size)
    if requests.hash_ids is None:
        return _keys_of_histories(requests, block_size)
    offsets, keys, key_count = block_keys(requests, block_size)
    starts = offsets.tolist()
    ends = ((requests.prompt_tokens + requests.output_tokens - 1) // block_size).tolist()
    whole = (_whole_tokens(requests) // block_size).tolist()
    found = [keys[one:other] for one, other in pairwise(starts)]
    rows = list(found)
    for turn in range(len(requests) - 1, -1, -1):  # the first later turn is the last that writes
        before = int(requests.previous[turn])
        if before == FIRST:
            continue
        own, mine = found[before][: whole[before]], rows[turn][: len(found[turn])]
        if len(mine) > len(own) and np.array_equal(mine[: len(own)], own):
            rows[before] = np.concatenate([own, mine[len(own) : ends[before]]])
            if len(rows[before]) < len(found[before]):
                rows[before] = found[before]
    counts = np.array([len(row) for row in rows], np.int64)
    return np.concatenate([[0], np.cumsum(counts)]), np.concatenate(rows), key_count


def _whole_tokens(requests: Requests) -> Integers:
    """Prompt tokens in full blocks of ids: the id of a partial one is another in the next turn."""
    size = requests.hash_block_tokens
    return requests.prompt_tokens // size * size


def _keys_of_histories(requests: Requests, block_size: int) -> tuple[Integers, Integers, int]:
    """Keys of every sequence in a session of more than one turn, from where it is new."""
    previous = np.asarray(requests.previous)
    total = requests.prompt_tokens + requests.output_tokens
    full = (total - 1) // block_size
    in_session = previous != FIRST
    in_session[previous[in_session]] = True
    common = np.arange(requests.common_tokens // block_size)
    in_session |= len(common) > 0
    shared = _repeated_tokens(requests) // block_size
    alike = np.minimum(requests.prompt_tokens, requests.common_tokens) // block_size
    rows: list[Integers] = []
    used = len(common)
    for turn, before in enumerate(previous.tolist()):
        if not in_session[turn]:
            rows.append(np.empty(0, np.int64))
            continue
        old = rows[before][: shared[turn]] if before != FIRST else common
        if len(old) < alike[turn] or before == FIRST:
            old = common[: alike[turn]]
        new = np.arange(used, used + max(0, int(full[turn]) - len(old)))
        used += len(new)
        rows.append(np.concatenate([old, new])[: full[turn]])
    counts = np.array([len(row) for row in rows], np.int64)
    return np.concatenate([[0], np.cumsum(counts)]), np.concatenate(rows), used


def _repeated_tokens(requests: Requests) -> Integers:
    """[n] leading tokens of a prompt that are those of the turn before."""
    previous = np.asarray(requests.previous)
    prompt, total = requests.prompt_tokens, requests.prompt_tokens + requests.output_tokens
    both = np.where(prompt >= total[previous], total[previous], prompt[previous])
    return np.where((previous == FIRST) | (both > prompt), 0, both)


def ordered(
    times: Integers, previous: Integers, recorded: Integers, delay: Integers
) -> tuple[Integers, Integers]:
    """Earliest arrivals of turns, and the order of rows by them.

    A turn arrives at its own time if that is recorded, and never before the turn ahead of it and
    the delay. Returns ([n] arrivals, [n] rows in order of arrival: no turn before the one that it
    follows).
    """
    turn = turns_of(previous)
    earliest = times.copy()
    for depth in range(1, int(turn.max(initial=0)) + 1):
        rows = np.flatnonzero(turn == depth)
        bound = earliest[previous[rows]] + delay[rows]
        earliest[rows] = np.where(recorded[rows] != 0, np.maximum(earliest[rows], bound), bound)
    return earliest, np.lexsort((turn, earliest))


def with_histories(rows: Rows) -> Rows:
    """Rows whose later prompts are what a turn adds, with the whole prompts instead.

    Block ids, which are those of what is added, are left out: histories are shared without.
    """
    previous = np.asarray(rows.previous)
    turn, prompt = turns_of(previous), rows.prompt_tokens.copy()
    for depth in range(1, int(turn.max(initial=0)) + 1):
        row = np.flatnonzero(turn == depth)
        prompt[row] += prompt[previous[row]] + rows.output_tokens[previous[row]]
    return replace(
        rows, prompt_tokens=prompt, hash_offsets=None, hash_ids=None, hash_block_tokens=0
    )


def in_turn(rows: Rows) -> Rows:
    """The rows of a file in the order of their earliest arrivals, which are their ticks."""
    if rows.previous is None or rows.recorded is None or rows.delay is None:
        return rows
    ticks, order = ordered(rows.ticks, rows.previous, rows.recorded, rows.delay)
    return take(replace(rows, ticks=ticks), order)


def turns_at(
    rows: Rows, arrival_ps: Integers, ps_per_tick: int
) -> tuple[Rows, Integers, dict[str, Integers]]:
    """Rows, arrivals and columns of sessions, in order again: a rate scales no delay.

    The columns are empty if no row follows another. Sessions are numbered by their first turns.
    """
    if rows.previous is None or rows.recorded is None or rows.delay is None:
        return rows, arrival_ps, {}
    if (rows.previous == FIRST).all():
        return rows, arrival_ps, {}
    earliest, order = ordered(arrival_ps, rows.previous, rows.recorded, rows.delay * ps_per_tick)
    rows = take(rows, order)
    names, first, inverse = np.unique(
        np.asarray(rows.session), return_index=True, return_inverse=True
    )
    rank = np.empty(len(names), np.int64)
    rank[np.argsort(first)] = np.arange(len(names))
    columns = {
        "session": rank[inverse],
        "previous": np.asarray(rows.previous),
        "delay_ps": np.asarray(rows.delay) * ps_per_tick,
    }
    return rows, earliest[order], columns
