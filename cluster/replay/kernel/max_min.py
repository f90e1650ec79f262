"""Max-min fair speeds of legs that contend."""

import math
from typing import Any

from cluster.compiled import inlined
from cluster.perf_model.collectives.transfers import FULL
from cluster.replay.interface import LAST_PS
from cluster.replay.kernel.clock import schedule
from cluster.replay.kernel.state import LATE, NONE, State


@inlined
def remaining_at(state: State, s: int, at_ps: int) -> float:
    """Work that the leg of a slot has left at a time at which its speed is still the same."""
    slot = state.slots[s]
    left: float = slot["remaining"] - slot["speed"] * (at_ps - slot["since_ps"])
    return max(0.0, left)


@inlined
def book(state: State, s: int, until_ps: int, left: float) -> None:
    """Book what the leg moved since its last change; ``left`` is its work at ``until_ps``."""
    control, slot, uses = state.control[0], state.slots[s], state.uses
    while until_ps > len(state.loads) * control["bin_ps"]:
        double(state)
    bin_ps, since_ps = control["bin_ps"], slot["since_ps"]
    leg = state.legs[slot["leg"]]
    work = float(leg["work_ps"])
    before = (work - slot["remaining"]) / work
    for b in range(since_ps // bin_ps, (until_ps - 1) // bin_ps + 1):
        edge_ps = (b + 1) * bin_ps
        rest = remaining_at(state, s, edge_ps) if edge_ps < until_ps else left
        after = (work - rest) / work
        for u in range(leg["first"], state.legs[slot["leg"] + 1]["first"]):
            use = uses[u]
            moved = int(use["bytes"] * after) - int(use["bytes"] * before)
            state.loads[b, use["resource"]] += moved
        before = after


@inlined
def double(state: State) -> None:
    """Join neighbouring bins, so that all of them together span twice the time."""
    loads, half = state.loads, len(state.loads) >> 1
    for b in range(half):
        for r in range(loads.shape[1]):
            loads[b, r] = loads[2 * b, r] + loads[2 * b + 1, r]
    for b in range(half, len(loads)):
        for r in range(loads.shape[1]):
            loads[b, r] = 0
    state.control[0]["bin_ps"] *= 2


@inlined
def settle(state: State) -> None:
    """Find new speeds wherever a leg has come to a tight resource, or gone from one."""
    control = state.control[0]
    control["serial"] += 1
    for place in range(control["dirty"]):
        resource = state.resources[state.dirty[place]]
        resource["is_dirty"] = 0
        e = resource["head"]
        while e != NONE:
            s = state.entries[e]["slot"]
            if state.slots[s]["mark"] != control["serial"]:
                gather(state, s)
                fill(state)
                change(state)
            e = state.entries[e]["after"]
    control["dirty"] = 0


@inlined
def gather(state: State, s: int) -> None:
    """Collect all that is joined to the leg of a slot by tight resources."""
    control = state.control[0]
    control["slots"] = control["resources"] = 0
    join(state, s)
    place = 0
    while place < control["slots"]:
        leg = state.slots[state.part_slots[place]]["leg"]
        for u in range(state.legs[leg]["first"], state.legs[leg + 1]["first"]):
            r = state.uses[u]["resource"]
            resource = state.resources[r]
            if resource["demand"] > FULL and resource["mark"] != control["serial"]:
                resource["mark"] = control["serial"]
                resource["stale"] = 1
                state.part_resources[control["resources"]] = r
                control["resources"] += 1
                e = resource["head"]
                while e != NONE:
                    join(state, state.entries[e]["slot"])
                    e = state.entries[e]["after"]
        place += 1


@inlined
def join(state: State, s: int) -> None:
    """Make the leg of a slot part of the component, once."""
    control, slot = state.control[0], state.slots[s]
    if slot["mark"] != control["serial"]:
        slot["mark"] = control["serial"]
        slot["fixed"] = 0
        state.part_slots[control["slots"]] = s
        control["slots"] += 1


@inlined
def fill(state: State) -> None:
    """Raise the level until every leg of the component is at its top or at a neck."""
    control = state.control[0]
    control["free"] = control["slots"]
    if control["resources"] == 0:
        fix(state, state.part_slots[0], 1.0)
    level = 0.0
    while control["free"] > 0:
        neck = NONE
        for place in range(control["resources"]):
            r = state.part_resources[place]
            resource = state.resources[r]
            if resource["stale"] == 1:
                measure(state, resource)
            if resource["free"] > 0 and (
                neck == NONE
                or resource["reach"] < state.resources[neck]["reach"]
                or (resource["reach"] == state.resources[neck]["reach"] and r < neck)
            ):
                neck = r
        level = max(level, state.resources[neck]["reach"])
        if not fix_tops(state, level):
            fix_neck(state, neck, level)


@inlined
def measure(state: State, resource: Any) -> None:
    """Up to which level the free legs on a resource can rise beside those that are fixed."""
    used = weight = 0.0
    free = 0
    e = resource["head"]
    while e != NONE:
        slot = state.slots[state.entries[e]["slot"]]
        use = state.uses[state.legs[slot["leg"]]["first"] + e - slot["entry"]]
        if slot["fixed"] == 1:
            used += use["share"] * slot["fresh"]
        else:
            weight += use["weight"]
            free += 1
        e = state.entries[e]["after"]
    resource["stale"] = 0
    resource["free"] = free
    if free > 0:
        resource["reach"] = (FULL - used) / weight


@inlined
def fix_tops(state: State, level: float) -> bool:
    """Give full speed to the free legs that need no more than the level; whether there were any."""
    found = False
    for place in range(state.control[0]["slots"]):
        s = state.part_slots[place]
        slot = state.slots[s]
        if slot["fixed"] == 0 and state.legs[slot["leg"]]["peak"] <= level:
            fix(state, s, 1.0)
            found = True
    return found


@inlined
def fix_neck(state: State, neck: int, level: float) -> None:
    """Hold the free legs of a resource at the level."""
    e = state.resources[neck]["head"]
    while e != NONE:
        s = state.entries[e]["slot"]
        slot = state.slots[s]
        if slot["fixed"] == 0:
            fix(state, s, min(1.0, level / state.legs[slot["leg"]]["peak"]))
        e = state.entries[e]["after"]


@inlined
def fix(state: State, s: int, speed: float) -> None:
    """Settle the speed of one leg; its tight resources must be measured anew."""
    control, slot = state.control[0], state.slots[s]
    slot["fresh"] = speed
    slot["fixed"] = 1
    control["free"] -= 1
    for u in range(state.legs[slot["leg"]]["first"], state.legs[slot["leg"] + 1]["first"]):
        resource = state.resources[state.uses[u]["resource"]]
        if resource["mark"] == control["serial"]:
            resource["stale"] = 1


@inlined
def change(state: State) -> None:
    """Let the legs of the component go on at their new speeds; equal ones are not touched."""
    control = state.control[0]
    now_ps = control["now_ps"]
    for place in range(control["slots"]):
        s = state.part_slots[place]
        slot = state.slots[s]
        if slot["fresh"] == slot["speed"]:
            continue
        left = remaining_at(state, s, now_ps)
        if slot["since_ps"] < now_ps:
            book(state, s, now_ps, left)
        slot["remaining"] = left
        slot["since_ps"] = now_ps
        slot["speed"] = slot["fresh"]
        lasts = left / slot["speed"]
        if lasts > LAST_PS - now_ps:
            control["status"] = LATE
            return
        schedule(state, s, now_ps + max(1, math.ceil(lasts)))
