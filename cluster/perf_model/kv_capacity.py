"""KV capacity of a replica, counted separately for every kind of layer.

Layers with full context store every block of a sequence; layers with a window free the blocks
behind it. Their count is that of vLLM's admission, and at most one block per sequence more than in
its sliding-window manager (one batch in flight; ``cluster/serving/DESIGN.md`` describes the
difference with several).
"""

from dataclasses import dataclass
from typing import Self

import numpy as np

from corsair_common.units import Integers


def held_blocks(
    windows: Integers, tokens: Integers, chunk_tokens: int | Integers, block_size: int
) -> Integers:
    """[n, k] peak blocks of sequences of ``tokens[n]`` in layers of ``windows[k]``.

    ``chunk_tokens`` (of all, or [n, 1] of each) is the longest chunk; 1 for steady decoding. A
    window of w with a chunk of q tokens has ``ceil((w - 1 + q) / block_size) + 1`` blocks (the
    first of them may be partial); a state (STATE for a window) is one block for ever.
    """
    whole = -(-np.asarray(tokens, np.int64)[:, None] // block_size)
    behind = -(-(windows - 1 + chunk_tokens) // block_size) + 1
    return np.where(windows == 0, whole, np.minimum(whole, np.maximum(behind, 1)))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class KvCapacity:
    """One linear inequality per constraint: units x blocks held, summed over kinds, at most room.

    ``k`` runs over kinds of layers, ``m`` over constraints (the stages whose memory can be the
    bottleneck). If no layer has a window there is one kind, one constraint, and a unit is a block.
    """

    windows: Integers
    """[k] window of the layers of the kind in tokens; 0: full context; STATE: one block of a
    fixed size, not of tokens."""
    block_units: Integers
    """[m, k] units of one block of the kind, at least 0; not all 0 for any kind."""
    room_units: Integers
    """[m] available units. The first constraint is the one with the fewest long sequences: usage,
    fractions and KV in LPDDR are counted in its units."""
    sram_units: int
    """Part of ``room_units[0]`` in SRAM; the rest is in LPDDR."""

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
        """[n, k] peak blocks of sequences of ``tokens[n]`` during prefill and decode.

        ``chunk_tokens`` is the longest chunk.
        """
        return held_blocks(self.windows, tokens, chunk_tokens, block_size)

    def admits(self, tokens: Integers, chunk_tokens: int, block_size: int) -> np.ndarray:
        """[n] whether a sequence of ``tokens[n]`` fits an empty replica."""
        need = self.most_blocks(tokens, chunk_tokens, block_size) @ self.block_units.T
        return np.asarray((need <= self.room_units).all(axis=1))
