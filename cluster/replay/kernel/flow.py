"""Operations start and end as soon as their times are known; these may lie ahead of the clock.

Nothing but the fabric needs a clock: every other time is a maximum and a sum of times known
already. What begins later hangs on a leg that is still under way, so it cannot begin before it.
"""

from cluster.compiled import inlined
from cluster.replay.kernel.clock import schedule
from cluster.replay.kernel.state import COMING, ENDED, LATE, NEVER, NONE, THERE, State
from cluster.replay.problem import LAST_PS


@inlined
def start(state: State, o: int) -> None:
    """Start an operation that waits for no row any more."""
    operation = state.operations[o]
    there_ps = operation["start_ps"] + operation["duration_ps"]
    m = operation["meeting"]
    if m == NONE:
        end(state, o, there_ps)
        return
    meeting = state.meetings[m]
    if meeting["finish_ps"] != NEVER:
        end(state, o, max(there_ps, meeting["finish_ps"]))
        return
    operation["pending"] = THERE
    operation["end_ps"] = there_ps
    if there_ps > LAST_PS:
        state.control[0]["status"] = LATE
        return
    if operation["passive"] == 0:
        meeting["missing"] -= 1
        meeting["begin_ps"] = max(meeting["begin_ps"], there_ps)
        if meeting["missing"] == 0:
            go_on(state, m, meeting["leg"], meeting["begin_ps"])


@inlined
def end(state: State, o: int, end_ps: int) -> None:
    """End an operation; what waited for nothing else can start."""
    control, operations = state.control[0], state.operations
    operation = operations[o]
    operation["end_ps"] = end_ps
    operation["pending"] = ENDED
    control["done"] += 1
    if end_ps > control["end_ps"]:
        control["end_ps"] = end_ps
        if end_ps > LAST_PS:
            control["status"] = LATE
    for place in range(operation["first"], operations[o + 1]["first"]):
        successor = state.successors[place]
        other = operations[successor]
        other["start_ps"] = max(other["start_ps"], end_ps)
        other["pending"] -= 1
        if other["pending"] == 0:
            other["next"] = control["ready"]
            control["ready"] = successor


@inlined
def go_on(state: State, m: int, leg: int, at_ps: int) -> None:
    """Begin ``leg`` of a meeting; legs that use nothing pass at once, the last one ends it."""
    legs = state.legs
    while leg != NONE and legs[leg]["first"] == legs[leg + 1]["first"]:
        at_ps += legs[leg]["latency_ps"] + legs[leg]["work_ps"]
        leg = legs[leg]["then"]
        if at_ps > LAST_PS:
            state.control[0]["status"] = LATE
            return
    if leg == NONE:
        finish(state, m, at_ps)
        return
    s = state.meetings[m]["home"]
    slot = state.slots[s]
    slot["state"] = COMING
    slot["meeting"] = m
    slot["leg"] = leg
    schedule(state, s, at_ps + legs[leg]["latency_ps"])


@inlined
def finish(state: State, m: int, at_ps: int) -> None:
    """End a meeting and all its members that are there."""
    meeting = state.meetings[m]
    meeting["finish_ps"] = at_ps
    for place in range(meeting["first"], state.meetings[m + 1]["first"]):
        o = state.members[place]
        if state.operations[o]["pending"] == THERE:
            end(state, o, max(state.operations[o]["end_ps"], at_ps))
