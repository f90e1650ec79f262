"""Steady-state decode of a full pipeline in closed form, equal to the engine's to the picosecond.

For calibration, published points and tests: equal sequences decode without arrivals and ends. The
estimate of a scenario with traffic is ``cluster.studies.plan.estimate``.
"""

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from cluster.perf_model.attention import (
    BLOCK_TOKENS,
    WIDTH,
    attention_by_bound,
    attention_ps,
    decode_measures,
    fetch_ps,
    reach,
    worked_ps,
)
from cluster.perf_model.kv_capacity import KvCapacity, held_blocks
from cluster.perf_model.tables import (
    DECODE_BLOCKS,
    FAR_BLOCKS,
    PREFILL_BLOCKS,
    PREFILL_PAIRS,
    PREFILL_PASSES,
    PriceTables,
    Records,
)
from corsair_common.names import STATE
from corsair_common.units import Integers


@dataclass(frozen=True, slots=True, kw_only=True)
class SteadyDecode:
    """Every sequence of a replica emits one token per cycle."""

    cycle_ps: int
    """Between two tokens of a sequence: TPOT."""
    loop_ps: int
    """A slot alone: all stages, all sends and the return."""
    stage_ps: Integers
    """[stage] all slots in sequence at each stage."""
    loop_by_bound_ps: Integers
    """[bound] the longest slot's loop by bound; sends and the return are network."""
    batch: int

    @property
    def slowest_stage_ps(self) -> int:
        """All slots in sequence at the slowest stage."""
        return int(self.stage_ps.max())

    @property
    def tpot_s(self) -> float:
        return self.cycle_ps * 1e-12

    @property
    def tokens_per_s(self) -> float:
        """Of the replica."""
        return self.batch / self.tpot_s


