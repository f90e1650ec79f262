"""KV blocks of one replica: counted, or with prefix caching numbered and found by key.

``pool`` is the replica's row of blocks; unreferenced ones are in the free list (``block_lists``).
"""

from typing import Any

from cluster.compiled import called, inlined
from cluster.serving.kernel.block_lists import append, carry, find, forget, prepend, unlink
from cluster.serving.kernel.block_tiers import evict, store
from cluster.serving.kernel.state import NONE, State


@inlined
def take(state: State, r: int, table: Any, first: int, last: int) -> None:
    """Allocate ``table[first:last]`` from the head of the free list; what a block held goes to the
    tiers below, if no other block has it."""
    replica, pool = state.replicas[r], state.pool[r]
    for i in range(first, last):
        block = replica["free_head"]
        key = pool[block]["key"]
        unlink(replica, pool, block)
        forget(pool, block)
        pool[block]["references"] = 1
        table[i] = block
        if state.control[0]["tiers"] > 0 and key != NONE:
            evict(state, r, key)


@inlined
def kind_blocks(control: Any, window: int, blocks: int, chunk: int) -> int:
    """Most blocks in layers with a ``window``, of a sequence of ``blocks``.

    Its last ``chunk`` tokens are new. At most one more than in vLLM (DESIGN.md).
    """
    if window == 0:
        return blocks
    block_size = control["block_size"]
    seen = window - 1 + chunk + control["lookahead"]
    behind: int = (seen + block_size - 1) // block_size + 1
    return min(blocks, max(behind, 1))


@inlined
def has_room(state: State, r: int, member: Any, blocks: int, chunk: int) -> bool:
    """Whether ``member`` can grow to ``blocks`` after a chunk of that length."""
    control, windows, units, held = state.control[0], state.windows, state.units, state.held
    has = member["capacity"] // control["block_size"]
    for m in range(len(state.room)):
        used = 0
        for k in range(len(windows)):
            more = kind_blocks(control, windows[k], blocks, chunk)
            more -= kind_blocks(control, windows[k], has, member["chunk"])
            used += units[m, k] * (held[r, k] + more)
        if used > state.room[m]:
            return False
    return True


@inlined
def fits_empty(state: State, tokens: int) -> bool:
    """Whether a sequence of ``tokens`` would have room in an empty replica."""
    control = state.control[0]
    blocks = (tokens + control["block_size"] - 1) // control["block_size"]
    for m in range(len(state.room)):
        used = 0
        for k in range(len(state.windows)):
            most = kind_blocks(control, state.windows[k], blocks, control["max_num_batched_tokens"])
            used += state.units[m, k] * most
        if used > state.room[m]:
            return False
    return True


@inlined
def hold(state: State, r: int, k: int, more: int) -> None:
    """Change the blocks of a kind in use at replica ``r`` by ``more``."""
    state.held[r, k] += more
    state.replicas[r]["used"] += state.units[0, k] * more


@inlined
def reach(control: Any, tokens: int) -> int:
    """Tokens for which blocks are allocated, of a sequence that is computed to ``tokens``."""
    return int(min(tokens + control["lookahead"], control["max_model_len"]))


@inlined
def hold_tokens(state: State, r: int, tokens: int, sign: int) -> None:
    """Count the blocks of a sequence whose last token alone is new, or with -1 no longer."""
    control = state.control[0]
    blocks = (tokens + control["block_size"] - 1) // control["block_size"]
    for k in range(len(state.windows)):
        hold(state, r, k, sign * kind_blocks(control, state.windows[k], blocks, 1))


@inlined
def keep(state: State, r: int, request: Any, member: Any) -> None:
    """Leave all blocks of ``member``, whose request has ended, to it; rows of blocks without
    numbers are free."""
    request["kept"], request["kept_chunk"] = member["capacity"], member["chunk"]
    request["kept_row"] = member["table_row"]
    if not state.control[0]["prefix_caching"]:
        replica = state.replicas[r]
        state.free_rows[r, replica["free_rows"]] = member["table_row"]
        replica["free_rows"] += 1
        request["kept_row"] = NONE


