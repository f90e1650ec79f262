"""Transfers of requests: wait for blocks, pull, arrive."""

from cluster.compiled import called, inlined
from cluster.disaggregated.kernel.messages import next_message_ps, run_messages, send
from cluster.disaggregated.kernel.state import (
    ABSENT,
    ALONE,
    ARRIVES,
    COMES,
    CROWDED,
    NONE,
    PULLS,
    SENDS,
    SENT,
    WAITS,
    Moves,
)
from cluster.replay.kernel.max_min import double
from cluster.replay.kernel.state import State as Fabric
from cluster.serving.kernel.block_pool import hold_tokens
from cluster.serving.kernel.hand_over import let_go, receive, reserve, route
from cluster.serving.kernel.state import FOREVER, State


@inlined
def next_transfer_ps(moves: Moves, fabric: Fabric) -> int:
    """When something happens to a transfer next, or FOREVER."""
    first_ps = FOREVER
    if fabric.control[0]["queued"] > 0:
        first_ps = next_message_ps(fabric) + moves.control[0]["base_ps"]
    for i in range(moves.control[0]["active"]):
        sending = moves.sendings[i]
        if sending["state"] != SENDS or moves.places[sending["place"]]["left"] == 0:
            first_ps = min(first_ps, sending["event_ps"])
    return first_ps


@called
def move(prefill: State, decode: State, moves: Moves, fabric: Fabric, now_ps: int) -> None:
    """All that happens to transfers at this time: ends, then arrivals, then beginnings.

    Each by request. It ends sooner if the places of messages run out.
    """
    control = moves.control[0]
    run_messages(moves, fabric, now_ps - control["base_ps"])
    i = 0
    while i < control["active"]:
        if ends(moves, i, now_ps):
            end(prefill, moves, i, now_ps)
        else:
            i += 1
    i = 0
    while i < control["active"]:
        sending = moves.sendings[i]
        if sending["state"] == ARRIVES and sending["event_ps"] == now_ps:
            row = sending["request"]
            request = moves.requests[row]
            request["state"], request["received_ps"] = SENT, now_ps
            number = receive(decode, moves.arrivals[row], request["target"], now_ps)
            moves.order[number] = row
            remove(moves, i)
        else:
            i += 1
    for j in range(control["active"]):
        comes = moves.sendings[j]["state"] == COMES and moves.sendings[j]["event_ps"] == now_ps
        if comes and not begin(moves, fabric, j, now_ps):
            control["status"] = CROWDED
            return


@inlined
def ends(moves: Moves, i: int, now_ps: int) -> bool:
    """Whether the last byte of a sending is there."""
    sending = moves.sendings[i]
    if sending["state"] == SENDS:
        return bool(moves.places[sending["place"]]["left"] == 0)
    return bool(sending["state"] == ALONE and sending["event_ps"] == now_ps)


@called
def end(prefill: State, moves: Moves, i: int, now_ps: int) -> None:
    """A sending ends; with the last one of a request its blocks of the prefill pool are free."""
    sending = moves.sendings[i]
    row = sending["request"]
    request = moves.requests[row]
    if sending["state"] == ALONE:
        request["origin_ps"] = sending["origin_ps"]
    else:
        moves.places[sending["place"]]["busy"] = 0
        if sending["met"] == 0 and moves.control[0]["layerwise"] == 0:
            way = request["source"] * moves.control[0]["targets"] + request["target"]
            moves.alone_ps[way, request["kind"]] = now_ps - sending["origin_ps"]
    remove(moves, i)
    request["sendings"] -= 1
    if request["sendings"] == 0 and request["ended_ps"] != NONE:
        sent(prefill, moves, row, now_ps)


@called
def sent(prefill: State, moves: Moves, row: int, now_ps: int) -> None:
    """All KV of a request has been sent, and its prefill has ended."""
    let_go(prefill, row, now_ps)
    insert(moves, row, ARRIVES, now_ps + moves.requests[row]["after_ps"])


@called
def insert(moves: Moves, row: int, state: int, event_ps: int) -> int:
    """Add a sending behind those of the same and of earlier requests; return its position."""
    control, sendings = moves.control[0], moves.sendings
    i: int = control["active"]
    while i > 0 and sendings[i - 1]["request"] > row:
        sendings[i] = sendings[i - 1]
        i -= 1
    control["active"] += 1
    sending = sendings[i]
    sending["request"], sending["state"], sending["event_ps"] = row, state, event_ps
    sending["origin_ps"] = event_ps
    sending["met"] = sending["first"] = sending["spent_ps"] = 0
    sending["tokens"], sending["last"] = moves.requests[row]["tokens"], 1
    sending["place"] = NONE
    return i


@inlined
def remove(moves: Moves, i: int) -> None:
    """Drop a sending."""
    moves.control[0]["active"] -= 1
    for later in range(i, moves.control[0]["active"]):
        moves.sendings[later] = moves.sendings[later + 1]


