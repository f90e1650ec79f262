"""Entry and exit of legs."""

from cluster.compiled import inlined
from cluster.perf_model.collectives.transfers import FULL
from cluster.replay.kernel.clock import schedule
from cluster.replay.kernel.link_bytes import book
from cluster.replay.kernel.readiness import go_on
from cluster.replay.kernel.state import ACTIVE, NONE, State


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
    go_on(state, slot["matched_call"], leg["then"], control["now_ps"])


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