@inlined
def blocks_after(state: State, member: Any, tokens: int) -> int:
    """Blocks in layers with full context after ``tokens`` more tokens of ``member``."""
    control = state.control[0]
    block_size = control["block_size"]
    needed = (reach(control, member["computed"] + tokens) + block_size - 1) // block_size
    return int(max(needed, member["capacity"] // block_size))


@inlined
def grow(state: State, r: int, member: Any, blocks: int, chunk: int) -> None:
    """Grow ``member`` to ``blocks`` after a chunk of that length; there is room."""
    control = state.control[0]
    has = member["capacity"] // control["block_size"]
    for k in range(len(state.windows)):
        more = kind_blocks(control, state.windows[k], blocks, chunk)
        hold(state, r, k, more - kind_blocks(control, state.windows[k], has, member["chunk"]))
    if control["prefix_caching"]:
        take(state, r, state.tables[member["table_row"]], has, blocks)
    member["capacity"] = blocks * control["block_size"]
    member["chunk"] = chunk


@inlined
def plan_review(state: State, member: Any) -> None:
    """Record the computed tokens at which the blocks of ``member`` must be checked next.

    That is when a token needs a block, when it fills a block that gets a key, and at once if layers
    can free blocks behind the window of a longer chunk.
    """
    control = state.control[0]
    member["review"] = member["capacity"]
    if control["prefix_caching"]:
        member["review"] = max(member["computed"], member["capacity"] - 1)
    elif member["chunk"] > 1 and (len(state.windows) > 1 or state.windows[0] > 0):
        member["review"] = member["computed"]


@called
def release(state: State, r: int, member: Any) -> None:
    """Drop all references of ``member``, its last block first, and free its row of ``tables``.

    Blocks without a key go to the head of the free list, the others to its tail.
    """
    control, replica = state.control[0], state.replicas[r]
    has = member["capacity"] // control["block_size"]
    member["capacity"] = 0
    if member["table_row"] != NONE:
        state.free_rows[r, replica["free_rows"]] = member["table_row"]
        replica["free_rows"] += 1
    if not control["prefix_caching"]:
        for k in range(len(state.windows)):
            hold(state, r, k, -kind_blocks(control, state.windows[k], has, member["chunk"]))
        return
    pool, table = state.pool[r], state.tables[member["table_row"]]
    for i in range(has - 1, -1, -1):
        block = table[i]
        pool[block]["references"] -= 1
        if pool[block]["references"] == 0:
            hold(state, r, 0, -1)
            if pool[block]["key"] != NONE:
                append(replica, pool, block)
    for i in range(has):
        block = table[i]
        if pool[block]["references"] == 0 and pool[block]["key"] == NONE:
            prepend(replica, pool, block)


@inlined
def block_key(state: State, request: Any, block: int) -> int:
    """The key of the request's full block of this number; beyond its prompt it is not shared."""
    beyond = block - request["key_count"]
    if beyond < 0:
        return int(state.keys[request["first_key"] + block])
    return int(request["answer_key"] + beyond)


@called
def look_up(state: State, r: int, request: Any, table_row: int) -> int:
    """Number of cached blocks of ``request``; writes them to a row of ``tables``."""
    pool, table = state.pool[r], state.tables[table_row]
    limit: int = (request["known"] - 1) // state.control[0]["block_size"]
    for i in range(limit):
        block = find(pool, block_key(state, request, i))
        if block == NONE:
            return i
        table[i] = block
    return limit


@inlined
def shared(pool: Any, table: Any, hits: int) -> int:
    """Number of referenced blocks among the first ``hits`` of ``table``."""
    count = 0
    for i in range(hits):
        if pool[table[i]]["references"] > 0:
            count += 1
    return count


@inlined
def claim(state: State, r: int, table: Any, hits: int) -> None:
    """Add a reference to each of the first ``hits`` blocks of ``table``."""
    pool = state.pool[r]
    for i in range(hits):
        block = table[i]
        if pool[block]["references"] == 0:
            unlink(state.replicas[r], pool, block)
            hold(state, r, 0, 1)
        pool[block]["references"] += 1


@called
def name_full(state: State, r: int, member: Any, tokens: int) -> None:
    """Assign keys to the blocks that the first ``tokens`` of ``member`` fill."""
    full = tokens // state.control[0]["block_size"]
    request = state.requests[member["request"]]
    pool, table = state.pool[r], state.tables[member["table_row"]]
    for i in range(member["named"], full):
        key = block_key(state, request, i)
        carry(pool, table[i], key)
        if state.control[0]["write_through"]:
            store(state, r, key)
    member["named"] = max(member["named"], full)
