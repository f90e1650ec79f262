"""What a step is made of, summed up while it is scheduled: the measures that its price needs."""

from typing import Any

from cluster.compiled import called, inlined
from cluster.perf_model.attention import BLOCK_TOKENS
from cluster.serving.kernel.state import NONE, State


@inlined
def seen_blocks(window: int, tokens: int) -> int:
    """Most 64-token blocks that the queries of ``tokens`` tokens see through a window; 0 without.

    The first of them may be begun.
    """
    if window == 0:
        return 0
    return (window + tokens - 1 + BLOCK_TOKENS - 1) // BLOCK_TOKENS + 1


@inlined
def count_decodes(control: Any, finished: int, blocks: int, windowed: int) -> None:
    """Add decode rows, which see so many blocks in all and of which so many finish."""
    control["finished"] += finished
    control["decode_blocks"] += blocks
    control["decode_blocks_windowed"] += windowed


@inlined
def begin_prompts(control: Any, request: int) -> None:
    """The step holds its first chunk, of this request."""
    control["prompt_request"] = request
    control["prefill"] = control["read_out"] = 0
    control["passes"] = control["passes_windowed"] = 0
    control["chunk_blocks"] = control["chunk_blocks_windowed"] = 0


@inlined
def count_chunk(control: Any, computed: int, tokens: int, last: bool, finishes: bool) -> None:
    """Add a chunk of ``tokens`` that ends a sequence of ``computed``."""
    blocks = (computed + BLOCK_TOKENS - 1) >> 6
    windowed = min(blocks, seen_blocks(control["window_tokens"], tokens))
    passes = (tokens * control["clocks_per_query"] + BLOCK_TOKENS - 1) // BLOCK_TOKENS
    control["prompts"] += 1
    control["prefill"] += tokens
    control["read_out"] += last
    control["finished"] += finishes
    control["passes"] += blocks * passes
    control["passes_windowed"] += windowed * passes
    control["chunk_blocks"] += blocks
    control["chunk_blocks_windowed"] += windowed


@inlined
def measure(state: State, r: int, row: Any) -> None:
    """Write what the scheduled step of replica ``r`` holds into the log row."""
    control = state.control[0]
    tokens = control["max_num_batched_tokens"] - control["budget"]
    row["tokens"] = row["emitted"] = tokens
    row["finished"] = control["finished"]
    row["decode_blocks"] = control["decode_blocks"]
    row["decode_blocks_windowed"] = control["decode_blocks_windowed"]
    row["prefill_tokens"] = row["prefill_passes"] = row["prefill_passes_windowed"] = 0
    row["prompt_request"] = NONE
    if control["prompts"] > 0:
        row["emitted"] = tokens - control["prefill"] + control["read_out"]
        row["prefill_tokens"] = control["prefill"]
        row["prefill_passes"] = control["passes"]
        row["prefill_passes_windowed"] = control["passes_windowed"]
        row["prompt_request"] = control["prompt_request"]
    row["used_blocks"] = state.replicas[r]["used"]
    row["lpddr_blocks"] = row["lpddr_blocks_windowed"] = 0
    if row["used_blocks"] > control["sram_units"]:
        fetch(state, r, row)


@called
def fetch(state: State, r: int, row: Any) -> None:
    """Write into the log row which of the blocks that its rows read come from LPDDR.

    What is in use beyond SRAM lies there: the coldest first, so what lies inside a window last.
    """
    control, used = state.control[0], row["used_blocks"]
    over = used - control["sram_units"]
    seen, seen_windowed = control["decode_blocks"], control["decode_blocks_windowed"]
    if control["prompts"] > 0:
        seen += control["chunk_blocks"]
        seen_windowed += control["chunk_blocks_windowed"]
    written = (row["tokens"] + BLOCK_TOKENS - 1) >> 6
    moved = seen + written
    if len(state.windows) == 1 and state.windows[0] == 0:  # all layers keep all their blocks
        row["lpddr_blocks"] = (moved * over + used - 1) // used
        if control["window_tokens"] > 0:
            outside = seen - seen_windowed
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
        moved = seen_windowed + written
        windowed = used - full
        row["lpddr_blocks_windowed"] = (moved * of_windowed + windowed - 1) // windowed