def steady_decode(
    prices: PriceTables,
    *,
    batch: int,
    context: int,
    replica: int = 0,
    room: tuple[KvCapacity, int] | None = None,
) -> SteadyDecode:
    """``batch`` sequences of ``context`` tokens spread over the slots of one replica.

    A slot may start again when its own loop has ended and all others have passed the slowest stage;
    so the cycle is the longer of the longest loop and the largest sum of slots over one stage.
    ``room`` for KV and the tokens of its blocks determine the KV in LPDDR (None: none).
    """
    stages = prices.stages
    sizes = [batch // stages + (slot < batch % stages) for slot in range(stages)]
    splits = {size: _split(prices, size, context, replica) for size in set(sizes) if size}
    classes = prices.stage_class[replica]
    heads = {size: prices.head_by_bound_ps[classes, size].sum(axis=-1) for size in splits}
    outside = _outside(room, batch, context)
    work = {
        size: _worked(prices, classes, split.sum(axis=1) - heads[size], (size, context), outside)
        + heads[size]
        for size, split in splits.items()
    }
    between = {size: _between(prices, size, replica) for size in splits}
    loops = {size: int(work[size].sum()) + between[size] for size in splits}
    longest = max(loops, key=lambda size: loops[size])
    each = np.sum([work[size] for size in sizes if size], axis=0)
    by_bound = splits[longest].sum(axis=0)
    by_bound[prices.bounds.index("network")] += between[longest]
    by_bound[prices.far_bound] += loops[longest] - int(by_bound.sum())
    return SteadyDecode(
        cycle_ps=max(loops[longest], int(each.max())),
        loop_ps=loops[longest],
        stage_ps=each,
        loop_by_bound_ps=by_bound,
        batch=batch,
    )


def prompt_stages_ps(prices: PriceTables, *, tokens: int, replica: int = 0) -> Integers:
    """[stage] one prompt of ``tokens`` read in one step that holds nothing else, KV in near memory.

    Alone, its first token comes after their sum and ``sends_ps``.
    """
    classes = prices.stage_class[replica]
    measures = _prompt_measures(prices.kinds, tokens)
    nothing = np.zeros_like(measures)
    return np.array(
        [
            worked_ps(
                prices.ahead,
                int(prices.linear_ps[c, tokens] + prices.collective_ps[c, tokens])
                + int(attention_ps(prices.attention[c], measures)),
                int(prices.floor_ps[c, tokens]),
                fetch_ps(prices.far_block_ps[c], nothing),
            )
            + int(prices.head_ps[c, 1])
            for c in classes.tolist()
        ],
        np.int64,
    )


def _prompt_measures(kinds: Records, tokens: int) -> Integers:
    """[kinds x MEASURES] of a prompt of ``tokens`` that is read in one step (dtype KIND)."""
    found = np.zeros((len(kinds), WIDTH), np.int64)
    blocks = -(-tokens // BLOCK_TOKENS)
    for row, kind in zip(found, kinds, strict=True):
        window, picked = int(kind["window"]), int(kind["picked"])
        each = min(blocks, reach(window + tokens - 1 if window > 0 else window, picked))
        seen = 1 if window == STATE else min(tokens, picked or window or tokens)
        row[PREFILL_BLOCKS] = min(blocks, each * tokens) if picked else each
        clocks = tokens * int(kind["clocks_per_query"])
        row[PREFILL_PASSES] = each * -(-clocks // int(kind["clocks_per_pass"]))
        row[PREFILL_PAIRS] = seen * (seen + 1) // 2 + (tokens - seen) * seen
    return found.ravel()


def sends_ps(prices: PriceTables, size: int, replica: int = 0) -> int:
    """All sends of a step of ``size`` tokens between its stages."""
    return int(prices.send_ps[prices.stage_class[replica], size].sum())


def _outside(
    room: tuple[KvCapacity, int] | None, batch: int, context: int
) -> tuple[Fraction, Fraction | None]:
    """Fractions of the KV of full and of windowed layers in LPDDR.

    None for windowed layers if they have the same blocks as the others. Blocks inside a window are
    the last in LPDDR.
    """
    if room is None:
        return Fraction(0), None
    capacity, block_size = room
    held = held_blocks(capacity.windows, np.array([context]), 1, block_size)[0]
    units = batch * capacity.block_units[0] * held
    over = max(0, int(units.sum()) - capacity.sram_units)
    full = int(units[capacity.windows == 0].sum())
    windowed = int(units.sum()) - full
    of_full = Fraction(min(over, full), full) if full else Fraction(0)
    if not capacity.windows.any():
        return of_full, None
    return of_full, Fraction(max(0, over - full), windowed) if windowed else Fraction(0)


def _split(prices: PriceTables, size: int, context: int, replica: int) -> Integers:
    """[stage, bound] work of one slot's step, before the LPDDR floor."""
    classes = prices.stage_class[replica]
    measures = decode_measures(prices.kinds, size, context)[None]
    split: Integers = prices.linear_by_bound_ps[classes, size].copy()
    split += prices.head_by_bound_ps[classes, size]
    split[:, prices.bounds.index("network")] += prices.collective_ps[classes, size]
    for stage, chosen in enumerate(classes):
        split[stage] += attention_by_bound(prices.attention[chosen], measures, len(prices.bounds))[
            0
        ]
    return split


def _worked(
    prices: PriceTables,
    classes: Integers,
    busy_ps: Integers,
    step: tuple[int, int],
    outside: tuple[Fraction, Fraction | None],
) -> Integers:
    """[stage] work without the head, for a step of (rows, context) with these parts in LPDDR."""
    size, context = step
    of_full, of_windowed = outside
    written = -(-size // BLOCK_TOKENS)
    measures = decode_measures(prices.kinds, size, context)
    seen = measures[DECODE_BLOCKS::WIDTH]
    far_blocks = math.ceil((int(seen[0]) + written) * of_full)
    for kind, own in enumerate(seen.tolist()):
        if of_windowed is None:
            far = max(0, far_blocks - (int(seen[0]) - own)) if of_full else 0
        else:
            part = of_windowed if prices.kinds["window"][kind] else of_full
            far = math.ceil((own + written) * part)
        measures[kind * WIDTH + FAR_BLOCKS] = far
    return np.array(
        [
            worked_ps(
                prices.ahead,
                int(busy_ps[stage]),
                int(prices.floor_ps[chosen, size]),
                fetch_ps(prices.far_block_ps[chosen], measures),
            )
            for stage, chosen in enumerate(classes.tolist())
        ],
        np.int64,
    )


def _between(prices: PriceTables, size: int, replica: int) -> int:
    return sends_ps(prices, size, replica) + int(prices.return_ps[replica])
