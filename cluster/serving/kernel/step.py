"""One step of a slot: its passage through the stages, and its finish."""

from typing import Any

from cluster.compiled import called, inlined
from cluster.perf_model.attention import attention_ps, fetch_ps, worked_ps
from cluster.scenario.routers import KV_OVERLAP
from cluster.serving.histogram import bin_of
from cluster.serving.kernel.block_pool import keep, name_full, release
from cluster.serving.kernel.kv_routing import count_prompt
from cluster.serving.kernel.queues import leave_queue, note, show_lag
from cluster.serving.kernel.sessions import send_followers
from cluster.serving.kernel.state import COMPLETED, FINISHED, NONE, State
from cluster.serving.kernel.verified import emit_verified


@inlined
def cross(state: State, r: int, row: Any, ready_ps: int, reached_ps: int) -> int:
    """Send a step, already measured, through all stages; it may start at ``ready_ps``.

    Returns the least time for which a stage was free before it was reached, the first one at
    ``reached_ps``.
    """
    control = state.control[0]
    control["serial"] += 1
    tokens = row["tokens"]
    end_ps = ready_ps
    slack_ps: int = reached_ps - state.stages[r, 0]["free_ps"]
    row["start_ps"] = max(end_ps, state.stages[r, 0]["free_ps"])
    for k in range(state.slots.shape[1]):
        stage = state.stages[r, k]
        price_class = stage["price_class"]
        slack_ps = min(slack_ps, end_ps - stage["free_ps"])
        start_ps = max(end_ps, stage["free_ps"])
        end_ps = start_ps + work_ps(state, price_class, row)
        stage["free_ps"] = row["end_ps"] = end_ps
        end_ps += state.rates[price_class, tokens]["send_ps"]
    if control["draft_stages"] > 0:
        draft(state, r, row, end_ps)
    return slack_ps


@called
def draft(state: State, r: int, row: Any, sent_ps: int) -> None:
    """Draft after a step, whose tokens reach cards of their own, if drafts have any, at
    ``sent_ps``."""
    stages = state.slots.shape[1]
    last, own, slot = (
        state.stages[r, stages - 1],
        state.stages[r, stages],
        state.slots[r, row["slot"]],
    )
    price_class = own["price_class"]
    draft_ps = work_ps(state, price_class, row)
    slot["drafted_ps"] = 0
    if state.control[0]["draft_apart"] == 0:  # the last stage does both, one after the other
        row["end_ps"] += draft_ps
        last["free_ps"] = row["end_ps"]
        return
    own["free_ps"] = max(sent_ps, own["free_ps"]) + draft_ps
    if row["drafting"] > 0:
        slot["drafted_ps"] = own["free_ps"] + state.rates[price_class, row["tokens"]]["send_ps"]


@inlined
def work_ps(state: State, price_class: int, row: Any) -> int:
    """Picoseconds of the step at a stage of this class; computed once per class."""
    work, rates, control = state.works[price_class], state.rates, state.control[0]
    if work["serial"] != control["serial"]:
        rate = rates[price_class, row["tokens"]]
        heads = row["drafting"] if work["drafts"] else row["emitted"]
        head_ps = rates[price_class, heads]["head_ps"]
        shared = state.works[work["alike"]]
        if shared["priced"] != control["serial"]:
            shared["priced"] = control["serial"]
            shared["attention_ps"] = attention_ps(state.attention[price_class], state.sums)
            shared["fetch_ps"] = 0
            if row["used_blocks"] > control["sram_units"]:
                shared["fetch_ps"] = fetch_ps(state.far_block_ps[price_class], state.sums)
        busy_ps = rate["work_ps"] + shared["attention_ps"]
        work["work_ps"] = head_ps + worked_ps(
            control["ahead"], busy_ps, rate["floor_ps"], shared["fetch_ps"]
        )
        work["serial"] = control["serial"]
    return int(work["work_ps"])


@inlined
def finish(state: State, r: int, s: int, end_ps: int, bit: int, step: int) -> None:
    """Emit the tokens of the oldest batch in flight; remove finished members.

    ``bit`` marks its rows; ``step`` is its number at the replica.
    """
    slot, rows = state.slots[r, s], state.members[r, s]
    if slot["calm"]:
        slot["lag"] += 1
        state.itl_count[bin_of(end_ps - slot["finished_ps"])] += slot["members"]
        state.control[0]["tokens"] += slot["members"]
        slot["finished_ps"] = end_ps
        return
    show_lag(state, r, s)
    asynchronous, caching = state.control[0]["asynchronous"], state.control[0]["prefix_caching"]
    remaining = 0
    same = 0  # rows that emitted in the previous step as well: they share one interval
    tokens = 0
    for place in range(slot["members"]):
        member = rows[place]
        leaves = False
        emits = member["emits"]
        if emits & bit != 0:
            tokens += 1
            same += emit(state, member, slot["finished_ps"], end_ps)
            member["emits"] = emits ^ bit
            leaves = member["known"] == member["goal"]
        if asynchronous:
            member["flights"] &= ~bit
            if caching:
                name_full(state, r, member, member["computed"] - (member["emits"] != 0))
        if leaves:
            leave(state, r, s, member, end_ps, step)
        else:
            if remaining < place:
                rows[remaining] = member
            remaining += 1
    if same > 0:
        state.itl_count[bin_of(end_ps - slot["finished_ps"])] += same
    slot["even"] = slot["members"] == tokens
    slot["members"] = remaining
    slot["finished_ps"] = end_ps
    state.control[0]["tokens"] += tokens
    if asynchronous:
        finish_others(state, r, end_ps, bit, step)


