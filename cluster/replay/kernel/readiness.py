"""Starts and ends operations as soon as their times are known, also ahead of the clock.

Only the fabric needs a clock: every other time is a maximum and a sum of known times. Later events
depend on a leg that is still active, so they cannot precede it.
"""

from cluster.compiled import inlined
from cluster.replay.interface import LAST_PS
from cluster.replay.kernel.clock import schedule
from cluster.replay.kernel.state import COMING, ENDED, LATE, NEVER, NONE, THERE, State


@inlined
def start(state: State, o: int, row: int) -> None:
    """Start operation ``o``, which waits for no other any more; ``row`` is its row."""
    control, own = state.control[0], state.rows[row]
    there_ps = state.start_ps[o] + own["duration_ps"]
    if own["varies"] != NONE:
        there_ps += state.varying_ps[o // control["rows"], own["varies"]]
    if own["matched_call"] == NONE:
        end(state, o, row, there_ps)
        return
    m = o // control["rows"] * control["matched_calls"] + own["matched_call"]
    met = state.met[m]
    if met["finish_ps"] != NEVER:
        end(state, o, row, max(there_ps, met["finish_ps"]))
        return
    state.seen[o] = THERE
    state.end_ps[o] = there_ps
    if there_ps > LAST_PS:
        control["status"] = LATE
        return
    if own["passive"] == 0:
        met["missing"] -= 1
        met["begin_ps"] = max(met["begin_ps"], there_ps)
        if met["missing"] == 0:
            go_on(state, m, state.matched_calls[own["matched_call"]]["leg"], met["begin_ps"])


@inlined
def end(state: State, o: int, row: int, end_ps: int) -> None:
    """End an operation; what waited for nothing else can start."""
    control = state.control[0]
    state.end_ps[o] = end_ps
    state.seen[o] = ENDED
    control["done"] += 1
    if end_ps > control["end_ps"]:
        control["end_ps"] = end_ps
        if end_ps > LAST_PS:
            control["status"] = LATE
    for place in range(state.rows[row]["first"], state.rows[row + 1]["first"]):
        follower = state.followers[place]
        other = o + follower["further"]
        if other < control["operations"]:
            state.start_ps[other] = max(state.start_ps[other], end_ps)
            state.seen[other] += 1
            if state.seen[other] == state.rows[follower["row"]]["wanted"]:
                ready = state.ready[control["ready"]]
                ready["operation"] = other
                ready["row"] = follower["row"]
                control["ready"] += 1


@inlined
def go_on(state: State, m: int, leg: int, at_ps: int) -> None:
    """Begin ``leg`` of a matched call; legs that use nothing pass at once, the last one ends it."""
    control, legs = state.control[0], state.legs
    while leg != NONE and legs[leg]["first"] == legs[leg + 1]["first"]:
        at_ps += legs[leg]["latency_ps"] + legs[leg]["work_ps"]
        leg = legs[leg]["then"]
        if at_ps > LAST_PS:
            control["status"] = LATE
            return
    if leg == NONE:
        finish(state, m, at_ps)
        return
    s = state.matched_calls[m % control["matched_calls"]]["home"]
    slot = state.slots[s]
    slot["state"] = COMING
    slot["matched_call"] = m
    slot["leg"] = leg
    schedule(state, s, at_ps + legs[leg]["latency_ps"])


@inlined
def finish(state: State, m: int, at_ps: int) -> None:
    """End a matched call and all its members that are there."""
    control = state.control[0]
    state.met[m]["finish_ps"] = at_ps
    repeat = m // control["matched_calls"]
    matched_call = m - repeat * control["matched_calls"]
    first = repeat * control["rows"]
    for place in range(
        state.matched_calls[matched_call]["first"], state.matched_calls[matched_call + 1]["first"]
    ):
        row = state.members[place]
        o = first + row
        if state.seen[o] == THERE:
            end(state, o, row, max(state.end_ps[o], at_ps))
