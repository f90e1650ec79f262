"""The KV blocks of one replica: their owners and prefix keys."""

from collections import OrderedDict
from itertools import takewhile

from cluster.perf_model.kv_capacity import KvCapacity
from cluster.serving.interface import Limits
from cluster.serving.reference.request import Request
from corsair_common.names import STATE


def ceil_div(dividend: int, divisor: int) -> int:
    """The exact quotient, rounded up."""
    return -(-dividend // divisor)


class BlockPool:
    """The KV capacity, counted per kind of layer; with prefix caching its blocks are numbered."""

    def __init__(self, limits: Limits) -> None:
        capacity: KvCapacity = limits.capacity
        self.limits = limits
        self.block_size = limits.block_size
        self.longest_chunk = limits.max_num_batched_tokens
        self.windows: list[int] = capacity.windows.tolist()
        self.units: list[list[int]] = capacity.block_units.tolist()
        self.room: list[int] = capacity.room_units.tolist()
        self.sram_units = capacity.sram_units
        self.held = [0] * len(self.windows)
        """Blocks of each kind in use."""
        self.tiers = Tiers(limits)
        self.names = NamedBlocks(limits.blocks, self.tiers) if limits.prefix_caching else None

    @property
    def used(self) -> int:
        """KV in use, in units of the first constraint."""
        return sum(u * held for u, held in zip(self.units[0], self.held, strict=True))

    def used_by_full_layers(self) -> int:
        """The part of ``used`` in layers without a window."""
        kinds = zip(self.units[0], self.held, self.windows, strict=True)
        return sum(units * held for units, held, window in kinds if window == 0)

    def holding(self, tokens: int, chunk: int) -> list[int]:
        """Most blocks of each kind for a sequence of ``tokens``, the last ``chunk`` of them new."""
        whole = ceil_div(tokens, self.block_size)
        return [
            whole if window == 0 else min(whole, self._behind(window, chunk))
            for window in self.windows
        ]

    def _behind(self, window: int, chunk: int) -> int:
        """Most blocks that a window of so many tokens keeps; a state is one block."""
        seen = window - 1 + chunk + self.limits.lookahead
        return 1 if window == STATE else ceil_div(seen, self.block_size) + 1

    def most(self, tokens: int) -> list[int]:
        """Peak blocks of each kind of a sequence of ``tokens``."""
        return self.holding(tokens, self.longest_chunk)

    def has_room(self, blocks: list[int]) -> bool:
        """Whether these additional blocks of each kind fit; some numbers may be negative."""
        held = [have + more for have, more in zip(self.held, blocks, strict=True)]
        return all(
            sum(u * count for u, count in zip(units, held, strict=True)) <= room
            for units, room in zip(self.units, self.room, strict=True)
        )

    def fits_empty(self, request: Request) -> bool:
        """Whether the request fits an empty replica."""
        need = self.most(request.most_kv_tokens(self.limits))
        return all(
            sum(u * count for u, count in zip(units, need, strict=True)) <= room
            for units, room in zip(self.units, self.room, strict=True)
        )

    def cached_prefix(self, request: Request) -> list[int]:
        """Cached blocks with the start of the sequence of ``request``, except its last token."""
        hits: list[int] = []
        if self.names is None:
            return hits
        for index in range((request.known - 1) // self.block_size):
            block = self.names.first_with(request.key(index))
            if block is None:
                break
            hits.append(block)
        return hits

    def reach(self, tokens: int) -> int:
        """Tokens for which blocks are allocated, of a sequence that is computed to ``tokens``."""
        return min(tokens + self.limits.lookahead, self.limits.max_model_len)

    def cached_prompt(self, request: Request) -> int:
        """Leading blocks of its prompt that are cached, even all; without keys none is."""
        keys = request.keys[: request.prompt // self.block_size]
        cached = takewhile(lambda key: self.names and self.names.first_with(key) is not None, keys)
        return len(list(cached))

    def found_below(self, request: Request, hits: list[int]) -> list[int]:
        """The tier of each block behind its ``hits`` that is in one, up to the first that is not,
        except its last token's."""
        found: list[int] = []
        if self.names is None:
            return found
        for index in range(len(hits), (request.known - 1) // self.block_size):
            tier = self.tiers.first_with(request.key(index))
            if tier is None:
                break
            found.append(tier)
        return found

    def can_admit(self, request: Request, hits: list[int], first: int = 0) -> bool:
        """Whether the whole sequence of the request fits, including its hits.

        So must its ``first`` tokens, computed in its first step, with lookahead.
        """
        if request.reserved:
            return True
        need = self.most(max(request.known, self.reach(first)))
        if self.names is not None:
            shared = sum(self.names.references[block] > 0 for block in hits)
            need = [need[0] - shared]  # an unreferenced hit is in use once it is shared
        return self.has_room(need)

    def reserve(self, tokens: int, sign: int = 1) -> None:
        """Count the blocks of a sequence whose last token alone is new, or with -1 no longer."""
        for kind, blocks in enumerate(self.holding(tokens, 1)):
            self.held[kind] += sign * blocks

    def can_extend(self, request: Request, tokens: int) -> bool:
        """Whether the next ``tokens`` of a running request fit."""
        reached = max(request.reached, self.reach(request.computed + tokens))
        wanted = self.holding(reached, tokens)
        return self.has_room([new - old for new, old in zip(wanted, request.held, strict=True)])

    def share(self, request: Request, hits: list[int]) -> None:
        """Start ``request`` with cached blocks."""
        request.held = [0] * len(self.windows)
        request.blocks, request.named = list(hits), len(hits)
        request.computed = request.reached = len(hits) * self.block_size
        if self.names is not None:
            self.held[0] += sum(self.names.refer(block) for block in hits)
            request.held = [len(hits)]

    def compute(self, request: Request, tokens: int) -> None:
        """Allocate and fill the blocks of the next ``tokens`` of ``request``."""
        request.computed += tokens
        request.reached = max(request.reached, self.reach(request.computed))
        wanted = self.holding(request.reached, tokens)
        for kind, count in enumerate(wanted):
            self.held[kind] += count - request.held[kind]
        request.held = wanted
        if self.names is None:
            return
        while len(request.blocks) < wanted[0]:
            request.blocks.append(self.names.take())
        self.name_full(request, min(request.computed, request.known))

    def name_full(self, request: Request, tokens: int) -> None:
        """Assign keys to the blocks that its first ``tokens`` fill."""
        while self.names is not None and request.named < tokens // self.block_size:
            self.names.label(request.blocks[request.named], request.key(request.named))
            request.named += 1

    def release(self, request: Request) -> None:
        """Free all blocks of ``request``; they have their keys until reallocated."""
        if self.names is not None:
            self.held[0] -= self.names.release(request.blocks)
        else:
            for kind, count in enumerate(request.held):
                self.held[kind] -= count
        request.blocks, request.held, request.named, request.reached = [], [], 0, 0


class Tiers:
    """What the blocks have lost, by key, in memories below them; the last used last."""

    def __init__(self, limits: Limits) -> None:
        self.write_through = limits.kv_write == "through"
        self._sizes = [tier.blocks for tier in limits.kv_tiers]
        self._most_loads = limits.most_loads
        self._loads = [OrderedDict[int, int]() for _ in limits.kv_tiers]
        """Of each key, counted to the most."""

    def first_with(self, key: int) -> int | None:
        """The nearest tier that has it."""
        return next((tier for tier, keys in enumerate(self._loads) if key in keys), None)

    def touch(self, tier: int, key: int) -> None:
        """Count a load."""
        loads = self._loads[tier]
        loads[key] = min(loads[key] + 1, self._most_loads)
        loads.move_to_end(key)

    def take(self, key: int) -> None:
        """Keep a key; what a full tier drops for it goes to the next, with its loads."""
        carried = 0
        for loads, size in zip(self._loads, self._sizes, strict=True):
            if key in loads:
                loads[key] = max(loads[key], carried)
                loads.move_to_end(key)
                return
            dropped = self._least(loads) if len(loads) == size else None
            lost = 0 if dropped is None else loads.pop(dropped)
            loads[key] = carried
            if dropped is None:
                return
            key, carried = dropped, lost

    def _least(self, loads: "OrderedDict[int, int]") -> int:
        """The key to drop: of those with the fewest loads the one used longest ago."""
        return min(loads, key=loads.__getitem__) if self._most_loads else next(iter(loads))


class NamedBlocks:
    """Blocks 0..blocks-1, their free list, and their keys."""

    def __init__(self, blocks: int, tiers: Tiers) -> None:
        self.tiers = tiers
        self.references = [0] * blocks
        self.free = OrderedDict.fromkeys(range(blocks))
        """Unreferenced blocks, next to be allocated first."""
        self.key_of: dict[int, int] = {}
        self.blocks_with: dict[int, dict[int, None]] = {}
        """Blocks of a key, the oldest first."""

    def first_with(self, key: int) -> int | None:
        """The block that has had ``key`` longest."""
        return next(iter(self.blocks_with.get(key, ())), None)

    def refer(self, block: int) -> bool:
        """Add a reference; true if it is the first."""
        self.free.pop(block, None)
        self.references[block] += 1
        return self.references[block] == 1

    def take(self) -> int:
        """Allocate the block at the head of the free list; it loses its key."""
        block, _ = self.free.popitem(last=False)
        if block in self.key_of:
            key = self.key_of.pop(block)
            carriers = self.blocks_with[key]
            del carriers[block]
            if not carriers and not self.tiers.write_through:
                self.tiers.take(key)
        self.references[block] = 1
        return block

    def label(self, block: int, key: int) -> None:
        """Assign ``key`` to a full block; other blocks may have the same."""
        self.key_of[block] = key
        if self.tiers.write_through:
            self.tiers.take(key)
        self.blocks_with.setdefault(key, {})[block] = None

    def release(self, blocks: list[int]) -> int:
        """Drop one reference of each, last block first; return the number of newly free ones.

        Blocks without a key go to the head of the free list, the others to its tail.
        """
        freed = []
        for block in reversed(blocks):
            self.references[block] -= 1
            if self.references[block] == 0:
                freed.append(block)
        for block in freed:
            self.free[block] = None
        for block in reversed([block for block in freed if block not in self.key_of]):
            self.free.move_to_end(block, last=False)
        return len(freed)
