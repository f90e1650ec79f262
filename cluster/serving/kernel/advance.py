"""The loop: finishes before arrivals before starts, until the log is full or all is done."""

from cluster.compiled import compiled, inlined
from cluster.machine.tables import Records
from cluster.serving.kernel.arrive import arrive, next_arrival_ps
from cluster.serving.kernel.clock import reschedule
from cluster.serving.kernel.schedule import schedule
from cluster.serving.kernel.state import (
    DONE,
    FINISH,
    FLIGHT,
    FOREVER,
    IDLE,
    LAST_PS,
    LATE,
    NONE,
    READY,
    RUNNING,
    STUCK,
    State,
)
from cluster.serving.kernel.step import cross, finish, measure


@compiled
def advance(state: State, log: Records) -> int:
    """Run on until every row of ``log`` holds a step or nothing is left; return the rows written.

    The control record says how things stand then: RUNNING, DONE, LATE (a step would end after
    LAST_PS) or STUCK (requests are left but nothing will ever happen: a fault of the rules).
    """
    control = state.control[0]
    rows = 0
    while control["status"] == RUNNING and rows < len(log):
        r = state.replicas[0]["heap"]
        replica = state.replicas[r]
        event_ps = replica["event_ps"]
        arrival_ps = next_arrival_ps(state)
        if arrival_ps == FOREVER and event_ps == FOREVER:
            control["status"] = DONE if control["done"] == control["requests"] else STUCK
        elif arrival_ps < event_ps or (arrival_ps == event_ps and replica["event"] != FINISH):
            control["now_ps"] = arrival_ps
            arrive(state)
        elif replica["event"] == FINISH:
            control["now_ps"] = event_ps
            finish_slot(state, r)
            reschedule(state, r)
        else:
            control["now_ps"] = event_ps
            rows += start(state, r, log[rows:])
            reschedule(state, r)
    return rows


@inlined
def finish_slot(state: State, r: int) -> None:
    """The first slot of the replica whose step ends now emits; whoever can go on is woken."""
    now_ps = state.control[0]["now_ps"]
    s = 0
    while state.slots[r, s]["state"] != FLIGHT or state.slots[r, s]["at_ps"] != now_ps:
        s += 1
    finish(state, r, s)
    slot = state.slots[r, s]
    if slot["members"] + slot["queued"] > 0:
        slot["state"] = READY
        slot["at_ps"] = now_ps + state.replicas[r]["return_ps"]
    else:
        slot["state"] = IDLE
    wake(state, r)


@inlined
def wake(state: State, r: int) -> None:
    """Every idle slot of the replica with members or queue is ready now."""
    for s in range(state.slots.shape[1]):
        slot = state.slots[r, s]
        if slot["state"] == IDLE and slot["members"] + slot["queued"] > 0:
            slot["state"] = READY
            slot["at_ps"] = state.control[0]["now_ps"]


@inlined
def start(state: State, r: int, log: Records) -> int:
    """Try the ready slots of a replica whose first stage is free; return how many steps started.

    A slot that can schedule nothing is idle until it is woken.
    """
    control = state.control[0]
    tries = (control["max_num_seqs"] + 2) * (state.slots.shape[1] + 1)
    while tries > 0:
        tries -= 1
        s = first_ready(state, r)
        if s == NONE:
            return 0
        slot = state.slots[r, s]
        schedule(state, r, s)
        if control["preempted"] > 0:
            wake(state, r)
        if control["budget"] < control["max_num_batched_tokens"]:
            launch(state, r, s, log)
            return 1
        slot["state"] = IDLE
    control["status"] = STUCK
    return 0


@inlined
def first_ready(state: State, r: int) -> int:
    """The ready slot with the smallest (ready time, number) that is not in the future, or NONE."""
    best = NONE
    best_ps = state.control[0]["now_ps"]
    for s in range(state.slots.shape[1]):
        slot = state.slots[r, s]
        if slot["state"] == READY and (
            slot["at_ps"] < best_ps or (best == NONE and slot["at_ps"] == best_ps)
        ):
            best = s
            best_ps = slot["at_ps"]
    return best


@inlined
def launch(state: State, r: int, s: int, log: Records) -> None:
    """Put the scheduled step on its way and write it into the first row of the log."""
    control, replica, slot, row = state.control[0], state.replicas[r], state.slots[r, s], log[0]
    measure(state, r, s, row)
    end_ps = cross(state, r, row)
    row["start_ps"] = control["now_ps"]
    row["end_ps"] = end_ps
    row["replica"] = r
    row["slot"] = s
    row["running"] = slot["members"]
    row["waiting"] = slot["queued"]
    row["used_blocks"] = replica["used_blocks"]
    slot["state"] = FLIGHT
    slot["at_ps"] = end_ps
    control["end_ps"] = max(control["end_ps"], end_ps)
    replica["barren"] = 0 if row["emitted"] > 0 else replica["barren"] + 1
    if end_ps > LAST_PS:
        control["status"] = LATE
    elif replica["barren"] > control["barren_limit"]:
        control["status"] = STUCK
