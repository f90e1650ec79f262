"""The compiled loop over the step log. ``columns`` defines the columns of rows.

Times are relative to the start of the window. Sums have a row for the time before it, bin -1, and
one for each bin.
"""

from typing import Any

import numpy as np

from cluster.compiled import compiled
from cluster.perf_model.attention import add_by_bound, fetch_ps
from cluster.perf_model.tables import MEASURED

# From the end: columns of a price, of a row of attention, of a head, of the sums.
_TOTAL, _FLOOR, _SEND = -3, -2, -1
_ATTENTION, _FETCH = -2, -1
_HEAD = -1
_SENT, _TOKENS, _STEPS, _BLOCK_NS, _PEAK = -5, -4, -3, -2, -1

STAGE = np.dtype(
    [
        (name, np.int64)
        for name in (
            "price_class",
            "attention",  # index of its rows of attention
            "ahead",  # 1 if KV from the far memory is fetched ahead of use
            "free_ps",  # end of its last work
            "bin",  # of that end
            "edge_ps",  # end of that bin; 0 before the window, or to find the bin again
            "kv_since_ps",  # time of the last change of the replica's KV blocks
            "kv_blocks",
            "kv_bin",
            "kv_edge_ps",
        )
    ]
)
"""State of a stage between log windows; the KV of a replica is in its stage 0."""


@compiled
def attention_rows(
    products: Any, far_block_ps: Any, log: Any, measured: Any, width: int, out: Any
) -> None:
    """Fill ``out[step]``, the rows of attention of all stages of these ``products``.

    ``log[step, column]`` is the step log; ``measured`` are the positions of summed
    measures, ``width`` is the number of bounds.
    """
    for step in range(len(log)):
        measures, row = log[step, MEASURED:], out[step]
        for place in range(len(measured)):
            row[place] = measures[measured[place]]
        bounds = row[len(measured) : len(measured) + width]
        for bound in range(width):
            bounds[bound] = 0
        add_by_bound(products, measures, bounds)
        total_ps = 0
        for bound in range(width):
            total_ps += bounds[bound]
        row[_ATTENTION] = total_ps
        row[_FETCH] = fetch_ps(far_block_ps, measures)


@compiled
def accumulate(  # noqa: PLR0913 - a compiled loop takes arrays
    rows: Any,
    by_tokens: Any,
    head: Any,
    attention: Any,
    room: Any,
    stages: Any,
    sums: Any,
    begin_ps: int,
    bin_ps: int,
    width: int,
    far: int,
) -> int:
    """Accumulate every row; return the index of the first that disagrees with the prices, else -1.

    There are ``width`` bounds; ``far`` is that of the far memory.

    ``room`` is scratch for one piece of work.

    Repetitions of a cycle that lie in the present bins of all stages are added at once.
    """
    i = 0
    while i < len(rows):
        replica, following = rows[i]["replica"], rows[i]["followers"] + 1
        done, cycles = 0, rows[i]["more"] + 1
        while done < cycles:
            inside = 0
            if done > 1:  # two cycles that agree with the prices show that all do
                inside = min(cycles - done, _cycles_inside(stages[replica], rows[i]["period_ps"]))
            if inside > 0:
                _add_cycles(
                    rows[i : i + following],
                    by_tokens,
                    head,
                    attention[:, i : i + following],
                    stages[replica],
                    sums[replica],
                    done,
                    inside,
                    begin_ps,
                    bin_ps,
                    width,
                    far,
                )
                done += inside
                continue
            for j in range(i, i + following):
                agrees = _add_step(
                    rows[j],
                    by_tokens,
                    head,
                    attention[:, j],
                    room,
                    stages[replica],
                    sums[replica],
                    done * rows[j]["period_ps"] - begin_ps,
                    bin_ps,
                    width,
                    far,
                )
                if not agrees:
                    return j
            done += 1
        i += following
    return -1


