"""The event loop: finishes before arrivals before starts, until the log is full or all is done."""

from typing import Any

from cluster.compiled import called, compiled, inlined
from cluster.perf_model.tables import Records
from cluster.scenario import routers
from cluster.serving.kernel.arrive import arrive, next_arrival_ps, take_snapshot, wake
from cluster.serving.kernel.block_tiers import take_loaded
from cluster.serving.kernel.clock import reschedule
from cluster.serving.kernel.measure import measure
from cluster.serving.kernel.queues import queue_by_age
from cluster.serving.kernel.repeat import forget_cycles, recur, repeats
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
from cluster.serving.kernel.step import cross, finish, finish_verified
from corsair_common.units import Integers

needs_snapshots = inlined(routers.needs_snapshots)


@compiled
def advance(state: State, log: Records, columns: Integers) -> int:
    """Run until ``log`` or the buffer of phases is full, or no event is left.

    ``columns`` is the same log as integers (``as_integers``). Returns the rows written.

    The control record then has the status: RUNNING, DONE, LATE (a step would end after LAST_PS) or
    STUCK (a deadlock: requests are left without an event).
    """
    control = state.control[0]
    forget_cycles(state)
    rows = run_until(state, log, columns, 0, FOREVER)
    if control["status"] == RUNNING and next_event_ps(state) == FOREVER:
        control["status"] = DONE if control["done"] == control["requests"] else STUCK
    return rows


@inlined
def next_event_ps(state: State) -> int:
    """When something happens next, or FOREVER."""
    event_ps: int = state.replicas[state.replicas[0]["heap"]]["event_ps"]
    return min(event_ps, next_arrival_ps(state))


@inlined
def run_until(state: State, log: Records, columns: Integers, rows: int, until_ps: int) -> int:
    """Go on behind ``rows`` rows of ``log`` to all that is before the starts at ``until_ps``.

    It ends sooner if the log or the buffer of phases is full, or something has happened that
    concerns another pool. Returns the rows written so far.
    """
    control = state.control[0]
    control["until_ps"] = until_ps
    margin = 4 * control["max_num_seqs"]  # phases of one step, at most
    while (
        control["status"] == RUNNING
        and rows < len(log)
        and control["phases"] + margin <= len(state.phases)
    ):
        r = state.replicas[0]["heap"]
        replica = state.replicas[r]
        event_ps = replica["event_ps"]
        arrival_ps = next_arrival_ps(state)
        first_ps = min(event_ps, arrival_ps)
        arrives = arrival_ps < event_ps or (arrival_ps == event_ps and replica["event"] != FINISH)
        starts = not arrives and replica["event"] != FINISH
        if first_ps == FOREVER or first_ps + starts > control["until_ps"]:
            return rows
        if needs_snapshots(control["router"]) and first_ps >= control["snapshot_ps"]:
            take_snapshot(state, first_ps)
        control["now_ps"] = first_ps
        if arrives:
            arrive(state)
        elif not starts:
            if replica["event_slot"] == NONE:
                end_load(state, r)
            else:
                finish_slot(state, r)
            if replica["pending"] > 0:  # blocks may have become free for their KV
                replica["freed"] = 1
                control["until_ps"] = first_ps
            reschedule(state, r)
        else:
            if start(state, r, rows, log[rows], columns[rows]):
                rows += 1
                if repeats(state, r):
                    rows += recur(state, r, log, columns, rows)
            reschedule(state, r)
    return rows


@called
def run_pool_until(state: State, log: Records, columns: Integers, rows: int, until_ps: int) -> int:
    """``run_until``, compiled once as a call, for the two pools of a run."""
    return run_until(state, log, columns, rows, until_ps)


@called
def end_load(state: State, r: int) -> None:
    """The blocks of a request are loaded: it is queued by age, with reserved blocks."""
    queue_by_age(state, r, take_loaded(state, r))
    state.replicas[r]["holding"] += 1
    wake(state, r)


@inlined
def finish_slot(state: State, r: int) -> None:
    """Emit the tokens of the step that ends now; wake the slots that can continue."""
    control, replica = state.control[0], state.replicas[r]
    s = replica["event_slot"]
    slot = state.slots[r, s]
    oldest = oldest_flight(control, slot)
    end_ps = state.ends_ps[r, s, oldest]
    slot["flights"] -= 1
    if control["drafts"] > 0:
        finish_verified(state, r, s, end_ps, state.steps[r, s, oldest])
    else:
        finish(state, r, s, end_ps, 1 + oldest, state.steps[r, s, oldest])
    slot["state"] = IDLE
    if control["asynchronous"] or waits_for_return(state, r, s, end_ps):
        slot["state"] = READY
        slot["at_ps"] = max(control["now_ps"], end_ps + replica["return_ps"], slot["drafted_ps"])
    if replica["queued"] + replica["partial"] + replica["stalled"] > 0:
        wake(state, r)


@inlined
def oldest_flight(control: Any, slot: Any) -> int:
    """Index of the oldest batch in flight, of two."""
    return int((slot["turn"] ^ slot["flights"]) & control["asynchronous"])


