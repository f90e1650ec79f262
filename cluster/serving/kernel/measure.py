"""What a step is made of, summed up while it is scheduled: the measures that its price needs."""

from typing import Any

from cluster.compiled import inlined
from cluster.machine.attention import BLOCK_TOKENS
from cluster.serving.kernel.pool import used_units
from cluster.serving.kernel.state import State


@inlined
def seen_blocks(window: int, tokens: int) -> int:
    """Most 64-token blocks that the queries of ``tokens`` tokens see through a window; 0 without.

    The first of them may be begun.
    """
    if window == 0:
        return 0
    return (window + tokens - 1 + BLOCK_TOKENS - 1) // BLOCK_TOKENS + 1


@inlined
def count_decodes(control: Any, rows: int, finished: int, blocks: int, windowed: int) -> None:
    """Add decode rows, which read so many blocks in all."""
    control["decoding"] += rows
    control["emitted"] += rows
    control["finished"] += finished
    control["decode_blocks"] += blocks
    control["decode_blocks_windowed"] += windowed
    control["seen"] += blocks
    control["seen_windowed"] += windowed


@inlined
def count_chunk(control: Any, computed: int, tokens: int, last: bool, finishes: bool) -> None:
    """Add a chunk of ``tokens`` that ends a sequence of ``computed``."""
    blocks = (computed + BLOCK_TOKENS - 1) >> 6
    windowed = min(blocks, seen_blocks(control["window_tokens"], tokens))
    passes = (tokens * control["clocks_per_query"] + BLOCK_TOKENS - 1) // BLOCK_TOKENS
    control["prefill"] += tokens
    control["emitted"] += last
    control["finished"] += finishes
    control["passes"] += blocks * passes
    control["passes_windowed"] += windowed * passes
    control["seen"] += blocks
    control["seen_windowed"] += windowed


@inlined
def measure(state: State, r: int, row: Any) -> None:
    """Write what the scheduled step of replica ``r`` holds into the log row."""
    control = state.control[0]
    row["tokens"] = control["decoding"] + control["prefill"]
    row["prefill_tokens"] = control["prefill"]
    row["emitted"] = control["emitted"]
    row["finished"] = control["finished"]
    row["prompt_request"] = control["prompt_request"]
    row["decode_blocks"] = control["decode_blocks"]
    row["prefill_passes"] = control["passes"]
    row["decode_blocks_windowed"] = control["decode_blocks_windowed"]
    row["prefill_passes_windowed"] = control["passes_windowed"]
    row["used_blocks"] = used_units(state, r)
    fetch(state, r, row)


@inlined
def fetch(state: State, r: int, row: Any) -> None:
    """Write into the log row which of the blocks that its rows read come from LPDDR.

    What is in use beyond SRAM lies there: the coldest first, so what lies inside a window last.
    """
    control, used = state.control[0], row["used_blocks"]
    over = used - control["sram_units"]
    row["lpddr_blocks"] = row["lpddr_blocks_windowed"] = 0
    if over <= 0:
        return
    written = (row["tokens"] + BLOCK_TOKENS - 1) >> 6
    moved = control["seen"] + written
    if len(state.windows) == 1 and state.windows[0] == 0:  # all layers keep all their blocks
        row["lpddr_blocks"] = (moved * over + used - 1) // used
        if control["window_tokens"] > 0:
            outside = control["seen"] - control["seen_windowed"]
            row["lpddr_blocks_windowed"] = max(0, row["lpddr_blocks"] - outside)
        return
    full = 0
    for k in range(len(state.windows)):
        if state.windows[k] == 0:
            full += state.units[0, k] * state.held[r, k]
    of_full = min(over, full)
    of_windowed = over - of_full
    if full > 0:
        row["lpddr_blocks"] = (moved * of_full + full - 1) // full
    if of_windowed > 0:
        moved = control["seen_windowed"] + written
        windowed = used - full
        row["lpddr_blocks_windowed"] = (moved * of_windowed + windowed - 1) // windowed