@inlined
def emit(state: State, member: Any, before_ps: int, end_ps: int) -> int:
    """Emit a member's next token; 1 if the previous one was at ``before_ps`` (counted later)."""
    same = 0
    if member["known"] == member["prompt"]:
        end_prefill(state, member["request"], end_ps)
    elif member["emitted_ps"] == before_ps:
        same = 1
    else:
        state.itl_count[bin_of(end_ps - member["emitted_ps"])] += 1
    member["emitted_ps"] = end_ps
    member["known"] += 1
    return same


@inlined
def end_prefill(state: State, number: int, end_ps: int) -> None:
    """Record a request's first token: its prompt is computed."""
    request = state.requests[number]
    request["first_token_ps"] = end_ps
    state.replicas[request["replica"]]["prefill_tokens"] -= request["prefill_tokens"]


@inlined
def leave(state: State, r: int, s: int, member: Any, end_ps: int, step: int) -> None:
    """Finish a request at its last token: free its blocks and its place."""
    number = member["request"]
    note(state, r, number, s, step, FINISHED)
    if state.control[0]["hands_over"]:
        keep(state, r, state.requests[number], member)
    else:
        release(state, r, member)
    state.replicas[r]["running"] -= 1
    complete(state, r, number, end_ps)


@called
def complete(state: State, r: int, number: int, end_ps: int) -> None:
    """Count a request as done; in a closed loop its user sends the next request."""
    control, request = state.control[0], state.requests[number]
    request["finish_ps"] = end_ps
    request["status"] = COMPLETED
    state.replicas[r]["outstanding"] -= 1
    if control["router"] == KV_OVERLAP:
        count_prompt(state, r, number, -1)
    control["done"] += 1
    send_next(state, number, end_ps)
    if control["hands_over"]:
        state.handed[control["handed"]] = number
        control["handed"] += 1
        control["until_ps"] = control["now_ps"]


@inlined
def send_next(state: State, ended: int, now_ps: int) -> None:
    """In a closed loop the next unsent request arrives now; in a session its next turn is due."""
    control = state.control[0]
    if control["sessions"]:
        if not control["fed"]:  # a decode pool has the heap of arrivals alone
            send_followers(control, state.requests, state.turns, state.due_heap, ended, now_ps)
    elif control["closed_loop"]:
        number = control["sent"] + control["due"]
        if number < control["requests"]:
            state.requests[number]["arrival_ps"] = now_ps
            control["due"] += 1


@called
def finish_verified(state: State, r: int, s: int, end_ps: int, step: int) -> None:
    """``finish`` of a batch whose rows may emit several tokens each."""
    slot, rows, control = state.slots[r, s], state.members[r, s], state.control[0]
    remaining = 0
    for place in range(slot["members"]):
        member = rows[place]
        leaves = False
        if member["emits"] != 0:
            member["emits"] = 0
            if member["known"] == member["prompt"]:
                end_prefill(state, member["request"], end_ps)
            control["tokens"] += emit_verified(state, member, end_ps)
            leaves = member["known"] == member["goal"]
            if control["prefix_caching"]:
                name_full(state, r, member, member["computed"])
        if leaves:
            leave(state, r, s, member, end_ps, step)
        else:
            if remaining < place:
                rows[remaining] = member
            remaining += 1
    slot["members"] = remaining
    slot["finished_ps"] = end_ps


@called
def finish_others(state: State, r: int, end_ps: int, bit: int, step: int) -> None:
    """End the batch for partial prefills, and for requests preempted since its start."""
    replica = state.replicas[r]
    for h in range(replica["partial"]):
        state.partial_prefills[r, h]["flights"] &= ~bit
    remaining = 0
    for i in range(replica["stale"]):
        number = state.stale[r, i]
        request = state.requests[number]
        if request["emits"] & bit != 0:
            emit_late(state, r, number, end_ps, step)
        request["emits"] &= ~bit
        request["flights"] &= ~bit
        if request["flights"] != 0:
            state.stale[r, remaining] = number
            remaining += 1
    replica["stale"] = remaining


@inlined
def emit_late(state: State, r: int, number: int, end_ps: int, step: int) -> None:
    """Emit the token of a queued request that was in flight at its preemption."""
    request, requests = state.requests[number], state.requests
    state.control[0]["tokens"] += 1
    if request["first_token_ps"] < 0:
        end_prefill(state, number, end_ps)
    else:
        state.itl_count[bin_of(end_ps - request["emitted_ps"])] += 1
    request["emitted_ps"] = end_ps
    request["known"] += 1
    if request["known"] == request["goal"]:
        before = NONE
        ahead = state.replicas[r]["head"]
        while ahead != number:
            before = ahead
            ahead = requests[ahead]["next"]
        leave_queue(state, r, number, before)
        note(state, r, number, request["slot"], step, FINISHED)
        complete(state, r, number, end_ps)
