"""The loop: all that follows from what is known, then the next time at which legs come or go.

Operations are started and ended as soon as their times are known, also ahead of the clock: nothing
but the fabric needs one, for every other time is a maximum and a sum of times known already. What
begins later hangs on a leg that is still under way, so it cannot begin before it.
"""

from cluster.compiled import compiled, inlined
from cluster.perf_model.collectives.transfers import FULL
from cluster.replay.interface import LAST_PS
from cluster.replay.kernel.clock import schedule, take_first
from cluster.replay.kernel.max_min import book, settle
from cluster.replay.kernel.state import (
    ACTIVE,
    COMING,
    DONE,
    ENDED,
    LATE,
    NONE,
    RUNNING,
    STUCK,
    THERE,
    State,
)
from corsair_common.units import NEVER


@compiled
def advance(state: State, events: int) -> int:
    """Run on for at most so many starts, entries, leaves and settlements; return those left.

    The control record then has the status: RUNNING, DONE, LATE (something would end after
    LAST_PS) or STUCK (operations are left, but they wait for each other).
    """
    control = state.control[0]
    while control["status"] == RUNNING and events > 0:
        events -= 1
        if control["ready"] > 0:
            control["ready"] -= 1
            ready = state.ready[control["ready"]]
            start(state, ready["operation"], ready["row"])
            continue
        next_ps = control["now_ps"]
        if control["queued"] > 0:
            next_ps = state.slots[state.slots[0]["heap"]]["event_ps"]
        if control["queued"] > 0 and next_ps == control["now_ps"]:
            s = take_first(state)
            if state.slots[s]["state"] == COMING:
                enter(state, s)
            else:
                leave(state, s)
        elif control["dirty"] > 0:
            settle(state)
        elif control["queued"] > 0:
            control["now_ps"] = next_ps
            if next_ps > LAST_PS:
                control["status"] = LATE
        else:
            control["status"] = DONE if control["done"] == control["operations"] else STUCK
    return events


@inlined
def enter(state: State, s: int) -> None:
    """Make the leg of a slot active, at full speed until it turns out that it cannot have it."""
    control, slot = state.control[0], state.slots[s]
    leg = state.legs[slot["leg"]]
    slot["state"] = ACTIVE
    slot["since_ps"] = control["now_ps"]
    slot["remaining"] = float(leg["work_ps"])
    slot["speed"] = 1.0
    schedule(state, s, control["now_ps"] + leg["work_ps"])
    if control["contended"] == 0:
        return
    e = slot["entry"]
    for u in range(leg["first"], state.legs[slot["leg"] + 1]["first"]):
        use = state.uses[u]
        put_in(state, e, use["resource"])
        resource = state.resources[use["resource"]]
        resource["demand"] += use["share"]
        if resource["demand"] > FULL:
            soil(state, use["resource"])
        e += 1


@inlined
def leave(state: State, s: int) -> None:
    """Take the leg of a slot out of the fabric and begin what follows."""
    take_away(state, s)
    slot = state.slots[s]
    then = state.legs[slot["leg"]]["then"]
    go_on(state, slot["matched_call"], then, state.control[0]["now_ps"])


@inlined
def take_away(state: State, s: int) -> None:
    """Take the leg of a slot out of the fabric."""
    control, slot = state.control[0], state.slots[s]
    book(state, s, control["now_ps"], 0.0)
    leg = state.legs[slot["leg"]]
    if control["contended"] == 1:
        e = slot["entry"]
        for u in range(leg["first"], state.legs[slot["leg"] + 1]["first"]):
            use = state.uses[u]
            resource = state.resources[use["resource"]]
            if resource["demand"] > FULL:
                soil(state, use["resource"])
            resource["demand"] -= use["share"]
            take_out(state, e, use["resource"])
            e += 1


@inlined
def soil(state: State, r: int) -> None:
    """Remember that speeds on a resource must be found anew."""
    control, resource = state.control[0], state.resources[r]
    if resource["is_dirty"] == 0:
        resource["is_dirty"] = 1
        state.dirty[control["dirty"]] = r
        control["dirty"] += 1


@inlined
def put_in(state: State, e: int, r: int) -> None:
    """Put an entry into the list of a resource, in the order of slots."""
    entries, resource = state.entries, state.resources[r]
    before, after = NONE, resource["head"]
    while after != NONE and entries[after]["slot"] < entries[e]["slot"]:
        before, after = after, entries[after]["after"]
    entries[e]["before"], entries[e]["after"] = before, after
    if before == NONE:
        resource["head"] = e
    else:
        entries[before]["after"] = e
    if after != NONE:
        entries[after]["before"] = e


@inlined
def take_out(state: State, e: int, r: int) -> None:
    """Take an entry out of the list of a resource."""
    before, after = state.entries[e]["before"], state.entries[e]["after"]
    if before == NONE:
        state.resources[r]["head"] = after
    else:
        state.entries[before]["after"] = after
    if after != NONE:
        state.entries[after]["before"] = before


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
