"""Shared prefixes of prompts: a trace's block ids as keys of KV blocks."""

from dataclasses import dataclass

import numpy as np

from corsair_common.units import Integers
from workloads.requests import Requests, TraceError

START = -1
"""The predecessor of a first block."""


def block_keys(requests: Requests, block_size: int) -> tuple[Integers, Integers, int]:
    """Return keys of the full KV blocks of every prompt: equal keys mean equal prefixes.

    Returns (offsets [n + 1], keys [m], key_count): request i's keys are
    ``keys[offsets[i] : offsets[i + 1]]``, one for each of its ``prompt // block_size`` full blocks.
    Keys are 0..key_count-1, and each is used. A trace without ids gives no keys.

    The trace's blocks (g tokens) and the KV blocks (b tokens) need not be equal, but one must
    divide the other, else TraceError. With g >= b a KV block is a piece of a trace block; with
    b > g its last trace block names it, which is enough since names stand for whole prefixes. A
    partial last block of the trace has a hash of its own, so its full KV blocks match only prompts
    that end alike: hits are then undercounted, never invented.
    """
    if block_size < 1:
        raise TraceError(f"block_size must be at least 1, got {block_size}")
    offsets, ids, size = requests.hash_offsets, requests.hash_ids, requests.hash_block_tokens
    if offsets is None or ids is None:
        return np.zeros(len(requests) + 1, dtype=np.int64), np.empty(0, dtype=np.int64), 0
    if size % block_size and block_size % size:
        raise TraceError(
            f"block_size {block_size} does not fit the trace's blocks of {size} tokens: one must "
            "divide the other"
        )
    counts = requests.prompt_tokens // block_size
    starts = np.concatenate(([0], np.cumsum(counts)))
    block = np.arange(starts[-1]) - np.repeat(starts[:-1], counts)
    first = np.repeat(offsets[:-1], counts)
    chained = chain(offsets, ids)
    if size >= block_size:
        pieces = size // block_size
        keys = chained[first + block // pieces] * pieces + block % pieces
    else:
        keys = chained[first + (block + 1) * (block_size // size) - 1]
    dense, key_count = _dense(keys)
    return starts, dense, key_count


def chain(offsets: Integers, ids: Integers) -> Integers:
    """Renumber ids so that equal ids mean equal content of this and all previous blocks.

    In most traces this holds already (an id always has the same predecessor), and the ids are only
    made dense. Otherwise they are built block by block.
    """
    if not len(ids):
        return ids
    _, plain = np.unique(ids, return_inverse=True)
    dense = plain.astype(np.int64)
    before = np.concatenate(([START], dense[:-1]))
    before[offsets[:-1][np.diff(offsets) > 0]] = START
    usual = np.empty(int(dense.max()) + 1, dtype=np.int64)
    usual[dense] = before
    if np.array_equal(usual[dense], before):
        return dense
    return _chain_by_depth(offsets, dense)


def _chain_by_depth(offsets: Integers, ids: Integers) -> Integers:
    """Number (number of the previous block, id) pairs: all first blocks, then all second ones."""
    counts = np.diff(offsets)
    names = np.empty_like(ids)
    span = int(ids.max()) + 1
    used = 0
    for depth in range(int(counts.max())):
        at = offsets[:-1][counts > depth] + depth
        before = names[at - 1] if depth else np.full(len(at), START, dtype=np.int64)
        pairs, inverse = np.unique((before + 1) * span + ids[at], return_inverse=True)
        names[at] = used + inverse
        used += len(pairs)
    return names


def _dense(keys: Integers) -> tuple[Integers, int]:
    """Close the gaps in non-negative keys, in linear time."""
    if not len(keys):
        return keys, 0
    used = np.zeros(int(keys.max()) + 1, dtype=np.bool_)
    used[keys] = True
    rank: Integers = np.cumsum(used, dtype=np.int64) - 1
    return rank[keys], int(rank[-1]) + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedPrefix:
    """Shared prefixes of synthetic prompts: one common prefix, and continued chats.

    Every prompt begins with the same ``common_blocks`` blocks. With probability ``followup`` a
    prompt continues an earlier one: of ``choice`` prompts drawn from the last ``memory`` it takes
    the longest that is not longer than itself, and begins with all full blocks of that.
    """

    block_tokens: int
    common_blocks: int
    followup: float
    choice: int
    memory: int

    def __post_init__(self) -> None:
        for name, least in (
            ("block_tokens", 1),
            ("common_blocks", 0),
            ("choice", 1),
            ("memory", 1),
        ):
            if not getattr(self, name) >= least:
                raise TraceError(f"{name} must be at least {least}, got {getattr(self, name)}")
        if not 0 <= self.followup <= 1:
            raise TraceError(f"followup must lie between 0 and 1, got {self.followup}")


def share_prefixes(
    spec: SharedPrefix, prompt_tokens: Integers, rng: np.random.Generator
) -> tuple[Integers, Integers]:
    """Draw block ids (offsets [n + 1], ids) for prompts of these lengths."""
    n = len(prompt_tokens)
    counts = -(-prompt_tokens // spec.block_tokens)
    full = prompt_tokens // spec.block_tokens
    offsets = np.concatenate(([0], np.cumsum(counts)))
    follows = rng.random(n) < spec.followup
    back = 1 + rng.integers(0, spec.memory, (n, spec.choice))
    ids = np.arange(offsets[-1]) + spec.common_blocks
    for i in range(n):
        start = offsets[i]
        common = min(spec.common_blocks, int(full[i]))
        ids[start : start + common] = np.arange(common)
        if not follows[i]:
            continue
        parents = i - back[i][back[i] <= i]
        parents = parents[prompt_tokens[parents] <= prompt_tokens[i]]
        if len(parents):
            parent = parents[np.argmax(prompt_tokens[parents])]
            shared = int(full[parent])
            ids[start : start + shared] = ids[offsets[parent] : offsets[parent] + shared]
    return offsets, ids
