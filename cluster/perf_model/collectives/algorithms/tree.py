"""The whole vector up a binomial tree to rank 0, and down again."""

import numpy as np

from cluster.perf_model.collectives.algorithms.rounds import Round, flat


def _rounds(collective: str, ranks: int) -> list[Round]:
    up, down = [], []
    for k in range((ranks - 1).bit_length()):
        child = np.arange(1 << k, ranks, 2 << k)
        parent = child - (1 << k)
        up.append(Round(source=child, target=parent, share=1.0, added=1.0))
        down.append(Round(source=parent, target=child, share=1.0))
    return [*up, *down[::-1]] if collective == "all_reduce" else down[::-1]


ALGORITHM = flat(("all_reduce", "broadcast"), _rounds)
