"""Repeats cycles: as long as nothing but time changes, the steps of all slots recur.

At the start of a step of the anchor slot, the state of its replica relative to now determines all
that follows, given the prices. If it equals the state at the anchor's previous start, and no price
changes, the cycle in between recurs until a block fills, a token is a request's last, or a request
arrives. The log has one row for each step of the cycle, with the number of repetitions.
"""

from typing import Any

from cluster.compiled import called, inlined
from cluster.perf_model.attention import BLOCK_TOKENS
from cluster.perf_model.tables import Records
from cluster.serving.histogram import bin_of
from cluster.serving.kernel.arrive import next_arrival_ps
from cluster.serving.kernel.state import LAST_PS, NONE, State
from corsair_common.units import Integers


@inlined
def forget_cycles(state: State) -> None:
    """Drop what was seen of cycles, whose rows are in another log."""
    for r in range(len(state.replicas)):
        state.replicas[r]["anchor"] = NONE


@inlined
def repeats(state: State, r: int) -> bool:
    """Whether a step of replica ``r`` is the anchor's next one, with nothing to read."""
    control, replica = state.control[0], state.replicas[r]
    if control["repeating"] == 0 or replica["queued"] + replica["partial"] > 0:
        return False
    s, anchor = replica["event_slot"], replica["anchor"]
    if s != anchor:
        if anchor == NONE or state.slots[r, anchor]["members"] == 0:
            replica["anchor"], replica["anchor_ps"] = s, control["now_ps"]
            replica["anchor_steps"] = replica["steps"]
            state.marks[r, s, 0] = NONE  # no state is recorded yet
        return False
    return bool(replica["steps"] > replica["anchor_steps"] and replica["stalled"] == 0)


@called
def recur(state: State, r: int, log: Records, columns: Integers, rows: int) -> int:
    """At the anchor's next start: compare with the last one, apply repetitions, and mark it."""
    now_ps, replica = state.control[0]["now_ps"], state.replicas[r]
    since_ps, steps = replica["anchor_ps"], replica["steps"] - replica["anchor_steps"]
    replica["anchor_ps"], replica["anchor_steps"] = now_ps, replica["steps"]
    if not mark(state, r) or replica["short_for"] != NONE or rows + steps > len(log):
        return 0
    cycles = repetitions(state, r, log, (rows, steps, since_ps))
    if cycles == 0:
        return 0
    period_ps = now_ps - since_ps
    write(state, r, log, columns, (rows, steps, cycles, period_ps))
    shift(state, r, steps, cycles, period_ps)
    return int(steps)


@inlined
def mark(state: State, r: int) -> bool:
    """Record the state of a replica relative to now; whether it is as recorded before.

    A stage that is free already cannot delay a step.
    """
    now_ps, same = state.control[0]["now_ps"], True
    for s in range(state.slots.shape[1]):
        slot, seen = state.slots[r, s], state.marks[r, s]
        at_ps, finished_ps = slot["at_ps"] - now_ps, slot["finished_ps"] - now_ps
        if slot["members"] == 0:
            at_ps = finished_ps = 0
        free_ps = max(0, state.stages[r, s]["free_ps"] - now_ps)
        if seen[0] != slot["state"] or seen[1] != at_ps or seen[2] != finished_ps:
            same = False
        if seen[3] != free_ps:
            same = False
        seen[0], seen[1], seen[2], seen[3] = slot["state"], at_ps, finished_ps, free_ps
    return same


@inlined
def repetitions(state: State, r: int, log: Records, cycle: Any) -> int:
    """How often the cycle recurs: ``steps`` steps since ``since_ps``, one for each slot that
    decodes."""
    rows, steps, since_ps = cycle
    replica, now_ps = state.replicas[r], state.control[0]["now_ps"]
    period_ps = now_ps - since_ps
    if period_ps <= 0:
        return 0
    most = (min(next_arrival_ps(state), LAST_PS) - now_ps) // period_ps
    slots = 0
    for s in range(state.slots.shape[1]):
        slot = state.slots[r, s]
        if slot["members"] == 0:
            continue
        slots += 1
        row = state.rows[r, s]
        if row >= rows or not recurs(log[row], replica, slot, (r, s, since_ps)):
            return 0
        for place in range(slot["members"]):
            most = min(most, unchanged(state.members[r, s, place], slot))
        if most <= 0:
            return 0
        most = min(most, (LAST_PS - log[row]["end_ps"]) // period_ps)
    return int(max(0, most)) if slots == steps else 0


@inlined
def recurs(row: Any, replica: Any, slot: Any, place: Any) -> bool:
    """Whether a row is the last step of the slot, and its price is that of the next one."""
    r, s, since_ps = place
    return bool(
        row["replica"] == r
        and row["slot"] == s
        and row["start_ps"] >= since_ps
        and row["prefill_tokens"] == 0
        and row["finished"] == 0
        and row["waiting"] == 0
        and row["tokens"] == slot["members"]
        and row["used_blocks"] == replica["used"]
    )


@inlined
def unchanged(member: Any, slot: Any) -> int:
    """Further tokens of a decode that fill no block, are not its last, and are counted alike."""
    if member["known"] == member["prompt"] or member["emitted_ps"] != slot["finished_ps"]:
        return 0
    computed = member["computed"]
    until_last = member["goal"] - member["known"] - 1 - slot["flights"]
    return int(min(until_last, member["review"] - computed, -computed % BLOCK_TOKENS))


@inlined
def write(state: State, r: int, log: Records, columns: Integers, cycle: Any) -> None:
    """Write the cycle's rows once more, with the number of their repetitions."""
    rows, steps, cycles, period_ps = cycle
    control, tokens, copied = state.control[0], 0, NONE
    for i in range(steps):
        source = rows  # the next row of the cycle, in the order of starts
        for s in range(state.slots.shape[1]):
            if state.slots[r, s]["members"] > 0 and copied < state.rows[r, s] < source:
                source = state.rows[r, s]
        copied = source
        for column in range(columns.shape[1]):
            columns[rows + i, column] = columns[source, column]
        row = log[rows + i]
        row["start_ps"] += period_ps
        row["end_ps"] += period_ps
        if cycles > 1:
            row["more"], row["period_ps"] = cycles - 1, period_ps
            row["followers"] = steps - 1 - i
        tokens += row["tokens"]
        control["end_ps"] = max(control["end_ps"], row["end_ps"] + (cycles - 1) * period_ps)
    control["tokens"] += cycles * tokens
    state.itl_count[bin_of(period_ps)] += cycles * tokens


@inlined
def shift(state: State, r: int, steps: int, cycles: int, period_ps: int) -> None:
    """Advance the replica by whole cycles."""
    replica, later_ps = state.replicas[r], cycles * period_ps
    replica["steps"] += cycles * steps
    replica["anchor_steps"] = replica["steps"]
    replica["anchor_ps"] += later_ps
    for s in range(state.slots.shape[1]):
        state.stages[r, s]["free_ps"] += later_ps
        slot = state.slots[r, s]
        if slot["members"] == 0:
            continue
        slot["at_ps"] += later_ps
        slot["finished_ps"] += later_ps
        state.ends_ps[r, s, 0] += later_ps
        state.steps[r, s, 0] += cycles * steps
        for place in range(slot["members"]):
            member = state.members[r, s, place]
            member["computed"] += cycles
            member["known"] += cycles
            member["emitted_ps"] += later_ps
