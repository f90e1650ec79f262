"""How much KV a replica has room for, counted apart for every kind of layer.

Layers that see the whole context keep every block of a sequence; layers that see a window of it
free what lies behind the window. What is counted for them is what vLLM's admission counts, and at
most one block of a sequence more than its sliding-window manager holds (one batch in flight;
``cluster/serving/DESIGN.md`` says what differs with several).
"""

from dataclasses import dataclass
from typing import Self

import numpy as np

from corsair_common.units import Integers


def held_blocks(
    windows: Integers, tokens: Integers, chunk_tokens: int | Integers, block_size: int
) -> Integers:
    """[n, k] most blocks that layers of ``windows[k]`` keep of sequences of ``tokens[n]``.

    ``chunk_tokens`` (of all, or [n, 1] of each) is the longest chunk; 1 for steady decoding. A
    window of w holds, beside a chunk of q tokens, ``ceil((w - 1 + q) / block_size) + 1`` blocks
    (the first of them may be begun).
    """
    whole = -(-np.asarray(tokens, np.int64)[:, None] // block_size)
    behind = -(-(windows - 1 + chunk_tokens) // block_size) + 1
    return np.where(windows == 0, whole, np.minimum(whole, behind))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class KvCapacity:
    """One linear inequality per constraint: units x blocks held, summed over kinds, at most room.

    ``k`` runs over kinds of layers, ``m`` over constraints (the stages whose memory can be the one
    that runs out first). Where no layer has a window there is one kind, one constraint, and a unit
    is a block.
    """

    windows: Integers
    """[k] tokens that the layers of the kind see; 0: the whole context."""
    block_units: Integers
    """[m, k] what one block of the kind takes, at least 0; kind by kind not all 0."""
    room_units: Integers
    """[m] what there is. The first constraint is the one that fits the fewest long sequences:
    use, fractions and what lies in LPDDR are counted in its units."""
    sram_units: int
    """Of ``room_units[0]``, what lies in SRAM; the rest lies in LPDDR."""

    @classmethod
    def of_blocks(cls, blocks: int, sram_blocks: int) -> Self:
        """One kind of layers, counted in blocks."""
        return cls(
            windows=np.zeros(1, np.int64),
            block_units=np.ones((1, 1), np.int64),
            room_units=np.array([blocks], np.int64),
            sram_units=min(sram_blocks, blocks),
        )

    def most_blocks(self, tokens: Integers, chunk_tokens: int, block_size: int) -> Integers:
        """[n, k] most blocks that sequences of ``tokens[n]`` hold while they are read and written.

        ``chunk_tokens`` is the longest chunk.
        """
        return held_blocks(self.windows, tokens, chunk_tokens, block_size)

    def admits(self, tokens: Integers, chunk_tokens: int, block_size: int) -> np.ndarray:
        """[n] whether a sequence of ``tokens[n]`` fits an empty replica."""
        need = self.most_blocks(tokens, chunk_tokens, block_size) @ self.block_units.T
        return np.asarray((need <= self.room_units).all(axis=1))
