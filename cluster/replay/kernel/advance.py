"""The loop: all consequences of known times, then the next time at which legs enter or leave."""

from cluster.compiled import compiled
from cluster.replay.interface import LAST_PS
from cluster.replay.kernel.clock import take_first
from cluster.replay.kernel.fabric import enter, leave
from cluster.replay.kernel.max_min import settle
from cluster.replay.kernel.readiness import start
from cluster.replay.kernel.state import COMING, DONE, LATE, RUNNING, STUCK, State


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