@inlined
def waits_for_return(state: State, r: int, s: int, end_ps: int) -> bool:
    """Whether the next step of slot ``s`` waits for the return of its tokens.

    With one stage it does if there is any work; with several only a slot with decodes does.
    """
    replica = state.replicas[r]
    if state.slots[r, s]["members"] > 0:
        return True
    if state.slots.shape[1] > 1:
        return False
    if replica["partial"] > 0:
        return True
    return bool(replica["queued"] > 0 and state.requests[replica["head"]]["arrival_ps"] < end_ps)


@inlined
def start(state: State, r: int, number: int, row: Any, columns: Any) -> bool:
    """Try the ready slots of a replica until one starts a step; whether one has.

    A slot that can schedule nothing is idle until it is woken, or its batch in flight ends.
    """
    control = state.control[0]
    tries = (control["max_num_seqs"] + 2) * (state.slots.shape[1] + 1)
    s = state.replicas[r]["event_slot"]
    while tries > 0:
        tries -= 1
        schedule(state, r, s)
        if control["preempted"] > 0:
            wake(state, r)
        started = control["budget"] < control["max_num_batched_tokens"]
        if started:
            state.rows[r, s] = number
            launch(state, r, s, row, columns)
        settle(state, r, s, started)
        if started:
            return True
        s = first_ready(state, r)
        if s == NONE:
            return False
    control["status"] = STUCK
    return False


@inlined
def settle(state: State, r: int, s: int, started: bool) -> None:
    """Update slot ``s`` after an attempt to start a step.

    With fewer than two batches in flight an asynchronous slot schedules another one at once, unless
    this one was empty.
    """
    control, slot = state.control[0], state.slots[r, s]
    if control["asynchronous"] and started and slot["flights"] < 2:
        return
    if slot["flights"] == 0:
        slot["state"] = IDLE
        state.replicas[r]["stalled"] |= slot["members"] > 0
        return
    oldest = oldest_flight(control, slot)
    slot["state"] = FLIGHT
    slot["at_ps"] = max(control["now_ps"], state.ends_ps[r, s, oldest])


@inlined
def first_ready(state: State, r: int) -> int:
    """The ready slot with the smallest (ready time, number) that is not in the future, or NONE."""
    best = NONE
    best_ps = state.control[0]["now_ps"]
    for s in range(state.replicas[r]["busy_slots"]):
        slot = state.slots[r, s]
        if slot["state"] == READY and (
            slot["at_ps"] < best_ps or (best == NONE and slot["at_ps"] == best_ps)
        ):
            best = s
            best_ps = slot["at_ps"]
    return best


@inlined
def launch(state: State, r: int, s: int, row: Any, columns: Any) -> None:
    """Start the scheduled step and write its row of the log."""
    control, replica, slot = state.control[0], state.replicas[r], state.slots[r, s]
    measure(state, r, row, columns)
    ready_ps = control["now_ps"] + control["host_ps"]
    if control["fed_back"]:  # the previous batch is the one in flight
        before_ps = state.ends_ps[r, s, slot["turn"] ^ 1]
        ready_ps = max(ready_ps, before_ps + replica["return_ps"])
    slot["ready_ps"], slot["before"] = slot["at_ps"], replica["last_slot"]
    replica["last_slot"] = s
    row["replica"] = r
    row["slot"] = s
    slot["slack_ps"] = cross(state, r, row, ready_ps, slot["at_ps"])
    row["more"] = row["period_ps"] = row["followers"] = 0
    row["running"] = slot["members"] + control["reading"]
    row["waiting"] = replica["queued"]
    slot["calm"] = (
        slot["even"] * (1 - control["asynchronous"]) == 1
        and row["finished"] == 0
        and row["tokens"] - row["prefill_tokens"] == slot["members"]
    )
    for i in range(control["chunks"]):
        state.chunks[i]["start_ps"], state.chunks[i]["end_ps"] = row["start_ps"], row["end_ps"]
    if control["admitted"] > 0:
        note_first_start(state, r, s, row["start_ps"])
    turn = slot["turn"]
    state.ends_ps[r, s, turn] = row["end_ps"]
    state.steps[r, s, turn] = replica["steps"]
    slot["turn"] = turn ^ control["asynchronous"]
    slot["flights"] += 1
    replica["steps"] += 1
    control["end_ps"] = max(control["end_ps"], row["end_ps"])
    replica["barren"] = 0 if row["emitted"] > 0 else replica["barren"] + 1
    if row["end_ps"] > LAST_PS:
        control["status"] = LATE
    elif replica["barren"] > control["barren_limit"]:
        control["status"] = STUCK


@inlined
def note_first_start(state: State, r: int, s: int, start_ps: int) -> None:
    """Requests that were admitted in this step are scheduled for the first time."""
    step = state.replicas[r]["steps"]
    for place in range(state.slots[r, s]["members"]):
        member = state.members[r, s, place]
        if member["first_row"] == step:
            mark_start(state, member["request"], start_ps)
    for h in range(state.replicas[r]["partial"]):
        if state.partial_prefills[r, h]["first_row"] == step:
            mark_start(state, state.partial_prefills[r, h]["request"], start_ps)


@inlined
def mark_start(state: State, number: int, start_ps: int) -> None:
    """Record the first start of a request."""
    request = state.requests[number]
    if request["first_scheduled_ps"] < 0:
        request["first_scheduled_ps"] = start_ps
