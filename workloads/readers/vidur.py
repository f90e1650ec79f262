"""Vidur's trace replay CSV (github.com/microsoft/vidur): seconds and two token counts."""

from workloads.readers.trace_format import TraceFormat

VIDUR = TraceFormat(
    name="vidur",
    container="csv",
    time="arrived_at",
    time_unit="s",
    prompt="num_prefill_tokens",
    output="num_decode_tokens",
)
