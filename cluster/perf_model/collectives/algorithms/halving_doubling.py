"""Halves to the nearest partner first, quarters to the next, and back.

Ranks beyond the largest power of two send their data to a partner before, and receive the result
from it after.
"""

import numpy as np

from cluster.perf_model.collectives.algorithms.rounds import HALVES, Round, flat, halves


def _rounds(collective: str, ranks: int) -> list[Round]:
    doublings = ranks.bit_length() - 1
    rank = np.arange(1 << doublings)
    scatter, gather = [], []
    for k in range(doublings):
        partner, share = rank ^ (1 << k), 0.5 ** (k + 1)
        scatter.append(Round(source=rank, target=partner, share=share, added=share))
        gather.append(Round(source=rank, target=partner, share=share))
    core = halves(collective, scatter, gather[::-1])
    further, partner = np.arange(rank.size, ranks), np.arange(ranks - rank.size)
    if not further.size:
        return core
    enter = 1 / ranks if collective == "all_gather" else 1.0
    leave = 1 / ranks if collective == "reduce_scatter" else 1.0
    added = 0.0 if collective == "all_gather" else 1.0
    before = Round(source=further, target=partner, share=enter, added=added)
    return [before, *core, Round(source=partner, target=further, share=leave)]


ALGORITHM = flat(HALVES, _rounds)
