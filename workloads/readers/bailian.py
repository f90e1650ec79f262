"""Qwen-Bailian usage traces (github.com/alibaba-edu/qwen-bailian-usagetraces-anon).

JSON lines like Mooncake's, but times are seconds, blocks have 16 tokens, and each request names its
chat. Turns are replayed at their recorded times.
"""

from workloads.readers.trace_format import TraceFormat

BAILIAN = TraceFormat(
    name="bailian",
    container="jsonl",
    time="timestamp",
    time_unit="s",
    prompt="input_length",
    output="output_length",
    hash_ids="hash_ids",
    hash_block_tokens=16,
    marks=("chat_id",),
)
