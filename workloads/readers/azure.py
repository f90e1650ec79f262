"""Azure LLM inference traces (github.com/Azure/AzurePublicDataset): 2023 and 2024, chat and code.

Both years have the same columns. In 2023 a time has seven fractional digits and no zone, in 2024
six or none and ``+00:00``. The last line of the 2023 files has no newline. No row of the 2023 files
has zero tokens, and both are in order of time.
"""

from workloads.readers.trace_format import TraceFormat

AZURE = TraceFormat(
    name="azure",
    container="csv",
    time="TIMESTAMP",
    time_unit="wall",
    prompt="ContextTokens",
    output="GeneratedTokens",
)
