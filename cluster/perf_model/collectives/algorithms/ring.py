"""n - 1 rounds to the neighbour, in the order of the topology."""

import numpy as np

from cluster.perf_model.collectives.algorithms.rounds import HALVES, Round, flat, halves


def _rounds(collective: str, ranks: int) -> list[Round]:
    rank, part, times = np.arange(ranks), 1 / ranks, ranks - 1
    target = (rank + 1) % ranks
    scatter = Round(source=rank, target=target, share=part, added=part, times=times)
    gather = Round(source=rank, target=target, share=part, times=times)
    return halves(collective, [scatter], [gather])


ALGORITHM = flat(HALVES, _rounds)