@compiled
def _add_step(  # noqa: PLR0913 - a compiled function takes arrays
    row: Any,
    by_tokens: Any,
    head: Any,
    attention: Any,
    room: Any,
    stages: Any,
    sums: Any,
    later_ps: int,
    bin_ps: int,
    width: int,
    far: int,
) -> bool:
    """Add the step of ``row``, ``later_ps`` later; whether it agrees with the prices."""
    ready_ps, last_ps = row["start_ps"] + later_ps, row["end_ps"] + later_ps
    if ready_ps < stages[0]["free_ps"] or ready_ps > last_ps:
        return False
    add_kv_blocks(stages, sums[0], ready_ps, bin_ps)
    stages[0]["kv_blocks"] = row["used_blocks"]
    end_ps = ready_ps
    for k in range(len(stages)):
        stage = stages[k]
        price = by_tokens[stage["price_class"], row["tokens"]]
        last = head[stage["price_class"], row["emitted"]]
        attended = attention[stage["attention"]]
        waited_ps = _waited_ps(price, attended, stage["ahead"])
        start_ps = max(ready_ps, stage["free_ps"])
        end_ps = start_ps + price[_TOTAL] + attended[_ATTENTION] + waited_ps + last[_HEAD]
        if end_ps > last_ps:
            return False
        if start_ps >= stage["edge_ps"]:
            stage["bin"] = start_ps // bin_ps
            stage["edge_ps"] = (stage["bin"] + 1) * bin_ps
        if end_ps <= stage["edge_ps"]:
            _add(sums[k, 1 + stage["bin"]], price, last, attended, waited_ps, width, far, 1)
        else:
            room[:] = 0
            _add(room, price, last, attended, waited_ps, width, far, 1)
            _split(sums[k], stage, room, len(attended), width, start_ps, end_ps, bin_ps)
        stage["free_ps"] = end_ps
        ready_ps = end_ps + price[_SEND]
    return bool(end_ps == last_ps)


