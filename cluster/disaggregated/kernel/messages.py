"""Messages of KV as flows of the replay engine's fabric, which begin when the loop says so."""

import math

from cluster.compiled import called, inlined
from cluster.disaggregated.kernel.state import NONE, Moves
from cluster.perf_model.attention import BLOCK_TOKENS
from cluster.perf_model.collectives.transfers import FULL
from cluster.replay.interface import LAST_PS
from cluster.replay.kernel.advance import enter, take_away
from cluster.replay.kernel.clock import schedule, take_first
from cluster.replay.kernel.max_min import settle
from cluster.replay.kernel.state import COMING, LATE
from cluster.replay.kernel.state import State as Fabric
from corsair_common.names import STATE
from corsair_common.units import PS_PER_S


@inlined
def next_message_ps(fabric: Fabric) -> int:
    """When a message begins or ends next; there is one."""
    return int(fabric.slots[fabric.slots[0]["heap"]]["event_ps"])


@called
def run_messages(moves: Moves, fabric: Fabric, until_ps: int) -> None:
    """All that happens to messages up to and with ``until_ps``."""
    control = fabric.control[0]
    while control["queued"] > 0 and next_message_ps(fabric) <= until_ps:
        control["now_ps"] = now_ps = next_message_ps(fabric)
        while control["queued"] > 0 and next_message_ps(fabric) == now_ps:
            go_on(moves, fabric, take_first(fabric))
        if control["dirty"] > 0:
            settle(fabric)


@inlined
def go_on(moves: Moves, fabric: Fabric, s: int) -> None:
    """A message begins to flow, or its first part has been sent, or all of it."""
    slot = fabric.slots[s]
    if slot["state"] == COMING:
        enter(fabric, s)
        return
    take_away(fabric, s)
    then = fabric.legs[slot["leg"]]["then"]
    if then == NONE:
        moves.places[s // moves.control[0]["pairs"]]["left"] -= 1
    else:
        slot["leg"], slot["state"] = then, COMING
        schedule(fabric, s, fabric.control[0]["now_ps"])


@called
def send(moves: Moves, fabric: Fabric, i: int) -> None:
    """Let the messages of sending ``i`` begin, in the slots of its place."""
    control, sending = moves.control[0], moves.sendings[i]
    request = moves.requests[sending["request"]]
    base = (request["source"] * control["targets"] + request["target"]) * control["pairs"]
    place = moves.places[sending["place"]]
    place["busy"], place["left"] = 1, 0
    for pair in range(control["pairs"]):
        size = bytes_of(moves, pair, request["tokens"], sending["tokens"], sending["last"])
        if sending["first"] > 0:
            size -= bytes_of(moves, pair, request["tokens"], sending["first"], 0)
        if size > 0:
            place["left"] += 1
            request["sent_bytes"] += size
            message(moves, fabric, i, pair, base + pair, size)


@inlined
def bytes_of(moves: Moves, pair: int, prompt: int, tokens: int, whole: int) -> int:
    """Bytes of a pair of ranks after so many tokens of a prompt: of full blocks, or ``whole``."""
    total = 0
    for k in range(len(moves.windows)):
        window = moves.windows[k]
        if window == STATE:
            blocks = whole
        else:
            behind = max(0, prompt - window) if window > 0 else 0
            blocks = tokens // BLOCK_TOKENS
            if whole:
                blocks = (prompt + BLOCK_TOKENS - 1) // BLOCK_TOKENS
            blocks = max(0, blocks - behind // BLOCK_TOKENS)
        total += blocks * moves.block_bytes[pair, k]
    if whole and prompt % BLOCK_TOKENS > 0:
        total += moves.pairs[pair]["tail_bytes"]
    return total


@inlined
def message(moves: Moves, fabric: Fabric, i: int, pair: int, path: int, size: int) -> None:
    """One message: all layers but the last at the pace of the step, then the last; or at once."""
    sending, own, way = moves.sendings[i], moves.pairs[pair], moves.paths[path]
    first, spent_ps = 0, sending["spent_ps"]
    if spent_ps > 0:
        first = size - (size + own["layers"] - 1) // own["layers"]
    after_ps = spent_ps // moves.control[0]["layers"] * (own["first_layer"] + 1)
    s = sending["place"] * moves.control[0]["pairs"] + pair
    leg = 3 * s
    place = 2 * s * moves.control[0]["longest"]
    begin_ps = sending["origin_ps"] - moves.control[0]["base_ps"] + way["latency_ps"]
    fabric.legs[leg]["first"] = place
    if first > 0:
        work_ps = max(spent_ps - after_ps, sent_ps(first, way["bytes_per_s"]))
        place = write_leg(moves, fabric, leg, path, first, work_ps)
        begin_ps += after_ps
    else:
        begin_ps += spent_ps
    work_ps = sent_ps(size - first, way["bytes_per_s"])
    fabric.legs[leg]["then"] = leg + 1
    fabric.legs[leg + 1]["then"], fabric.legs[leg + 1]["first"] = NONE, place
    fabric.legs[leg + 2]["first"] = write_leg(moves, fabric, leg + 1, path, size - first, work_ps)
    slot = fabric.slots[s]
    slot["leg"], slot["state"] = leg if first > 0 else leg + 1, COMING
    if begin_ps > LAST_PS:
        fabric.control[0]["status"] = LATE
    schedule(fabric, s, begin_ps)


@inlined
def write_leg(moves: Moves, fabric: Fabric, leg: int, path: int, size: int, work_ps: int) -> int:
    """Write a leg of ``size`` bytes and its uses of the links of a path; return their end."""
    own = fabric.legs[leg]
    own["latency_ps"], own["work_ps"], own["peak"] = 0, work_ps, size / work_ps
    place = own["first"]
    for i in range(moves.paths[path]["first"], moves.paths[path + 1]["first"]):
        link, use = moves.links[i], fabric.uses[place]
        part = size * PS_PER_S / (work_ps * moves.bytes_per_s[link])
        use["resource"], use["bytes"] = link, size
        use["share"] = min(max(math.floor(part * FULL), 1), FULL)
        use["weight"] = use["share"] / own["peak"]
        place += 1
    return int(place)


@inlined
def sent_ps(size: int, bytes_per_s: float) -> int:
    """Picoseconds of so many bytes, rounded half to even, at least 1."""
    ps = size / bytes_per_s * PS_PER_S
    whole = math.floor(ps)
    rest = ps - whole
    if rest > 0.5 or (rest == 0.5 and whole % 2 == 1):
        whole += 1
    return int(max(whole, 1))
