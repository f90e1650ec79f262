"""The compiled loop over the step log. ``columns`` defines the columns of rows.

Times are relative to the start of the window. Sums have a row for the time before it, bin -1, and
one for each bin.
"""

from typing import Any

from cluster.compiled import compiled
from cluster.perf_model.attention import add_by_bound, fetch_ps
from cluster.perf_model.tables import MEASURED
from cluster.perf_model.timeline.columns import KV_COLUMNS
from cluster.perf_model.timeline.work import (
    ATTENTION,
    FETCH,
    HEAD,
    SEND,
    TOTAL,
    add_kv_blocks,
    add_kv_cycles,
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
    pending: Any,
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

    Work within the present bins of all stages of a replica is added to ``pending`` (prices at the
    first stage of each class, behind them attention likewise), and goes from there to the bins
    before one of them ends. Repetitions of a cycle that lie within them are added at once. ``room``
    is scratch for one piece of work.
    """
    i = 0
    while i < len(rows):
        replica, following = rows[i]["replica"], rows[i]["followers"] + 1
        own, held, cycle = stages[replica], pending[replica], rows[i : i + following]
        done, cycles = 0, rows[i]["more"] + 1
        while done < cycles:
            inside = 0
            if done > 0:
                inside = min(cycles - done, _cycles_inside(own, cycle[following - 1]))
            first_ps = done * cycle[0]["period_ps"] - begin_ps
            if inside > 1 and cycle[0]["start_ps"] + first_ps >= own[0]["free_ps"]:
                add_kv_cycles(own, sums[replica, 0], cycle, done, inside, begin_ps, bin_ps)
            for j in range(following):
                later_ps = done * cycle[j]["period_ps"] - begin_ps
                if inside <= 1:
                    add_kv_blocks(own, sums[replica, 0], cycle[j]["start_ps"] + later_ps, bin_ps)
                own[0]["kv_blocks"] = cycle[j]["used_blocks"]
                fits = _pass(cycle[j], by_tokens, head, attention[:, i + j], own, later_ps)
                if fits < min(1, inside):
                    return i + j
                if fits == 0:
                    flush(by_tokens, head, own, held, sums[replica])
                    _split(cycle[j], by_tokens, head, attention[:, i + j], room, own,
                           sums[replica], bin_ps, width, far)  # fmt: skip
                else:
                    _hold(cycle[j], by_tokens, head, attention[:, i + j], held, own,
                          max(1, inside), width, far)  # fmt: skip
            for k in range(len(own)):
                own[k]["free_ps"] += max(0, inside - 1) * cycle[following - 1]["period_ps"]
            done += max(1, inside)
        i += following
    return -1


@compiled
def heads_of(row: Any, stage: Any) -> int:
    """Rows of a step at a stage by which its ``head`` is priced."""
    return int(row["drafting"] if stage["drafts"] else row["emitted"])


@compiled
def _pass(row: Any, by_tokens: Any, head: Any, attention: Any, stages: Any, later_ps: int) -> int:
    """Find when the step of ``row``, ``later_ps`` later, ends at each stage.

    Returns -1 if it does not agree with the prices, 0 if it ends a bin of a stage, else 1.
    """
    ready_ps, last_ps, fits = row["start_ps"] + later_ps, row["end_ps"] + later_ps, 1
    if ready_ps < stages[0]["free_ps"] or ready_ps > last_ps:
        return -1
    end_ps = ready_ps
    for k in range(len(stages)):
        stage = stages[k]
        first = stages[stage["first"]]
        if stage["first"] == k:
            price = by_tokens[stage["price_class"], row["tokens"]]
            attended = attention[stage["attention"]]
            stage["waited_ps"] = wait_ps(price, attended, stage["ahead"])
            stage["work_ps"] = price[TOTAL] + attended[ATTENTION] + stage["waited_ps"]
            stage["work_ps"] += head[stage["price_class"], heads_of(row, stage)][HEAD]
            stage["send_ps"] = price[SEND]
        start_ps = max(ready_ps, stage["free_ps"])
        if k + 1 < len(stages) and stages[k + 1]["drafts"]:
            start_ps = max(start_ps, stages[k + 1]["free_ps"])
        end_ps = start_ps + first["work_ps"]
        if end_ps > last_ps:
            return -1
        if start_ps >= stage["edge_ps"] or end_ps > stage["edge_ps"]:
            fits = 0
        stage["start_ps"], stage["free_ps"] = start_ps, end_ps
        ready_ps = end_ps + first["send_ps"]
    return fits if end_ps == last_ps else -1


@compiled
def _hold(  # noqa: PLR0913 - a compiled function takes arrays
    row: Any,
    by_tokens: Any,
    head: Any,
    attention: Any,
    pending: Any,
    stages: Any,
    times: int,
    width: int,
    far: int,
) -> None:
    """Add a step within the present bins to what is pending, ``times`` over.

    Steps with as many tokens and emitting rows are counted, their prices added later.
    """
    counted = stages[0]
    if (
        counted["tokens"] != row["tokens"]
        or counted["emitted"] != row["emitted"]
        or counted["drafting"] != row["drafting"]
    ):
        _add_counted(by_tokens, head, pending, stages)
        counted["tokens"], counted["emitted"] = row["tokens"], row["emitted"]
        counted["drafting"] = row["drafting"]
    counted["counted"] += times
    loads = attention.shape[1] - 2
    for k in range(len(stages)):
        stage = stages[k]
        if stage["first"] == k and stage["waited_ps"] != 0:
            pending[k, loads - width + far] += times * stage["waited_ps"]
        if stage["attends"] == k:
            attended, own = attention[stage["attention"]], pending[len(stages) + k]
            for i in range(loads):
                own[i] += times * attended[i]


@compiled
def _add_counted(by_tokens: Any, head: Any, pending: Any, stages: Any) -> None:
    """Add the prices of the counted steps to what is pending."""
    counted = stages[0]
    if counted["counted"] == 0:
        return
    columns = head.shape[2] - 1
    for k in range(len(stages)):
        if stages[k]["first"] == k:
            price = by_tokens[stages[k]["price_class"], counted["tokens"]]
            last = head[stages[k]["price_class"], heads_of(counted, stages[k])]
            own = pending[k, pending.shape[1] - 2 - columns :]
            for i in range(columns):
                own[i] += counted["counted"] * (price[i] + last[i])
    counted["counted"], counted["pending"] = 0, 1


@compiled
def _split(  # noqa: PLR0913 - a compiled function takes arrays
    row: Any,
    by_tokens: Any,
    head: Any,
    attention: Any,
    room: Any,
    stages: Any,
    sums: Any,
    bin_ps: int,
    width: int,
    far: int,
) -> None:
    """Add a step to the bins of its stages, in which it may cross edges; ``room`` is scratch."""
    for k in range(len(stages)):
        stage = stages[k]
        price = by_tokens[stage["price_class"], row["tokens"]]
        last = head[stage["price_class"], heads_of(row, stage)]
        attended, waited_ps = attention[stage["attention"]], stages[stage["first"]]["waited_ps"]
        start_ps, end_ps = stage["start_ps"], stage["free_ps"]
        if start_ps >= stage["edge_ps"]:
            stage["bin"] = start_ps // bin_ps
            stage["edge_ps"] = (stage["bin"] + 1) * bin_ps
        if end_ps <= stage["edge_ps"]:
            add_work(sums[k, 1 + stage["bin"]], price, last, attended, waited_ps, width, far, 1)
        else:
            room[:] = 0
            add_work(room, price, last, attended, waited_ps, width, far, 1)
            split_work(sums[k], stage, room, len(attended), width, start_ps, end_ps, bin_ps)


@compiled
def flush(by_tokens: Any, head: Any, stages: Any, pending: Any, sums: Any) -> None:
    """Add what is pending to the present bins of all stages of a replica."""
    _add_counted(by_tokens, head, pending, stages)
    if stages[0]["pending"] == 0:
        return
    for k in range(len(stages)):
        stage = stages[k]
        row, own = sums[k, 1 + stage["bin"]], pending[stage["first"]]
        attended = pending[len(stages) + stage["attends"]]
        for i in range(len(row) - KV_COLUMNS):
            row[i] += own[i] + attended[i]
    stages[0]["pending"] = 0
    pending[:, :] = 0


@compiled
def _cycles_inside(stages: Any, last: Any) -> int:
    """Repetitions of the cycle just added whose work ends within the present bins of all stages.

    ``last`` is the cycle's last row, behind whose step no stage has any.
    """
    least_ps = stages[0]["edge_ps"] - stages[0]["free_ps"]
    for k in range(1, len(stages)):
        least_ps = min(least_ps, stages[k]["edge_ps"] - stages[k]["free_ps"])
    return int(least_ps // last["period_ps"])
