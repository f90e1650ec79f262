"""Repeats cycles: as long as nothing but time changes, the steps of all slots recur.

In a cycle every slot that decodes has one step. A slot's period is the time from when its step
could start to when the next one can; periods of slots may differ. A step reaches a stage before or
after the one in front of it (of the slot before in the cycle) has left it. If both have the same
period this recurs; if not, it does until the stage is no longer free in time. So the cycle recurs,
each step later by a multiple of its slot's period, until that happens, or a block fills, a token is
a request's last, or a request arrives. The log has one row for each step of the cycle, with the
number of repetitions.
"""

from typing import Any

from cluster.compiled import called, inlined
from cluster.perf_model.attention import BLOCK_TOKENS
from cluster.perf_model.tables import Records
from cluster.serving.histogram import bin_of
from cluster.serving.kernel.arrive import next_arrival_ps
from cluster.serving.kernel.state import LAST_PS, NONE, State
from corsair_common.units import Integers

MOST_RUNNING = BLOCK_TOKENS // 2
"""Of more requests one fills a block every second cycle or more often: to look for repetitions does
not pay."""


@inlined
def forget_cycles(state: State) -> None:
    """Drop what was seen of cycles, whose rows are in another log."""
    for r in range(len(state.replicas)):
        for s in range(state.slots.shape[1]):
            state.slots[r, s]["marked"] = 0


@inlined
def repeats(state: State, r: int) -> bool:
    """Whether a cycle of replica ``r`` may end with the step just launched."""
    replica = state.replicas[r]
    if state.control[0]["repeating"] == 0 or replica["queued"] + replica["partial"] > 0:
        return False
    return bool(
        replica["running"] <= MOST_RUNNING
        and replica["stalled"] == 0
        and replica["short_for"] == NONE
        and replica["loading"] == NONE
    )


@called
def recur(state: State, r: int, log: Records, columns: Integers, rows: int) -> int:
    """After a step, the last of ``rows``: apply repetitions of the cycle; return their rows.

    The steps since the same slot's one before are a cycle if there is one of each slot that
    decodes. The first of them is behind that one in the stages, its repetition behind the present
    one: both must be alike, a period apart. A slot that decodes alone is behind itself.
    """
    s = state.replicas[r]["last_slot"]
    slot = state.slots[r, s]
    marked = slot["marked"] != 0
    slot["marked"] = 1
    if not (mark(state, r, s, period_ps(state, r, s)) and marked) and slot["before"] != s:
        return 0
    steps, cycles = repetitions(state, r, s, log)
    if cycles <= 0 or rows + steps > len(log):
        return 0
    write(state, r, s, log, columns, (rows, steps, cycles))
    shift(state, r, s, steps, cycles)
    return int(steps)


@inlined
def period_ps(state: State, r: int, s: int) -> int:
    """From when the last step of a slot could start to when the next one can."""
    return int(
        state.ends_ps[r, s, 0] + state.replicas[r]["return_ps"] - state.slots[r, s]["ready_ps"]
    )


@inlined
def mark(state: State, r: int, s: int, after_ps: int) -> bool:
    """Record when a slot's step leaves the stages; whether that is ``after_ps`` after the one
    recorded before."""
    same = True
    for k in range(state.stages.shape[1]):
        free_ps = state.stages[r, k]["free_ps"]
        if free_ps - state.marks[r, s, k] != after_ps:
            same = False
        state.marks[r, s, k] = free_ps
    return same


