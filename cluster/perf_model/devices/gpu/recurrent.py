"""States of recurrent layers on a GPU: a fused kernel, with the constants of attention's.

A decode row reads and writes its state once, and has the step's multiply-adds. A chunk does so at
its ends, and writes and reads a state in 16 bits after each 64 tokens, as the kernels of
flash-linear-attention do, beside the multiply-adds of the scan (``workloads.model.scan``).
"""

import numpy as np

from cluster.perf_model.attention import WIDTH, StateHeads
from cluster.perf_model.devices.gpu.constants import Kernel
from cluster.perf_model.devices.gpu.facts import COUNTS, LINES, MEMORY, TENSOR, TENSOR_COUNTS, UNITS
from cluster.perf_model.devices.gpu.kernels import OUTPUT_BYTES, fused_records
from cluster.perf_model.tables import (
    DECODE_BLOCKS,
    PREFILL_BLOCKS,
    PREFILL_PAIRS,
    PREFILL_PASSES,
    Records,
)
from corsair_common.units import PS_PER_S, Integers
from workloads.model.scan import SCAN_TOKENS, macs_of, scan_products, step_elements, step_macs


def moved_bytes(states: StateHeads) -> tuple[float, float]:
    """Of a decode row (or of the ends of a chunk), and of each 64 tokens of a chunk."""
    between = 2.0 * OUTPUT_BYTES * states.heads * step_elements(states.attention)
    return 2.0 * states.state_bytes, between


def token_flop(states: StateHeads) -> tuple[float, float]:
    """Of a decode row, and of a token of a chunk."""
    a = states.attention
    scan = macs_of(scan_products(a), states.heads, states.groups) / SCAN_TOKENS
    return 2.0 * step_macs(a, states.heads), 2.0 * scan


def state_records(kernel: Kernel, states: StateHeads, *, layers: int, kind: int) -> Records:
    """[3] records: the fused kernel, and two of nothing."""
    rows = fused_records(kernel, layers=layers, kind=kind)
    row_bytes, between_bytes = moved_bytes(states)
    row_flop, scan_flop = token_flop(states)
    row_s, work_s = row_bytes / kernel.bytes_per_s, row_flop / kernel.flop_per_s
    fused = rows[0]
    fused["a_decode_blocks"] = max(row_s, work_s) * PS_PER_S
    fused["a_prefill_blocks"] = row_s * PS_PER_S
    fused["a_prefill_passes"] = between_bytes / kernel.bytes_per_s * PS_PER_S
    fused["a_prefill_pairs"] = scan_flop / kernel.flop_per_s * PS_PER_S
    fused["decode_bound"] = MEMORY if row_s >= work_s else TENSOR
    return rows


def state_counts(states: StateHeads) -> Integers:
    """[MEASURES, COUNTS] of one of each measure, one layer; multiplied in 16 bits."""
    counts = np.zeros((WIDTH, len(COUNTS)), np.int64)
    wide = TENSOR_COUNTS[16]
    row_bytes, between_bytes = moved_bytes(states)
    row_flop, scan_flop = token_flop(states)
    counts[[DECODE_BLOCKS, PREFILL_BLOCKS], LINES] = round(row_bytes / UNITS[LINES])
    counts[PREFILL_PASSES, LINES] = round(between_bytes / UNITS[LINES])
    counts[DECODE_BLOCKS, wide] = round(row_flop / UNITS[wide])
    counts[PREFILL_PAIRS, wide] = round(scan_flop / UNITS[wide])
    return counts
