"""LLMServingSim's JSON lines (github.com/casys-kaist/LLMServingSim): nanoseconds, 16-token ids.

The published ShareGPT file has no id for a partial last block, and its first request does not
arrive at zero; both are kept as they are.
"""

from workloads.readers.trace_format import TraceFormat

LLMSERVINGSIM = TraceFormat(
    name="llmservingsim",
    container="jsonl",
    time="arrival_time_ns",
    time_unit="ns",
    prompt="input_toks",
    output="output_toks",
    hash_ids="hash_ids_blk16",
    hash_block_tokens=16,
)
