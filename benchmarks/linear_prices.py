"""Price tables of which only linear layers take time: queues, hand-made cases, recorded problems.

The serving engines cannot tell them from the tables of a machine.
"""

import numpy as np

from cluster.perf_model.attention import ATTENTION, WIDTH
from cluster.perf_model.devices.dimc import BOUNDS
from cluster.perf_model.devices.dimc.counters import COUNTS
from cluster.perf_model.tables import KIND, PriceTables
from corsair_common.units import Integers


def linear_prices(
    linear_ps: Integers, max_num_seqs: int, stage_class: Integers, return_ps: int = 0
) -> PriceTables:
    """A step of ``t`` tokens works ``linear_ps[c, t]`` on a stage of class c, and no more.

    ``stage_class`` is [replica, stage]; nothing lies between two stages, and the tokens of a step
    are back after ``return_ps``.
    """
    classes, entries = linear_ps.shape
    nothing = np.zeros((classes, entries), np.int64)
    return PriceTables(
        linear_ps=linear_ps,
        collective_ps=nothing,
        floor_ps=nothing,
        send_ps=nothing,
        head_ps=np.zeros((classes, max_num_seqs + 1), np.int64),
        attention=np.zeros((classes, 1), ATTENTION),
        linear_by_bound_ps=np.zeros((classes, entries, len(BOUNDS)), np.int64),
        head_by_bound_ps=np.zeros((classes, max_num_seqs + 1, len(BOUNDS)), np.int64),
        collective_bytes=np.zeros((classes, entries, 1), np.int64),
        send_bytes=nothing,
        token_counts=np.zeros((classes, entries, len(COUNTS)), np.int64),
        head_counts=np.zeros((classes, max_num_seqs + 1, len(COUNTS)), np.int64),
        attention_counts=np.zeros((classes, WIDTH, len(COUNTS)), np.int64),
        stage_class=stage_class,
        return_ps=np.full(len(stage_class), return_ps, np.int64),
        far_block_ps=np.zeros((classes, 1)),
        kinds=np.array([(0, 8, 64, 0)], KIND),
        bounds=BOUNDS,
        far_bound=BOUNDS.index("lpddr"),
    )
