"""Measures of a step that its price depends on, summed while it is scheduled."""

from typing import Any

from cluster.compiled import called, inlined
from cluster.perf_model.attention import BLOCK_TOKENS, WIDTH
from cluster.perf_model.tables import (
    DECODE_BLOCKS,
    FAR_BLOCKS,
    MEASURED,
    PREFILL_BLOCKS,
    PREFILL_PAIRS,
    PREFILL_PASSES,
)
from cluster.serving.kernel.state import FOREVER, NONE, State
from corsair_common.names import STATE


@inlined
def seen_blocks(window: int, tokens: int) -> int:
    """Most 64-token blocks that the queries of ``tokens`` tokens read within a window, if any.

    The first of them may be partial.
    """
    if window == 0:
        return FOREVER
    return max((window + tokens - 1 + BLOCK_TOKENS - 1) // BLOCK_TOKENS + 1, 1)


@inlined
def seen_pairs(window: int, computed: int, tokens: int) -> int:
    """Query-key pairs of a chunk of ``tokens`` that ends a sequence of ``computed``.

    The query at position p sees ``min(p + 1, window)`` keys; of a state each has one.
    """
    if window == STATE:
        return tokens
    whole = tokens * computed - tokens * (tokens - 1) // 2
    if window == 0 or computed <= window:
        return whole
    first = computed - tokens
    if first >= window:
        return tokens * window
    return whole - (computed - window) * (computed - window + 1) // 2


@inlined
def count_decode(state: State, computed: int, finishes: int) -> None:
    """Add one decode row with ``computed`` tokens, which may be its request's last."""
    state.control[0]["finished"] += finishes
    blocks = (computed + BLOCK_TOKENS - 1) >> 6
    for kind in range(len(state.kinds)):
        state.sums[kind * WIDTH + DECODE_BLOCKS] += min(blocks, state.kinds[kind]["seen"])


@inlined
def count_drafted(state: State, computed: int) -> None:
    """Add the later passes of a draft over a row with ``computed`` tokens."""
    blocks = (computed + BLOCK_TOKENS - 1) >> 6
    for kind in range(state.control[0]["draft_kind"], len(state.kinds)):
        state.sums[kind * WIDTH + DECODE_BLOCKS] += min(blocks, state.kinds[kind]["seen"])


@inlined
def begin_prompts(control: Any, request: int) -> None:
    """Record the request of the step's first chunk."""
    control["prompt_request"] = request
    control["prefill"] = control["read_out"] = 0


@inlined
def count_chunk(state: State, computed: int, tokens: int, last: bool, finishes: bool) -> None:
    """Add a chunk of ``tokens`` that ends a sequence of ``computed``."""
    control = state.control[0]
    control["prompts"] += 1
    control["prefill"] += tokens
    control["read_out"] += last
    control["finished"] += finishes
    add_row(state, computed, tokens)
    if last:
        count_drafted(state, computed)


@called
def add_row(state: State, computed: int, tokens: int) -> None:
    """Add the attention of a row of ``tokens`` that ends a sequence of ``computed``."""
    sums = state.sums
    blocks = (computed + BLOCK_TOKENS - 1) >> 6
    for k in range(len(state.kinds)):
        kind, first = state.kinds[k], k * WIDTH
        seen = each = min(blocks, seen_blocks(kind["window"], tokens))
        visible = kind["window"]
        if kind["picked"] > 0:  # every query has its own picks
            each = min(blocks, kind["seen"])
            seen = min(blocks, each * tokens)
            visible = kind["picked"]
        pass_clocks = kind["clocks_per_pass"]
        passes = (tokens * kind["clocks_per_query"] + pass_clocks - 1) // pass_clocks
        sums[first + PREFILL_BLOCKS] += seen
        sums[first + PREFILL_PASSES] += each * passes
        sums[first + PREFILL_PAIRS] += seen_pairs(visible, computed, tokens)


@inlined
def measure(state: State, r: int, row: Any, columns: Any) -> None:
    """Write the measures of the scheduled step of replica ``r`` to its row of the log."""
    control, sums = state.control[0], state.sums
    tokens = control["max_num_batched_tokens"] - control["budget"] - control["slots_spent"]
    row["tokens"] = row["emitted"] = tokens
    row["finished"] = control["finished"]
    row["prefill_tokens"] = 0
    row["prompt_request"] = NONE
    if control["prompts"] > 0:
        row["emitted"] = tokens - control["prefill"] + control["read_out"]
        row["prefill_tokens"] = control["prefill"]
        row["prompt_request"] = control["prompt_request"]
    row["drafting"] = 0
    if control["drafts"] > 0:
        row["drafting"] = row["emitted"] - control["verified"]
    row["used_blocks"] = state.replicas[r]["used"]
    if row["used_blocks"] > control["sram_units"]:
        fetch(state, r, tokens, row["used_blocks"])
    for i in range(len(sums)):
        columns[MEASURED + i] = sums[i]


@called
def fetch(state: State, r: int, tokens: int, used: int) -> None:
    """Count the blocks read by the step's rows that come from the far memory.

    Blocks in use beyond the near memory are there: the coldest first, so blocks inside a window
    last.
    """
    sums = state.sums
    over = used - state.control[0]["sram_units"]
    written = (tokens + BLOCK_TOKENS - 1) >> 6
    whole = sums[DECODE_BLOCKS] + sums[PREFILL_BLOCKS]
    if len(state.windows) == 1 and state.windows[0] == 0:  # no layer frees blocks
        blocks = ((whole + written) * over + used - 1) // used
        for k in range(len(state.kinds)):
            first = k * WIDTH
            own = sums[first + DECODE_BLOCKS] + sums[first + PREFILL_BLOCKS]
            if state.kinds[k]["picked"] > 0:  # old and new blocks alike
                sums[first + FAR_BLOCKS] = ((own + written) * over + used - 1) // used
            else:
                sums[first + FAR_BLOCKS] = max(0, blocks - (whole - own))
        return
    full = 0
    for k in range(len(state.windows)):
        if state.windows[k] == 0:
            full += state.units[0, k] * state.held[r, k]
    of_full = min(over, full)
    of_windowed = over - of_full
    windowed = used - full
    for k in range(len(state.kinds)):
        first = k * WIDTH
        blocks = sums[first + DECODE_BLOCKS] + sums[first + PREFILL_BLOCKS] + written
        if state.kinds[k]["window"] == 0:
            if full > 0:
                sums[first + FAR_BLOCKS] = (blocks * of_full + full - 1) // full
        elif of_windowed > 0:
            sums[first + FAR_BLOCKS] = (blocks * of_windowed + windowed - 1) // windowed
