"""KV blocks of one replica: counted, or with prefix caching named and found by key.

``pool`` is the replica's row of blocks. Unreferenced ones stand in a doubly linked free list; those
that carry a key also stand in a hash table, chained through ``bucket`` and ``chain``.
"""

from typing import Any

from cluster.compiled import inlined
from cluster.serving.kernel.state import NONE, State


@inlined
def find(pool: Any, key: int) -> int:
    """The block that carries ``key``, or NONE."""
    block: int = pool[key % len(pool)]["bucket"]
    while block != NONE and pool[block]["key"] != key:
        block = pool[block]["chain"]
    return block


@inlined
def carry(pool: Any, block: int, key: int) -> None:
    """Let ``block`` carry ``key``, which nobody carries."""
    bucket = key % len(pool)
    pool[block]["key"] = key
    pool[block]["chain"] = pool[bucket]["bucket"]
    pool[bucket]["bucket"] = block


@inlined
def forget(pool: Any, block: int) -> None:
    """Take the key of ``block`` away, if it has one."""
    key = pool[block]["key"]
    if key == NONE:
        return
    bucket = key % len(pool)
    after = pool[block]["chain"]
    other = pool[bucket]["bucket"]
    if other == block:
        pool[bucket]["bucket"] = after
    else:
        while pool[other]["chain"] != block:
            other = pool[other]["chain"]
        pool[other]["chain"] = after
    pool[block]["key"] = NONE


@inlined
def unlink(replica: Any, pool: Any, block: int) -> None:
    """Take ``block`` out of the free list."""
    before, after = pool[block]["before"], pool[block]["after"]
    if before == NONE:
        replica["free_head"] = after
    else:
        pool[before]["after"] = after
    if after == NONE:
        replica["free_tail"] = before
    else:
        pool[after]["before"] = before


@inlined
def append(replica: Any, pool: Any, block: int) -> None:
    """Put ``block`` at the tail of the free list."""
    tail = replica["free_tail"]
    pool[block]["before"] = tail
    pool[block]["after"] = NONE
    if tail == NONE:
        replica["free_head"] = block
    else:
        pool[tail]["after"] = block
    replica["free_tail"] = block


@inlined
def take(replica: Any, pool: Any, table: Any, held: int, count: int) -> None:
    """Put ``count`` blocks from the head of the free list into ``table`` behind ``held`` others."""
    for i in range(held, held + count):
        block = replica["free_head"]
        unlink(replica, pool, block)
        forget(pool, block)
        pool[block]["references"] = 1
        table[i] = block


@inlined
def grow(state: State, r: int, member: Any, count: int) -> None:
    """Give ``member`` of replica ``r`` ``count`` more blocks; they must be there."""
    control, replica = state.control[0], state.replicas[r]
    if control["prefix_caching"]:
        held = member["capacity"] // control["block_size"]
        take(replica, state.pool[r], state.tables[member["seat"]], held, count)
    replica["used_blocks"] += count
    member["capacity"] += count * control["block_size"]
    paid = min(member["owed"], count)
    member["owed"] -= paid
    replica["owed"] -= paid


@inlined
def release(state: State, r: int, member: Any) -> None:
    """Drop all references of ``member``, its last block first, and what it is owed."""
    control, replica = state.control[0], state.replicas[r]
    replica["owed"] -= member["owed"]
    member["owed"] = 0
    held = member["capacity"] // control["block_size"]
    member["capacity"] = 0
    if not control["prefix_caching"]:
        replica["used_blocks"] -= held
        return
    pool, table = state.pool[r], state.tables[member["seat"]]
    for i in range(held - 1, -1, -1):
        block = table[i]
        pool[block]["references"] -= 1
        if pool[block]["references"] == 0:
            replica["used_blocks"] -= 1
            append(replica, pool, block)


@inlined
def look_up(state: State, r: int, request: Any, seat: int) -> int:
    """How many blocks of ``request`` are cached; names them in the table of ``seat``."""
    pool, table, keys = state.pool[r], state.tables[seat], state.keys
    most = (request["known"] - 1) // state.control[0]["block_size"]
    limit: int = min(most, request["key_count"])
    for i in range(limit):
        block = find(pool, keys[request["first_key"] + i])
        if block == NONE:
            return i
        table[i] = block
    return limit


@inlined
def unreferenced(pool: Any, table: Any, hits: int) -> int:
    """How many of the first ``hits`` blocks of ``table`` stand in the free list."""
    count = 0
    for i in range(hits):
        if pool[table[i]]["references"] == 0:
            count += 1
    return count


@inlined
def claim(replica: Any, pool: Any, table: Any, hits: int) -> None:
    """Add a reference to each of the first ``hits`` blocks of ``table``."""
    for i in range(hits):
        block = table[i]
        if pool[block]["references"] == 0:
            unlink(replica, pool, block)
            replica["used_blocks"] += 1
        pool[block]["references"] += 1


@inlined
def name_filled(state: State, r: int, member: Any, before: int) -> None:
    """Let the blocks that fill as ``before`` computed tokens become ``computed`` take their keys.

    A key that another block carries already stays there.
    """
    block_size = state.control[0]["block_size"]
    request = state.requests[member["request"]]
    pool, table = state.pool[r], state.tables[member["seat"]]
    last = min(member["computed"] // block_size, request["key_count"])
    for i in range(before // block_size, last):
        key = state.keys[request["first_key"] + i]
        if find(pool, key) == NONE:
            carry(pool, table[i], key)