@called
def begin(moves: Moves, fabric: Fabric, i: int, now_ps: int) -> bool:
    """Let the messages of a sending begin; false if there may be no place for them.

    If it meets no other and messages of the same sizes went alone before, its end is known. As soon
    as another begins they are simulated from their beginning.
    """
    control, sending = moves.control[0], moves.sendings[i]
    request = moves.requests[sending["request"]]
    lone = first_with(moves, ALONE)
    if lone == NONE and fabric.control[0]["queued"] == 0 and control["layerwise"] == 0:
        way = request["source"] * control["targets"] + request["target"]
        alone_ps = moves.alone_ps[way, request["kind"]]
        if alone_ps >= 0 and in_one_bin(fabric, now_ps - control["base_ps"], alone_ps):
            sending["state"], sending["event_ps"] = ALONE, now_ps + alone_ps
            return True
    if free_places(moves) < 2:
        return False
    if lone != NONE:
        put(moves, fabric, lone)
        run_messages(moves, fabric, now_ps - control["base_ps"])
    others = first_with(moves, SENDS) != NONE
    put(moves, fabric, i)
    if others:
        for j in range(control["active"]):
            moves.sendings[j]["met"] = 1
    return True


@inlined
def put(moves: Moves, fabric: Fabric, i: int) -> None:
    """Simulate the messages of a sending one by one, in the lowest free place."""
    sending, place = moves.sendings[i], 0
    while moves.places[place]["busy"] != 0:
        place += 1
    sending["place"], sending["state"] = place, SENDS
    send(moves, fabric, i)


@inlined
def in_one_bin(fabric: Fabric, from_ps: int, lasts_ps: int) -> bool:
    """Whether the bytes of that time are all in one bin of the links' loads."""
    last_ps = from_ps + lasts_ps - 1
    while last_ps >= len(fabric.loads) * fabric.control[0]["bin_ps"]:
        double(fabric)
    bin_ps = fabric.control[0]["bin_ps"]
    return bool(from_ps // bin_ps == last_ps // bin_ps)


@inlined
def first_with(moves: Moves, state: int) -> int:
    """The first sending in a state, or NONE."""
    for i in range(moves.control[0]["active"]):
        if moves.sendings[i]["state"] == state:
            return i
    return NONE


@inlined
def free_places(moves: Moves) -> int:
    """Places without messages."""
    free = 0
    for place in range(len(moves.places)):
        free += 1 - moves.places[place]["busy"]
    return free


@called
def hand_over(prefill: State, decode: State, moves: Moves, row: int, now_ps: int) -> None:
    """Take over a request whose prefill has ended: pull its KV, or let it wait for blocks."""
    request = moves.requests[row]
    request["ended_ps"] = now_ps
    if request["state"] == PULLS:  # layer by layer
        if request["sendings"] == 0:
            sent(prefill, moves, row, now_ps)
        return
    if request["target"] == NONE:
        request["target"] = route(decode, request["drawn"])
    request["source"] = prefill.requests[row]["replica"]
    r = request["target"]
    request["state"], request["next"] = WAITS, NONE
    queue = moves.queues[r]
    if queue["head"] == NONE:
        queue["head"] = row
    else:
        moves.requests[queue["tail"]]["next"] = row
    queue["tail"] = row
    moves.control[0]["pending"] += 1
    decode.replicas[r]["pending"] += 1
    pull(decode, moves, r, now_ps)


@called
def pull(decode: State, moves: Moves, r: int, now_ps: int) -> None:
    """Start the transfers to replica ``r`` that wait, in their order, as far as there are
    blocks."""
    queue = moves.queues[r]
    while queue["head"] != NONE:
        row = queue["head"]
        request = moves.requests[row]
        if not reserve(decode, r, request["tokens"]):
            return
        queue["head"] = request["next"]
        moves.control[0]["pending"] -= 1
        decode.replicas[r]["pending"] -= 1
        request["state"], request["pulled_ps"] = PULLS, now_ps
        request["sendings"] += 1
        insert(moves, row, COMES, now_ps + request["before_ps"])


@called
def follow(prefill: State, decode: State, moves: Moves, place: int, now_ps: int) -> None:
    """Let the KV of a chunk follow its layers, if blocks are there since the first chunk began.

    A prompt that is preempted gives its blocks back: others may wait for them.
    """
    chunk = prefill.chunks[place]
    row = chunk["request"]
    request = moves.requests[row]
    if request["target"] == NONE:
        request["target"] = route(decode, request["drawn"])
        request["source"] = prefill.requests[row]["replica"]
    r = request["target"]
    if chunk["tokens"] == 0:
        if request["state"] == PULLS:
            request["state"] = ABSENT
            hold_tokens(decode, r, request["tokens"], -1)
            pull(decode, moves, r, now_ps)
        return
    begins = chunk["first"] == 0 and request["state"] == ABSENT
    if begins and decode.replicas[r]["pending"] == 0 and reserve(decode, r, request["tokens"]):
        request["state"], request["pulled_ps"] = PULLS, now_ps
    if request["state"] != PULLS:
        return
    i = insert(moves, row, COMES, chunk["start_ps"] + request["before_ps"])
    sending = moves.sendings[i]
    sending["first"], sending["tokens"] = chunk["first"], chunk["tokens"]
    sending["last"] = chunk["last"]
    sending["spent_ps"] = chunk["end_ps"] - chunk["start_ps"]
    request["sendings"] += 1
