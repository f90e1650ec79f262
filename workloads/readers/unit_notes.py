"""Notes about times that seem to be in another unit than the format's."""

from workloads.readers.trace_format import Rows

_HIGH_PER_S, _LOW_PER_S = 1000.0, 0.002
_FRACTION_PER_S = 100.0
_S = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}


def unit_notes(rows: Rows) -> tuple[str, ...]:
    """Note an implausible mean rate: over 1,000/s (100/s if milliseconds have fractions),
    or one request in over 500 s. Dates and our own files say their unit and get no note.
    """
    if not rows.timed:
        return ("the file has lengths and no arrivals",)
    if rows.time_unit not in _S or len(rows) < 2:
        return ()
    span = int(rows.ticks.max() - rows.ticks.min())
    if not span:
        return ()
    rate = (len(rows) - 1) / (span / rows.ticks_per_s)
    broken = rows.time_unit == "ms" and bool((rows.ticks % (rows.ticks_per_s // 1000)).any())
    if _LOW_PER_S <= rate <= (_FRACTION_PER_S if broken else _HIGH_PER_S):
        return ()
    others = [unit for unit in _S if (_S[unit] > _S[rows.time_unit]) == (rate > _LOW_PER_S)]
    readings = {unit: rate * _S[rows.time_unit] / _S[unit] for unit in others}
    likely = {
        unit: each
        for unit, each in readings.items()
        if unit != rows.time_unit and _LOW_PER_S <= each <= _HIGH_PER_S
    }
    said = " or ".join(f"{each:,.4g} requests/s in {unit}" for unit, each in likely.items())
    return (
        f"{rate:,.4g} requests/s on average with times in {rows.time_unit}: is the unit right? "
        f"{said + '. ' if said else ''}time_unit (workload.time_unit, --time-unit) says it",
    )
