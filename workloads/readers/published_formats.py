"""Formats of published request traces: a new one is a constant here and its place in FORMS."""

from workloads.readers.trace_format import TraceFormat

AZURE = TraceFormat(
    name="azure",
    container="csv",
    time="TIMESTAMP",
    time_unit="wall",
    prompt="ContextTokens",
    output="GeneratedTokens",
)
"""Azure LLM inference traces (github.com/Azure/AzurePublicDataset): 2023 and 2024, chat and code.

Both years have the same columns. In 2023 a time has seven fractional digits and no zone, in 2024
six or none and ``+00:00``. The last line of the 2023 files has no newline. No row of the 2023 files
has zero tokens, and both are in order of time.
"""

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
"""Qwen-Bailian usage traces (github.com/alibaba-edu/qwen-bailian-usagetraces-anon).

JSON lines like Mooncake's, but times are seconds, blocks have 16 tokens, and each request names its
chat and its parent (``readers.sessions``).
"""

BURSTGPT = TraceFormat(
    name="burstgpt",
    container="csv",
    time="Timestamp",
    time_unit="s",
    prompt="Request tokens",
    output="Response tokens",
    session="Session ID",
    elapsed="Elapsed time",
)
"""BurstGPT (github.com/HPMLL/BurstGPT), v1 and v2; v2 adds sessions and how long answers took.

A turn comes as long after the end of the one before as it did there (at once if it came earlier).

Times are seconds from the start of collection, over four months: more than one run can hold, so
whole files want ``start_s`` and ``duration_s``. Zero response tokens mark a failed request,
as in every format.
"""

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
"""LLMServingSim's JSON lines (github.com/casys-kaist/LLMServingSim): nanoseconds, 16-token ids.

The published ShareGPT file has no id for a partial last block, and its first request does not
arrive at zero; both are kept as they are.
"""

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
"""Mooncake traces (github.com/kvcache-ai/Mooncake): JSON lines with ids of 512-token blocks.

Times are milliseconds from the trace's start. The published conversation trace has them on ticks of
about three seconds, all rows in order, no zero tokens, and an id for a partial last block as well.
"""

SPLITWISE = TraceFormat(
    name="splitwise",
    container="csv",
    time="arrival_timestamp",
    time_unit="s",
    prompt="prompt_size",
    output="token_size",
)
"""SplitwiseSim's CSV (github.com/Mutinifni/splitwise-sim): seconds, prompt and token sizes.

Request type, application and batch size steer that simulator, not the traffic, and are not read.
"""

VIDUR = TraceFormat(
    name="vidur",
    container="csv",
    time="arrived_at",
    time_unit="s",
    prompt="num_prefill_tokens",
    output="num_decode_tokens",
)
"""Vidur's trace replay CSV (github.com/microsoft/vidur): seconds and two token counts."""

FORMS = (AZURE, BAILIAN, BURSTGPT, LLMSERVINGSIM, MOONCAKE, SPLITWISE, VIDUR)
