"""Energy of a disaggregated run: its pools, and the messages between them.

A message's joules, at both ends and on all links, are the sending card's, as a send's between
stages are.
"""

import numpy as np

from cluster.disaggregated.placement import PooledMachine
from cluster.disaggregated.run import PooledOutcome
from cluster.perf_model.energy.coefficients import message_joules
from cluster.perf_model.energy.totals import Spent, spent
from cluster.serving.tables import Columns, edges_ps
from corsair_common.units import Floats, Integers


def energy_of(machine: PooledMachine, outcome: PooledOutcome) -> Spent:
    """All cards, spare ones too."""
    first, second = machine.pools
    cards = first.cards.size, len(machine.routes.card_id) - first.cards.size
    whole = [
        spent(
            pool.joules,
            own.bins,
            cards=count,
            end_ps=own.end_ps,
        )
        for pool, own, count in zip((first, second), outcome.pools, cards, strict=True)
    ]
    messages = messages_j(machine, outcome)
    return Spent(
        parts=whole[0].parts,
        parts_j=whole[0].parts_j + whole[1].parts_j + messages.sum(axis=0),
        bin_j=whole[0].bin_j + whole[1].bin_j + messages.sum(axis=1),
        bin_s=whole[0].bin_s,
        lasted_s=whole[0].lasted_s,
    )


def messages_j(machine: PooledMachine, outcome: PooledOutcome) -> Floats:
    """[bin, parts] of all transfers."""
    sent = link_bytes(outcome)
    leaving = sum(_leaving(machine, sent).values(), np.zeros(len(sent), np.int64))
    return message_joules(machine.figures, machine.routes, sent, leaving)


def sender_shares(machine: PooledMachine, outcome: PooledOutcome) -> dict[int, Floats]:
    """[bin] by card of the prefill pool: its part of the bytes that leave cards in the bin."""
    leaving = _leaving(machine, link_bytes(outcome))
    total = sum(leaving.values(), np.zeros(1, np.int64))
    even = 1 / max(1, len(leaving))  # a bin may hold the last bytes of a link further on alone
    return {
        card: np.where(total > 0, own / np.maximum(total, 1), even) for card, own in leaving.items()
    }


def with_messages(
    part: Columns, share: Floats | None, joules: Floats, parts: tuple[str, ...]
) -> Columns:
    """A card's columns with its part of the messages' energy, ``joules[bin, parts]``."""
    if share is None:
        return part
    names = [f"energy_{name}_j" for name in parts]
    return part | {name: part[name] + share * joules[:, i] for i, name in enumerate(names)}


def link_bytes(outcome: PooledOutcome) -> Integers:
    """[bin, link] of all transfers, in the bins of the run."""
    moved = outcome.moved
    return rebinned(moved.link_bytes, moved.bin_ps, edges_ps(outcome.bins) - moved.start_ps)


def _leaving(machine: PooledMachine, sent: Integers) -> dict[int, Integers]:
    """[bin] bytes by the card of the prefill pool that sends them."""
    paths = {
        card: [machine.routes.bridge_link[card], machine.routes.up_links[card, 0]]
        for card in machine.pools[0].cards.ravel().tolist()
    }
    return {
        card: sent[:, [link for link in out if link >= 0]].sum(axis=1)
        for card, out in paths.items()
    }


def rebinned(sums: Integers, bin_ps: int, edges_ps: Integers) -> Integers:
    """[bin, ...] sums in other bins: even within each old bin, in whole bytes, none lost.

    ``edges_ps`` count from where the first old bin begins; what lies before or behind is left out.
    """
    total = np.concatenate([np.zeros_like(sums[:1]), np.cumsum(sums, axis=0)])
    old, part = np.divmod(np.clip(edges_ps, 0, len(sums) * bin_ps), bin_ps)
    after = np.minimum(old + 1, len(sums))
    share = (part / bin_ps)[:, None]
    reached = total[old] + np.floor((total[after] - total[old]) * share).astype(np.int64)
    moved: Integers = np.diff(reached, axis=0)
    return moved
