"""BurstGPT (github.com/HPMLL/BurstGPT), v1 and v2; v2 only adds columns that are not read.

Times are seconds from the start of collection, over four months: more than one run can hold, so
whole files want ``start_s`` and ``duration_s``. Zero response tokens mark a failed request,
as in every format.
"""

from workloads.readers.trace_format import TraceFormat

BURSTGPT = TraceFormat(
    name="burstgpt",
    container="csv",
    time="Timestamp",
    time_unit="s",
    prompt="Request tokens",
    output="Response tokens",
)
