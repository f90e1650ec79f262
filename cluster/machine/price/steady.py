"""A full pipeline in steady decode, in closed form: what calibration and quick looks need."""

from dataclasses import dataclass

import numpy as np

from cluster.machine.attention import BLOCK_TOKENS, attention_by_bound
from cluster.machine.tables import BOUNDS, Integers, PriceTables


@dataclass(frozen=True, slots=True, kw_only=True)
class SteadyDecode:
    """Every sequence of a replica emits one token per cycle."""

    cycle_ps: int
    """Between two tokens of a sequence: TPOT."""
    loop_ps: int
    """A slot alone: all stages, all sends and the way back."""
    slowest_stage_ps: int
    """All slots, one after the other, at the slowest stage."""
    loop_by_bound_ps: Integers
    """[6] the longest slot's loop by what bounds it, in the order of BOUNDS; sends and the way
    back are network."""
    batch: int

    @property
    def tpot_s(self) -> float:
        return self.cycle_ps * 1e-12

    @property
    def tokens_per_s(self) -> float:
        """Of the replica."""
        return self.batch / self.tpot_s


def steady_decode(
    prices: PriceTables, *, batch: int, context: int, replica: int = 0
) -> SteadyDecode:
    """``batch`` sequences of ``context`` tokens spread over the slots of one replica.

    A slot may start again when its own loop is over and all others have passed the slowest stage;
    so the cycle is the longer of the longest loop and the largest sum of slots over one stage.
    """
    stages = prices.stages
    sizes = [batch // stages + (slot < batch % stages) for slot in range(stages)]
    splits = {size: _split(prices, size, context, replica) for size in set(sizes) if size}
    classes = prices.stage_class[replica]
    heads = {size: prices.head_by_bound_ps[classes, size].sum(axis=-1) for size in splits}
    work = {
        size: np.maximum(split.sum(axis=1) - heads[size], _floor(prices, size, replica))
        + heads[size]
        for size, split in splits.items()
    }
    between = {size: _between(prices, size, replica) for size in splits}
    loops = {size: int(work[size].sum()) + between[size] for size in splits}
    longest = max(loops, key=lambda size: loops[size])
    slowest = int(sum(work[size] for size in sizes if size).max())
    by_bound = splits[longest].sum(axis=0)
    by_bound[BOUNDS.index("network")] += between[longest]
    by_bound[BOUNDS.index("lpddr")] += loops[longest] - int(by_bound.sum())
    return SteadyDecode(
        cycle_ps=max(loops[longest], slowest),
        loop_ps=loops[longest],
        slowest_stage_ps=slowest,
        loop_by_bound_ps=by_bound,
        batch=batch,
    )


def measures_of(window: int, size: int, context: int) -> tuple[int, int, int, int]:
    """What ``size`` decoding rows of one context see: the arguments of ``attention_ps``."""
    blocks = -(-context // BLOCK_TOKENS)
    if not window:
        return size * blocks, 0, 0, 0
    windowed = min(blocks, -(-window // BLOCK_TOKENS) + 1)
    return size * blocks, 0, size * windowed, 0


def _split(prices: PriceTables, size: int, context: int, replica: int) -> Integers:
    """[stage, 6] work of one slot's step, before the LPDDR floor."""
    classes = prices.stage_class[replica]
    measures = np.array([measures_of(prices.window_tokens, size, context)])
    split: Integers = prices.linear_by_bound_ps[classes, size].copy()
    split += prices.head_by_bound_ps[classes, size]
    split[:, BOUNDS.index("network")] += prices.collective_ps[classes, size]
    for stage, chosen in enumerate(classes):
        split[stage] += attention_by_bound(prices.attention[chosen], measures)[0]
    return split


def _floor(prices: PriceTables, size: int, replica: int) -> Integers:
    floor_ps: Integers = prices.floor_ps[prices.stage_class[replica], size]
    return floor_ps


def _between(prices: PriceTables, size: int, replica: int) -> int:
    sends = prices.send_ps[prices.stage_class[replica], size]
    return int(sends.sum() + prices.return_ps[replica])
