"""SplitwiseSim's CSV (github.com/Mutinifni/splitwise-sim): seconds, prompt and token sizes.

Request type, application and batch size steer that simulator, not the traffic, and are not read.
"""

from workloads.readers.trace_format import TraceFormat

SPLITWISE = TraceFormat(
    name="splitwise",
    container="csv",
    time="arrival_timestamp",
    time_unit="s",
    prompt="prompt_size",
    output="token_size",
)
