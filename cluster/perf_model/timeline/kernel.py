"""The compiled loop over the step log. ``columns`` defines the columns of rows.

Times are relative to the start of the window. Sums have a row for the time before it, bin -1, and
one for each bin.
"""

from typing import Any

from cluster.compiled import compiled
from cluster.perf_model.attention import add_by_bound, fetch_ps
from cluster.perf_model.tables import MEASURED
from cluster.perf_model.timeline.work import (
    ATTENTION,
    FETCH,
    HEAD,
    SEND,
    TOTAL,
    add_kv_blocks,
    add_work,
    split_work,
    wait_ps,
)


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
        row[ATTENTION] = total_ps
        row[FETCH] = fetch_ps(far_block_ps, measures)


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
                inside = min(
                    cycles - done, _cycles_inside(stages[replica], rows[i + following - 1])
                )
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
        waited_ps = wait_ps(price, attended, stage["ahead"])
        start_ps = max(ready_ps, stage["free_ps"])
        end_ps = start_ps + price[TOTAL] + attended[ATTENTION] + waited_ps + last[HEAD]
        if end_ps > last_ps:
            return False
        if start_ps >= stage["edge_ps"]:
            stage["bin"] = start_ps // bin_ps
            stage["edge_ps"] = (stage["bin"] + 1) * bin_ps
        if end_ps <= stage["edge_ps"]:
            add_work(sums[k, 1 + stage["bin"]], price, last, attended, waited_ps, width, far, 1)
        else:
            room[:] = 0
            add_work(room, price, last, attended, waited_ps, width, far, 1)
            split_work(sums[k], stage, room, len(attended), width, start_ps, end_ps, bin_ps)
        stage["free_ps"] = end_ps
        ready_ps = end_ps + price[SEND]
    return bool(end_ps == last_ps)


@compiled
def _cycles_inside(stages: Any, last: Any) -> int:
    """Repetitions of the cycle just added whose work ends within the present bins of all stages.

    ``last`` is the cycle's last row, behind whose step no stage has any.
    """
    least_ps = stages[0]["edge_ps"] - stages[0]["free_ps"]
    for k in range(1, len(stages)):
        least_ps = min(least_ps, stages[k]["edge_ps"] - stages[k]["free_ps"])
    return int(least_ps // last["period_ps"])


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
    first, last_stage = stages[0], stages[len(stages) - 1]
    ended_ps, period_ps = last_stage["free_ps"], rows[len(rows) - 1]["period_ps"]
    for cycle in range(done, done + cycles):
        for j in range(len(rows)):
            later_ps = cycle * rows[j]["period_ps"] - begin_ps
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
            waited_ps = wait_ps(price, attended, stage["ahead"])
            add_work(
                sums[k, 1 + stage["bin"]], price, last, attended, waited_ps, width, far, cycles
            )
