"""Energy of a disaggregated run: its pools, and the messages between them.

The sending card accounts for a message's joules at both ends, on all links and in conversion, as
for sends between stages.
"""

from dataclasses import replace

import numpy as np

from cluster.disaggregated.placement import PooledMachine
from cluster.disaggregated.run import PooledOutcome
from cluster.perf_model.devices import module_of
from cluster.perf_model.energy.totals import Spent, facility_w, spent
from cluster.serving.tables import Columns, edges_ps
from corsair_common.units import BYTE_BITS, Floats, Integers
from topology.types import LinkKind


def energy_of(machine: PooledMachine, outcome: PooledOutcome) -> Spent:
    """All cards, spare ones too."""
    (first, second), messages = _worked(machine, outcome), messages_j(machine, outcome)
    return replace(
        first,
        parts_j=first.parts_j + second.parts_j + messages.sum(axis=0),
        bin_j=first.bin_j + second.bin_j + messages.sum(axis=1),
    )


def spent_of_pools(machine: PooledMachine, outcome: PooledOutcome) -> tuple[Spent, Spent]:
    """The cards counted to each pool; messages are the first pool's."""
    (first, second), messages = _worked(machine, outcome), messages_j(machine, outcome)
    first = replace(
        first,
        parts_j=first.parts_j + messages.sum(axis=0),
        bin_j=first.bin_j + messages.sum(axis=1),
    )
    return first, second


def _worked(machine: PooledMachine, outcome: PooledOutcome) -> tuple[Spent, Spent]:
    """The cards counted to each pool without messages, by the parts of both."""
    cards = np.bincount(machine.owner, minlength=2).tolist()
    first, second = (
        spent(pool.joules, own.bins, cards=count, end_ps=own.end_ps)
        for pool, own, count in zip(machine.pools, outcome.pools, cards, strict=True)
    )
    parts = machine.parts
    return (
        replace(first, parts=parts, parts_j=placed(first.parts_j, first.parts, parts)),
        replace(second, parts=parts, parts_j=placed(second.parts_j, second.parts, parts)),
    )


def facility_power(
    machine: PooledMachine, outcome: PooledOutcome
) -> list[tuple[dict[str, float], float]] | None:
    """Mean watts of the facility by part, and all together: of all cards, or of each pool's where
    servers are of two kinds. None for a run of no time."""
    spent_by = (
        [energy_of(machine, outcome)]
        if len(machine.facilities) == 1
        else [*spent_of_pools(machine, outcome)]
    )
    found = [
        facility_w(facility, each)
        for facility, each in zip(machine.facilities, spent_by, strict=True)
    ]
    known = [each for each in found if each is not None]
    return known if len(known) == len(found) else None


def messages_j(machine: PooledMachine, outcome: PooledOutcome) -> Floats:
    """[bin, parts] of all transfers: links, memories read and written at the ends, conversion."""
    sent = link_bytes(outcome)
    leaving = sum(_leaving(machine, sent).values(), np.zeros(len(sent), np.int64))
    parts = machine.parts
    spent_j = leaving[:, None] * sent_byte_j(machine)
    part_of_link = module_of(machine.kv.figures[0]).PART_OF_LINK
    for link in np.flatnonzero(sent.any(axis=0)).tolist():
        part = part_of_link.get(LinkKind(int(machine.routes.link_kind[link])))
        if part is not None:
            per_bit = float(machine.routes.link_energy_j_per_bit[link])
            spent_j[:, parts.index(part)] += sent[:, link] * (BYTE_BITS * per_bit)
    return spent_j


def sent_byte_j(machine: PooledMachine) -> Floats:
    """[parts] at the cards: read at the source, written at the target, converted at either."""
    parts, total = machine.parts, np.zeros(len(machine.parts))
    for figures in machine.kv.figures:  # of a device's own ends, half is the reading
        module = module_of(figures)
        total += placed(module.ends_joules(figures) / 2, module.PARTS, parts)
    conversion = machine.kv.conversion
    if conversion is not None:
        own = module_of(conversion.figures).PARTS
        total += placed(conversion.joules_per_byte(machine.kv.shares), own, parts)
    return total


def placed(spent_j: Floats, own: tuple[str, ...], parts: tuple[str, ...]) -> Floats:
    """[..., parts] the same amounts with the parts of other devices, which are 0."""
    found = np.zeros((*spent_j.shape[:-1], len(parts)))
    found[..., [parts.index(name) for name in own]] = spent_j
    return found


def sender_shares(machine: PooledMachine, outcome: PooledOutcome) -> dict[int, Floats]:
    """[bin] by card of the prefill pool: its share of the bytes sent in the bin."""
    leaving = _leaving(machine, link_bytes(outcome))
    total = sum(leaving.values(), np.zeros(1, np.int64))
    even = 1 / max(1, len(leaving))  # a bin may have only the last bytes of a later link
    return {
        card: np.where(total > 0, own / np.maximum(total, 1), even) for card, own in leaving.items()
    }


def with_messages(
    part: Columns, share: Floats | None, joules: Floats, parts: tuple[str, ...]
) -> Columns:
    """A card's columns with its share of the messages' energy, ``joules[bin, parts]``."""
    if share is None:
        return part
    names = [f"energy_{name}_j" for name in parts]
    own = {name: part.get(name, 0.0) + share * joules[:, i] for i, name in enumerate(names)}
    return part | own


def link_bytes(outcome: PooledOutcome) -> Integers:
    """[bin, link] of all transfers, in the bins of the run."""
    transfers = outcome.transfers
    return rebinned(
        transfers.link_bytes, transfers.bin_ps, edges_ps(outcome.bins) - transfers.start_ps
    )


def _leaving(machine: PooledMachine, sent: Integers) -> dict[int, Integers]:
    """[bin] bytes by sending card of the prefill pool."""
    paths = {
        card: [machine.routes.bridge_link[card], machine.routes.up_links[card, 0]]
        for card in machine.pools[0].cards.ravel().tolist()
    }
    return {
        card: sent[:, [link for link in out if link >= 0]].sum(axis=1)
        for card, out in paths.items()
    }


def rebinned(sums: Integers, bin_ps: int, edges_ps: Integers) -> Integers:
    """[bin, ...] sums in other bins: uniform within each old bin, in whole bytes, conserved.

    ``edges_ps`` count from the start of the first old bin; times outside the old bins have no sums.
    """
    total = np.concatenate([np.zeros_like(sums[:1]), np.cumsum(sums, axis=0)])
    old, part = np.divmod(np.clip(edges_ps, 0, len(sums) * bin_ps), bin_ps)
    after = np.minimum(old + 1, len(sums))
    share = (part / bin_ps)[:, None]
    reached = total[old] + np.floor((total[after] - total[old]) * share).astype(np.int64)
    in_bins: Integers = np.diff(reached, axis=0)
    return in_bins
