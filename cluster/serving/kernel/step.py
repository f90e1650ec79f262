"""One step of a slot: what it holds, its way through the stages, and its finish."""

from typing import Any

from cluster.compiled import inlined
from cluster.machine.attention import BLOCK_TOKENS, attention_ps, kv_ps, worked_ps
from cluster.serving.histogram import bin_of
from cluster.serving.kernel.pool import release
from cluster.serving.kernel.state import COMPLETED, State


@inlined
def measure(state: State, r: int, s: int, row: Any) -> None:
    """Write the scheduled tokens of slot ``s`` and their attention into the log row."""
    control, slot, rows = state.control[0], state.slots[r, s], state.members[r, s]
    per_query, window = control["clocks_per_query"], control["window_tokens"]
    widest = (window + BLOCK_TOKENS - 1) // BLOCK_TOKENS + 1  # blocks that one windowed token sees
    prefill = emitted = finished = 0
    decode_blocks = decode_blocks_windowed = passes = passes_windowed = decoding = 0
    seen_full = seen_windowed = 0
    for place in range(slot["members"]):
        member = rows[place]
        tokens, computed, known = member["scheduled"], member["computed"], member["known"]
        if tokens == 0:
            continue
        blocks = (computed + BLOCK_TOKENS - 1) >> 6
        seen_full += blocks
        if computed == known:
            emitted += 1
            if known + 1 == member["goal"]:
                finished += 1
            if tokens == 1 and known > member["prompt"]:
                decoding += 1
                decode_blocks += blocks
                decode_blocks_windowed += min(blocks, widest)
                seen_windowed += min(blocks, widest)
                continue
        prefill += tokens
        per_block = (tokens * per_query + BLOCK_TOKENS - 1) // BLOCK_TOKENS
        seen = (window + tokens - 1 + BLOCK_TOKENS - 1) // BLOCK_TOKENS + 1
        passes += blocks * per_block
        passes_windowed += min(blocks, seen) * per_block
        seen_windowed += min(blocks, seen)
    row["tokens"] = decoding + prefill
    row["prefill_tokens"] = prefill
    row["emitted"] = emitted
    row["finished"] = finished
    row["decode_blocks"] = decode_blocks
    row["prefill_passes"] = passes
    row["decode_blocks_windowed"] = decode_blocks_windowed if window > 0 else 0
    row["prefill_passes_windowed"] = passes_windowed if window > 0 else 0
    fetch(state, r, row, seen_full, seen_windowed)


@inlined
def fetch(state: State, r: int, row: Any, full: int, windowed: int) -> None:
    """Write into the log row which of the blocks that its rows see come from LPDDR.

    Those beyond the SRAM of the replica lie there, the coldest first.
    """
    control, used = state.control[0], state.replicas[r]["used_blocks"]
    over = used - control["sram_blocks"]
    row["lpddr_blocks"] = row["lpddr_blocks_windowed"] = 0
    if over <= 0:
        return
    moved = full + ((row["tokens"] + BLOCK_TOKENS - 1) >> 6)
    row["lpddr_blocks"] = (moved * over + used - 1) // used
    if control["window_tokens"] > 0:
        row["lpddr_blocks_windowed"] = max(0, row["lpddr_blocks"] - (full - windowed))


@inlined
def cross(state: State, r: int, row: Any) -> int:
    """Send a step, already measured, through all stages from now on; return its end."""
    control = state.control[0]
    control["serial"] += 1
    tokens = row["tokens"]
    end_ps = control["now_ps"]
    for k in range(state.stages.shape[1]):
        stage = state.stages[r, k]
        price_class = stage["price_class"]
        start_ps = max(end_ps, stage["free_ps"])
        end_ps = start_ps + work_ps(state, price_class, row)
        stage["free_ps"] = end_ps
        if k + 1 < state.stages.shape[1]:
            end_ps += state.rates[price_class, tokens]["send_ps"]
    return int(end_ps)


@inlined
def work_ps(state: State, price_class: int, row: Any) -> int:
    """Picoseconds that a stage of this class works on the step; worked out once per class."""
    work, rates = state.works[price_class], state.rates
    if work["serial"] != state.control[0]["serial"]:
        rate = rates[price_class, row["tokens"]]
        attention = attention_ps(
            state.attention[price_class],
            row["decode_blocks"],
            row["prefill_passes"],
            row["decode_blocks_windowed"],
            row["prefill_passes_windowed"],
        )
        head_ps = rates[price_class, row["emitted"]]["head_ps"]
        shapes = state.attention[price_class]
        fetch_ps = kv_ps(shapes, row["lpddr_blocks"], row["lpddr_blocks_windowed"])
        busy_ps = rate["work_ps"] + attention
        work["work_ps"] = worked_ps(shapes, busy_ps, rate["floor_ps"], fetch_ps) + head_ps
        work["serial"] = state.control[0]["serial"]
    return int(work["work_ps"])


@inlined
def finish(state: State, r: int, s: int) -> None:
    """Emit the tokens of the step in flight; members with their last token leave."""
    slot, rows = state.slots[r, s], state.members[r, s]
    now_ps = slot["at_ps"]
    kept = 0
    same = 0  # rows that emitted in the step before, too: they share one interval
    tokens = 0
    for place in range(slot["members"]):
        member = rows[place]
        leaves = False
        if member["scheduled"] > 0 and member["computed"] == member["known"]:
            tokens += 1
            if member["known"] == member["prompt"]:
                state.requests[member["request"]]["first_token_ps"] = now_ps
            elif member["emitted_ps"] == slot["finished_ps"]:
                same += 1
            else:
                state.itl_count[bin_of(now_ps - member["emitted_ps"])] += 1
            member["emitted_ps"] = now_ps
            member["known"] += 1
            leaves = member["known"] == member["goal"]
        member["scheduled"] = 0
        if leaves:
            leave(state, r, member)
        else:
            if kept < place:
                move(rows, place, kept)
            kept += 1
    if same > 0:
        state.itl_count[bin_of(now_ps - slot["finished_ps"])] += same
    slot["members"] = kept
    slot["finished_ps"] = now_ps
    state.control[0]["tokens"] += tokens


@inlined
def leave(state: State, r: int, member: Any) -> None:
    """A request has its last token: it frees its blocks and makes room for the next user."""
    control, request = state.control[0], state.requests[member["request"]]
    release(state, r, member)
    request["finish_ps"] = control["now_ps"]
    request["status"] = COMPLETED
    state.replicas[r]["outstanding"] -= 1
    control["done"] += 1
    control["due"] += control["closed_loop"]


@inlined
def move(rows: Any, source: int, target: int) -> None:
    """Let a member close the gap at ``target``, whose seat becomes free in its place."""
    free = rows[target]["seat"]
    rows[target] = rows[source]
    rows[source]["seat"] = free
