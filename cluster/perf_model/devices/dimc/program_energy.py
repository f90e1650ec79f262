"""Joules of a program's operations on a DIMC card, from what their columns say."""

import math

import numpy as np

from cluster.perf_model.devices.dimc.chiplet import Mode
from cluster.perf_model.devices.dimc.counters import COUNTS, LINE_BYTES, RECIPES, SIMD
from cluster.perf_model.devices.dimc.facts import PARTS, count_joules
from cluster.perf_model.devices.dimc.op_counts import kmacs_of_vector
from cluster.perf_model.devices.work import ProgramWork
from cluster.perf_model.protocols import Figures
from corsair_common.units import Floats


def work_joules(figures: Figures, weights: Mode, kv: Mode, work: ProgramWork) -> Floats:
    """[n, PARTS] of operations with stationary ``weights`` or ``kv``; no communication."""
    cost = count_joules(figures)
    part = {name: PARTS.index(name) for name in ("mac", "sram", "lpddr", "simd")}

    def each(mode: Mode) -> float:
        kind, kmacs = kmacs_of_vector(figures, mode)
        return float(cost[kind, part["mac"]]) * kmacs / (figures["dimc.rows"] * mode.columns)

    of_kind = cost[SIMD, part["simd"]]
    element_j = [
        math.fsum(float(np.dot(RECIPES[k], of_kind)) for k in kinds) for kinds in work.kinds
    ]
    line_j = cost[COUNTS.index("sram_lines"), part["sram"]]
    through = work.near_bytes + work.far_bytes  # which is written to SRAM first
    spent = np.zeros((len(work.macs), len(PARTS)))
    spent[:, part["mac"]] = work.macs * np.where(work.attends, each(kv), each(weights))
    spent[:, part["sram"]] = through * (line_j / LINE_BYTES)
    spent[:, part["lpddr"]] = work.far_bytes * cost[COUNTS.index("lpddr_bytes"), part["lpddr"]]
    spent[:, part["simd"]] = work.elements * np.array(element_j, np.float64)[work.name]
    return spent
