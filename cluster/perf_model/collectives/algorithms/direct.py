"""Every rank sends a part to every other at once."""

from cluster.perf_model.collectives.algorithms.rounds import HALVES, Round, all_pairs, flat, halves


def _rounds(collective: str, ranks: int) -> list[Round]:
    source, target = all_pairs(ranks)
    scatter = Round(source=source, target=target, share=1 / ranks, added=(ranks - 1) / ranks)
    gather = Round(source=source, target=target, share=1 / ranks)
    return [gather] if collective == "all_to_all" else halves(collective, [scatter], [gather])


ALGORITHM = flat((*HALVES, "all_to_all"), _rounds)
