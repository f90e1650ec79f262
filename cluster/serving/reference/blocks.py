"""The KV blocks of one replica: who holds which, and which prefix each still carries."""

from collections import OrderedDict

from cluster.serving.reference.request import Request


def ceil_div(dividend: int, divisor: int) -> int:
    """The exact quotient, rounded up."""
    return -(-dividend // divisor)


class BlockPool:
    """Blocks 0..blocks-1. Without prefix caching no request has keys, and names do not matter."""

    def __init__(self, blocks: int, block_size: int) -> None:
        self.block_size = block_size
        self.references = [0] * blocks
        self.free = OrderedDict.fromkeys(range(blocks))
        """Blocks that nobody references, next to be taken first."""
        self.key_of: dict[int, int] = {}
        self.block_with: dict[int, int] = {}

    @property
    def used(self) -> int:
        """Blocks that somebody references."""
        return len(self.references) - len(self.free)

    def blocks_for(self, tokens: int) -> int:
        return ceil_div(tokens, self.block_size)

    def cached_prefix(self, request: Request) -> list[int]:
        """Blocks that already hold the start of what ``request`` knows, its last token excepted."""
        hits: list[int] = []
        for key in request.keys[: (request.known - 1) // self.block_size]:
            if key not in self.block_with:
                break
            hits.append(self.block_with[key])
        return hits

    def has_room(self, new_blocks: int, hits: list[int]) -> bool:
        """Can ``new_blocks`` be taken beside the hits, some of which may lie in the free list?"""
        revived = sum(block in self.free for block in hits)
        return len(self.free) - revived >= new_blocks

    def share(self, request: Request, hits: list[int]) -> None:
        """Let ``request`` begin with blocks that are there already."""
        for block in hits:
            self.free.pop(block, None)
            self.references[block] += 1
        request.blocks = list(hits)
        request.computed = len(hits) * self.block_size

    def compute(self, request: Request, tokens: int) -> None:
        """Give ``request`` the blocks that its next ``tokens`` need, and fill them."""
        full_before = request.computed // self.block_size
        request.computed += tokens
        while len(request.blocks) < self.blocks_for(request.computed):
            request.blocks.append(self._take())
        full_now = request.computed // self.block_size
        for index in range(full_before, min(full_now, len(request.keys))):
            self._label(request.blocks[index], request.keys[index])

    def release(self, request: Request) -> None:
        """Take all blocks from ``request``; they keep their keys until somebody takes them."""
        for block in reversed(request.blocks):
            self.references[block] -= 1
            if self.references[block] == 0:
                self.free[block] = None
        request.blocks = []

    def _take(self) -> int:
        block, _ = self.free.popitem(last=False)
        if block in self.key_of:
            del self.block_with[self.key_of.pop(block)]
        self.references[block] = 1
        return block

    def _label(self, block: int, key: int) -> None:
        if key not in self.block_with:
            self.block_with[key] = block
            self.key_of[block] = key
