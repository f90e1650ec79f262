"""Bytes that legs move, by resource and time bin."""

from cluster.compiled import inlined
from cluster.replay.kernel.state import State


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
