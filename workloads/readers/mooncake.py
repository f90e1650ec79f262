"""Mooncake traces (github.com/kvcache-ai/Mooncake): JSON lines with ids of 512-token blocks.

Times are milliseconds from the trace's start. The published conversation trace has them on ticks of
about three seconds, all rows in order, no zero tokens, and an id for a partial last block as well.
"""

from workloads.readers.trace_format import TraceFormat

MOONCAKE = TraceFormat(
    name="mooncake",
    container="jsonl",
    time="timestamp",
    time_unit="ms",
    prompt="input_length",
    output="output_length",
    hash_ids="hash_ids",
    hash_block_tokens=512,
)