@compiled
def _cycles_inside(stages: Any, period_ps: int) -> int:
    """Repetitions of the cycle just added whose work ends within the present bins of all stages."""
    least_ps = stages[0]["edge_ps"] - stages[0]["free_ps"]
    for k in range(1, len(stages)):
        least_ps = min(least_ps, stages[k]["edge_ps"] - stages[k]["free_ps"])
    return int(least_ps // period_ps)


@compiled
def _add_cycles(  # noqa: PLR0913 - a compiled function takes arrays
    rows: Any,
    by_tokens: Any,
    head: Any,
    attention: Any,
    stages: Any,
    sums: Any,
    done: int,
    cycles: int,
    begin_ps: int,
    bin_ps: int,
    width: int,
    far: int,
) -> None:
    """Add ``cycles`` repetitions of the cycle of ``rows``, after ``done``, within present bins."""
    first, last_stage, period_ps = stages[0], stages[len(stages) - 1], rows[0]["period_ps"]
    ended_ps = last_stage["free_ps"]
    for cycle in range(done, done + cycles):
        later_ps = cycle * period_ps - begin_ps
        for j in range(len(rows)):
            add_kv_blocks(stages, sums[0], rows[j]["start_ps"] + later_ps, bin_ps)
            first["kv_blocks"] = rows[j]["used_blocks"]
            last_stage["free_ps"] = rows[j]["end_ps"] + later_ps
    last_stage["free_ps"] = ended_ps
    for k in range(len(stages)):
        stage = stages[k]
        stage["free_ps"] += cycles * period_ps
        for j in range(len(rows)):
            price = by_tokens[stage["price_class"], rows[j]["tokens"]]
            last = head[stage["price_class"], rows[j]["emitted"]]
            attended = attention[stage["attention"], j]
            waited_ps = _waited_ps(price, attended, stage["ahead"])
            _add(sums[k, 1 + stage["bin"]], price, last, attended, waited_ps, width, far, cycles)


@compiled
def _waited_ps(price: Any, attended: Any, ahead: int) -> int:
    """Time that a step's layers wait for LPDDR beyond their busy time.

    KV that is not fetched ahead is read first; prefetched KV streams in parallel, as weights do.
    """
    busy_ps = price[_TOTAL] + attended[_ATTENTION]
    if ahead == 0:
        return int(max(attended[_FETCH], price[_FLOOR] - busy_ps))
    return int(max(0, price[_FLOOR] + attended[_FETCH] - busy_ps))


@compiled
def _add(  # noqa: PLR0913 - a compiled function takes arrays
    out: Any, price: Any, last: Any, attended: Any, waited_ps: int, width: int, far: int, times: int
) -> None:
    """Add one piece of work, ``times`` over, to ``out``, a row of the sums."""
    bounds = len(attended) - width - 2
    for i in range(bounds + width):
        out[i] += times * attended[i]
    own = out[bounds:]
    for i in range(len(last) - 1):
        own[i] += times * (price[i] + last[i])
    own[far] += times * waited_ps


@compiled
def _split(  # noqa: PLR0913 - a compiled function takes arrays
    sums: Any,
    stage: Any,
    work: Any,
    attended: int,
    width: int,
    start_ps: int,
    end_ps: int,
    bin_ps: int,
) -> None:
    """Add a piece of work that crosses an edge to ``sums[1 + bin]``, from the stage's bin on.

    ``work`` is the whole as one row of the sums; it begins with the columns of attention, whose
    number is ``attended`` including its last two.
    """
    whole_ps, before_ps, b = end_ps - start_ps, 0, stage["bin"]
    loads, bounds = attended - 2, attended - 2 - width
    sums[1 + b, _TOKENS] += work[_TOKENS]
    sums[1 + b, _STEPS] += work[_STEPS]
    while before_ps < whole_ps:
        until_ps = min((b + 1) * bin_ps, end_ps) - start_ps
        taken = total = 0
        for i in range(len(work) + _SENT):
            if bounds <= i < loads:
                total += work[i]
                share = _part(total, until_ps, whole_ps) - _part(total, before_ps, whole_ps)
                sums[1 + b, i] += share - taken
                taken = share
            elif work[i] != 0:
                share = _part(work[i], until_ps, whole_ps) - _part(work[i], before_ps, whole_ps)
                sums[1 + b, i] += share
        before_ps = until_ps
        b += 1
    sums[b, _SENT] += work[_SENT]
    stage["bin"], stage["edge_ps"] = b - 1, b * bin_ps


@compiled
def _part(total: int, until_ps: int, work_ps: int) -> int:
    """Part of ``total`` in the first ``until_ps`` of ``work_ps``: an integer, non-decreasing.

    The product overflows int64 beyond 3 ms, so it is computed in float64, whose rounding is
    monotonic; both ends, and ``total == work_ps``, are exact.
    """
    if until_ps >= work_ps:
        return total
    if until_ps == 0:
        return 0
    if total == work_ps:
        return until_ps
    share = int(total * (until_ps / work_ps))
    return min(share, until_ps) if total < work_ps else share


@compiled
def add_kv_blocks(stages: Any, sums: Any, now_ps: int, bin_ps: int) -> None:
    """Add the KV blocks in use at a replica until now, or until the end of its last step."""
    first = stages[0]
    at_ps, blocks = first["kv_since_ps"], first["kv_blocks"]
    until_ps = min(now_ps, stages[len(stages) - 1]["free_ps"])
    while at_ps < until_ps:
        if at_ps >= first["kv_edge_ps"]:
            first["kv_bin"] = at_ps // bin_ps
            first["kv_edge_ps"] = (first["kv_bin"] + 1) * bin_ps
        part_ps = min(first["kv_edge_ps"], until_ps)
        row = sums[1 + first["kv_bin"]]
        row[_BLOCK_NS] += blocks * (part_ps // 1000 - at_ps // 1000)
        row[_PEAK] = max(row[_PEAK], blocks)
        at_ps = part_ps
    first["kv_since_ps"] = now_ps