@inlined
def repetitions(state: State, r: int, last: int, log: Records) -> tuple[int, int]:
    """Steps of the cycle that ends with that of slot ``last``, and how often it recurs.

    Backwards, from each slot to the one in front of it.
    """
    replica, members, steps, s = state.replicas[r], 0, 0, last
    own_ps = period_ps(state, r, last)
    start_ps = log[state.rows[r, last]]["start_ps"]
    until_ps = min(state.control[0]["until_ps"], LAST_PS)
    most = (min(next_arrival_ps(state), until_ps) - 1 - start_ps) // own_ps
    while most > 0 and steps < state.slots.shape[1]:
        slot, row = state.slots[r, s], log[state.rows[r, s]]
        if not decodes(row, replica["used"], state.control[0]["sram_units"], slot):
            return 0, 0
        before_ps = period_ps(state, r, slot["before"])
        if own_ps != before_ps and slot["slack_ps"] < 0:
            return 0, 0
        if own_ps < before_ps:
            most = min(most, slot["slack_ps"] // (before_ps - own_ps))
        most = min(most, (LAST_PS - state.ends_ps[r, s, 0]) // own_ps)
        for place in range(slot["members"]):
            most = min(most, unchanged(state.members[r, s, place]))
        members += slot["members"]
        steps += 1
        s, own_ps = slot["before"], before_ps
        if s == last:
            return steps, int(most) if members == replica["running"] else 0
    return 0, 0


@inlined
def decodes(row: Any, used: int, sram_units: int, slot: Any) -> bool:
    """Whether the last step of a slot was of one token of each member, at the price of the next.

    Blocks in use do not price a step while all of them are in the near memory.
    """
    return bool(
        slot["even"] == 1
        and row["prefill_tokens"] == 0
        and row["finished"] == 0
        and row["tokens"] == slot["members"]
        and (row["used_blocks"] == used or max(row["used_blocks"], used) <= sram_units)
    )


@inlined
def unchanged(member: Any) -> int:
    """Further tokens of a decode, after the one computed last, that fill no block and are not its
    last."""
    computed = member["computed"]
    return int(
        min(member["goal"] - computed - 2, member["review"] - computed, -computed % BLOCK_TOKENS)
    )


@inlined
def write(state: State, r: int, s: int, log: Records, columns: Integers, cycle: Any) -> None:
    """Write the cycle's rows once more, with the number of their repetitions; ``s`` is the last."""
    rows, steps, cycles = cycle
    control = state.control[0]
    for i in range(steps):
        place, own_ps, source = rows + steps - 1 - i, period_ps(state, r, s), state.rows[r, s]
        for column in range(columns.shape[1]):
            columns[place, column] = columns[source, column]
        row = log[place]
        row["used_blocks"], row["waiting"] = state.replicas[r]["used"], 0
        later_ps = state.ends_ps[r, s, 0] + own_ps - row["end_ps"]
        row["start_ps"] += later_ps
        row["end_ps"] += later_ps
        row["more"] = cycles - 1
        row["period_ps"], row["followers"] = (own_ps, i) if cycles > 1 else (0, 0)
        state.rows[r, s] = place
        control["tokens"] += cycles * row["tokens"]
        control["end_ps"] = max(control["end_ps"], row["end_ps"] + (cycles - 1) * own_ps)
        state.itl_count[bin_of(own_ps)] += cycles * row["tokens"]
        s = state.slots[r, s]["before"]


@inlined
def shift(state: State, r: int, s: int, steps: int, cycles: int) -> None:
    """Advance the replica by whole cycles, of which the step of slot ``s`` is the last."""
    state.replicas[r]["steps"] += cycles * steps
    for k in range(state.stages.shape[1]):
        state.stages[r, k]["free_ps"] += cycles * period_ps(state, r, s)
    for _ in range(steps):
        slot, later_ps = state.slots[r, s], cycles * period_ps(state, r, s)
        slot["slack_ps"] += later_ps - cycles * period_ps(state, r, slot["before"])
        for k in range(state.stages.shape[1]):
            state.marks[r, s, k] += later_ps
        slot["at_ps"] += later_ps
        slot["ready_ps"] += later_ps
        slot["finished_ps"] += later_ps
        state.ends_ps[r, s, 0] += later_ps
        state.steps[r, s, 0] += cycles * steps
        slot["lag"] += cycles
        for place in range(slot["members"]):
            state.members[r, s, place]["computed"] += cycles
        s = slot["before"]
