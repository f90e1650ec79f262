"""Lists of numbered blocks: the free list of a replica, and blocks by key.

A pool is a row of blocks. Those of the list are doubly linked; those with a key are in a hash
table, chained through ``bucket`` and ``chain``.
"""

from typing import Any

from cluster.compiled import inlined
from cluster.serving.kernel.state import NONE


@inlined
def find(pool: Any, key: int) -> int:
    """The block that has had ``key`` longest, or NONE."""
    block: int = pool[key % len(pool)]["bucket"]
    while block != NONE and pool[block]["key"] != key:
        block = pool[block]["chain"]
    return block


@inlined
def carry(pool: Any, block: int, key: int) -> None:
    """Assign ``key`` to ``block``, behind other blocks with this key."""
    bucket = key % len(pool)
    pool[block]["key"] = key
    pool[block]["chain"] = NONE
    other = pool[bucket]["bucket"]
    if other == NONE:
        pool[bucket]["bucket"] = block
        return
    while pool[other]["chain"] != NONE:
        other = pool[other]["chain"]
    pool[other]["chain"] = block


@inlined
def forget(pool: Any, block: int) -> None:
    """Remove the key of ``block``, if it has one."""
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
    """Remove ``block`` from the free list."""
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
    """Append ``block`` to the free list."""
    tail = replica["free_tail"]
    pool[block]["before"] = tail
    pool[block]["after"] = NONE
    if tail == NONE:
        replica["free_head"] = block
    else:
        pool[tail]["after"] = block
    replica["free_tail"] = block


@inlined
def prepend(replica: Any, pool: Any, block: int) -> None:
    """Insert ``block`` at the head of the free list."""
    head = replica["free_head"]
    pool[block]["before"] = NONE
    pool[block]["after"] = head
    if head == NONE:
        replica["free_tail"] = block
    else:
        pool[head]["before"] = block
    replica["free_head"] = block
