"""The loop of two pools and the transfers between them: whichever comes first goes on."""

from cluster.compiled import compiled, inlined
from cluster.disaggregated.kernel.state import CROWDED, DONE, LATE, RUNNING, STUCK, Moves
from cluster.disaggregated.kernel.transfers import follow, hand_over, move, next_transfer_ps, pull
from cluster.perf_model.tables import Records
from cluster.replay.kernel.state import LATE as MESSAGE_LATE
from cluster.replay.kernel.state import State as Fabric
from cluster.serving.kernel import state as pool
from cluster.serving.kernel.advance import next_event_ps, run_pool_until
from cluster.serving.kernel.hand_over import look
from cluster.serving.kernel.repeat import forget_cycles
from cluster.serving.kernel.state import FINISH, FOREVER, State
from corsair_common.units import Integers


@compiled
def advance_pools(
    prefill: State,
    decode: State,
    moves: Moves,
    fabric: Fabric,
    logs: tuple[Records, Records],
    columns: tuple[Integers, Integers],
) -> None:
    """Run until a pool's log is full, places of messages run out, or all is done.

    The record of ``moves`` then has the rows of both logs, behind which it goes on, and the status.
    """
    control = moves.control[0]
    prefill_rows, decode_rows = control["prefill_rows"], control["decode_rows"]
    begin_logs(prefill, decode, moves)
    control["status"] = RUNNING
    make_room(prefill, moves)
    while goes_on(moves, logs, prefill_rows, decode_rows) and not is_full(prefill):
        transfer_ps = next_transfer_ps(moves, fabric)
        until_ps = bound_ps(decode, moves, transfer_ps)
        noted = has_notes(prefill, moves)
        if not noted:
            prefill_rows = run_pool_until(prefill, logs[0], columns[0], prefill_rows, until_ps)
            noted = has_notes(prefill, moves)
        now_ps = prefill.control[0]["now_ps"]
        if not noted:
            now_ps = min(transfer_ps, next_event_ps(prefill))
        decode_rows = run_pool_until(decode, logs[1], columns[1], decode_rows, now_ps)
        check(prefill, decode, moves, fabric)
        decode_ps = decode.control[0]["now_ps"]
        if pulls(decode, moves, decode_ps) and decode_ps < now_ps:
            continue
        if decode_rows == len(logs[1]) or is_full(decode):
            break
        if now_ps == FOREVER:
            control["status"] = DONE if is_done(prefill, decode, moves) else STUCK
            break
        if transfer_ps == now_ps:
            move(prefill, decode, moves, fabric, now_ps)
        if noted and control["status"] == RUNNING:
            take_over(prefill, decode, moves, now_ps)
            make_room(prefill, moves)
    control["prefill_rows"], control["decode_rows"] = prefill_rows, decode_rows


@inlined
def begin_logs(prefill: State, decode: State, moves: Moves) -> None:
    """Drop cycles whose rows are in logs that are no more."""
    if moves.control[0]["prefill_rows"] == 0:
        forget_cycles(prefill)
    if moves.control[0]["decode_rows"] == 0:
        forget_cycles(decode)


@inlined
def goes_on(
    moves: Moves, logs: tuple[Records, Records], prefill_rows: int, decode_rows: int
) -> bool:
    """Whether both logs have rows left, and nothing stands in the way."""
    running = moves.control[0]["status"] == RUNNING
    return bool(running and prefill_rows < len(logs[0]) and decode_rows < len(logs[1]))


@inlined
def is_full(state: State) -> bool:
    """Whether the buffer of phases may have no room for another step's."""
    control = state.control[0]
    return bool(control["phases"] + 4 * control["max_num_seqs"] > len(state.phases))


@inlined
def make_room(prefill: State, moves: Moves) -> None:
    """Stop if there may be more sendings than records of them."""
    least = len(moves.requests) + len(prefill.chunks)
    if len(moves.sendings) - moves.control[0]["active"] < least:
        moves.control[0]["status"] = CROWDED


@inlined
def bound_ps(decode: State, moves: Moves, transfer_ps: int) -> int:
    """How far the prefill pool may go: to the next event of a transfer.

    While requests wait for blocks, not past a step's end of the decode pool, which may start one;
    nor may its other replicas then run cycles ahead.
    """
    control = moves.control[0]
    decode.control[0]["repeating"] = control["repeating"]
    if control["pending"] == 0:
        return transfer_ps
    decode.control[0]["repeating"] &= len(decode.replicas) == 1
    return min(transfer_ps, until_decode_ps(decode))


@inlined
def has_notes(prefill: State, moves: Moves) -> bool:
    """Whether the prefill pool waits at a time at which it has handed something over."""
    own = prefill.control[0]
    return bool(own["handed"] > moves.control[0]["handed"] or own["chunks"] > 0)


@inlined
def until_decode_ps(decode: State) -> int:
    """How far the prefill pool may go while requests wait for blocks of the decode pool.

    Not past a step's end there, but its starts come before those of the decode pool.
    """
    replica = decode.replicas[decode.replicas[0]["heap"]]
    next_ps = next_event_ps(decode)
    if replica["event_ps"] == next_ps < FOREVER and replica["event"] != FINISH:
        return next_ps + 1
    return next_ps


@inlined
def pulls(decode: State, moves: Moves, now_ps: int) -> bool:
    """Try the transfers to replicas where a step has ended; whether there were such."""
    if moves.control[0]["pending"] == 0:
        return False
    found = False
    for r in range(len(decode.replicas)):
        if decode.replicas[r]["freed"] != 0:
            decode.replicas[r]["freed"] = 0
            pull(decode, moves, r, now_ps)
            found = True
    return found


@inlined
def take_over(prefill: State, decode: State, moves: Moves, now_ps: int) -> None:
    """Take over chunks that have begun, and requests whose prefill has ended, in their order."""
    control, own, handed = moves.control[0], prefill.control[0], prefill.handed
    look(decode, now_ps)
    for place in range(own["chunks"]):
        follow(prefill, decode, moves, place, now_ps)
    own["chunks"] = 0
    for i in range(control["handed"], own["handed"]):
        row, place = handed[i], i
        while place > control["handed"] and handed[place - 1] > row:
            handed[place] = handed[place - 1]
            place -= 1
        handed[place] = row
    for i in range(control["handed"], own["handed"]):
        hand_over(prefill, decode, moves, handed[i], now_ps)
    control["handed"] = own["handed"]


@inlined
def check(prefill: State, decode: State, moves: Moves, fabric: Fabric) -> None:
    """Stop where a pool, or the messages, cannot go on."""
    if fabric.control[0]["status"] == MESSAGE_LATE:
        moves.control[0]["status"] = LATE
    elif (
        prefill.control[0]["status"] != pool.RUNNING or decode.control[0]["status"] != pool.RUNNING
    ):
        moves.control[0]["status"] = STUCK


@inlined
def is_done(prefill: State, decode: State, moves: Moves) -> bool:
    """Whether every request has its last token."""
    count = len(moves.requests)
    return bool(prefill.control[0]["done"] == count and decode.control[0]["done"] == count)
