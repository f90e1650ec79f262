"""Structured sparsity as storage: of every 8 neighbours the largest 4 or 2, packed, and a mask.

The kept ones of a row stand side by side, and the format's blocks are cut from those; so a scale is
shared by 16 kept elements of 32 (4:8) or 64 (2:8), which is where 3.25 bits for SBFP12_16 with
4:8 come from: (4 + 8/16) / 2 + 1. Of equal magnitudes the first are kept.
"""

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from workloads.formats.chunks import PIECE, Reals
from workloads.formats.format import GROUP, Format

Mask = npt.NDArray[np.bool_]


def pruned(matrix: Reals, kept: int, mask: Mask | None = None) -> Reals:
    """Zeros for all but the ``kept`` largest of every 8 along a row; ``mask[row, j]`` tells which.

    A short group at the end of a row keeps as many, or all.
    """
    rows, k = matrix.shape
    left = np.empty_like(matrix)
    whole = k - k % GROUP
    for columns, width in ((slice(0, whole), GROUP), (slice(whole, k), k - whole)):
        length = columns.stop - columns.start
        tall = max(1, PIECE // max(1, length))
        for first in range(0, rows if length else 0, tall):
            here = slice(first, first + tall), columns
            part = matrix[here]
            among = _largest(np.abs(part).reshape(-1, width), kept).reshape(part.shape)
            left[here] = np.where(among, part, 0)
            if mask is not None:
                mask[here] = among
    return left


def spread(item: Format) -> Format:
    """The dense format whose blocks are those of a sparse one where its kept elements stood.

    A block of 16 kept ones of 4:8 is cut from 32 neighbours, all but 16 of them zeros. What shares
    nothing has no blocks.
    """
    block = item.block * GROUP // item.kept if item.is_block else 1
    return replace(item, block=block, kept=GROUP)


def _largest(groups: Reals, kept: int) -> Mask:
    """[group, lane] by counting, for each lane, the lanes that go before it."""
    lanes = np.ascontiguousarray(groups.T)
    ahead = np.zeros(lanes.shape, np.uint8)
    for right in range(1, len(lanes)):
        first = (lanes[:right] >= lanes[right]).view(np.uint8)
        ahead[right] += np.add.reduce(first, axis=0, dtype=np.uint8)
        first ^= 1
        ahead[:right] += first
    return np.ascontiguousarray((ahead < kept).T)
