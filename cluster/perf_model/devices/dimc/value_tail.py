"""V's last block, which stays FP16 until its 64 tokens are full: what PV takes longer for it."""

from typing import TYPE_CHECKING

import numpy as np

from cluster.perf_model.attention import Heads
from cluster.perf_model.devices.dimc.chiplet import MAC, STREAM, Mode, picoseconds
from cluster.perf_model.devices.dimc.op_counts import tail_counts
from cluster.perf_model.devices.work import Operation
from corsair_common.units import Integers

if TYPE_CHECKING:
    from cluster.perf_model.devices.dimc.device import DimcCard


def value_tail(card: "DimcCard", heads: Heads, tokens: Integers) -> Operation:
    """Extra passes of PV over V's tail block, FP16 until full; part of the dispatch of PV.

    Tokens count as decode rows, each with its own tail, distributed evenly over the chiplets
    that share a head's context.
    """
    chiplet, queries = card.chiplet, heads.queries_per_kv_head

    def passes(mode: Mode) -> int:
        tiles = -(-heads.value_dim // mode.columns)
        return tiles * -(-queries * mode.clocks_per_vector // chiplet.load_clocks)

    extra = max(0, passes(card.tail_mode) - passes(card.kv_mode))
    rows = -(-tokens // heads.parts(card.units)) * heads.per_unit(card.units)
    rounds = -(-rows * extra // chiplet.cores)
    ps = picoseconds(chiplet, np.asarray(rounds * chiplet.load_clocks, np.float64))
    full = queries * card.tail_mode.clocks_per_vector >= chiplet.load_clocks
    return Operation(
        name="V tail",
        ps=ps,
        bound=np.full(ps.shape, MAC if full else STREAM),
        far_ps=np.zeros_like(ps),
        counts=tail_counts(card.figures, card.units, card.tail_mode, heads, rows * extra, tokens),
        dispatches=0,
    )
