"""Messages of KV in the fabric of the replay engine's reference."""

from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count

import numpy as np

from cluster.disaggregated.transfer_plan import TransferPlan
from cluster.perf_model.attention import BLOCK_TOKENS
from cluster.perf_model.collectives.point_to_point import paced_messages
from cluster.replay.reference.simulation import Fabric
from cluster.replay.reference.transfer_legs import Flow, Leg, read_legs
from corsair_common.names import STATE
from corsair_common.units import Integers


@dataclass(slots=True, eq=False, kw_only=True)
class Sending:
    """The messages of a prompt, or of a chunk of it."""

    request: int
    origin_ps: int
    first: int = 0
    """Tokens sent before it, and after it."""
    tokens: int
    whole: bool = True
    spent_ps: int = 0
    """Time of the step whose layers it follows; 0: it goes at once."""
    place: int = -1
    left: int = 0
    """Messages under way."""


def bytes_after(plan: TransferPlan, prompt: int, tokens: int, *, whole: bool) -> Integers:
    """[pair] bytes after so many tokens of a prompt: of its full blocks, or all."""
    shares = plan.kv.shares
    if whole:
        sizes: Integers = shares.bytes_of(np.array([prompt]))[0]
        return sizes
    blocks = []
    for window in shares.windows.tolist():
        behind = max(0, prompt - window) // BLOCK_TOKENS if window > 0 else 0
        blocks.append(0 if window == STATE else max(0, tokens // BLOCK_TOKENS - behind))
    total: Integers = shares.block_bytes @ np.array(blocks, np.int64)
    return total


@dataclass(slots=True, eq=False)
class Network:
    """All messages under way; ``base_ps`` is time 0 of the fabric."""

    plan: TransferPlan
    fabric: Fabric = field(default_factory=lambda: Fabric(contended=True))
    places: set[int] = field(default_factory=set)
    entering: list[tuple[int, int, int, Sending, list[Leg]]] = field(default_factory=list)
    """A heap of (time, home, number, sending, legs still to go)."""
    of_flow: dict[int, tuple[int, Sending, list[Leg]]] = field(default_factory=dict)
    """By flow: its home, its sending, and the legs after it."""
    numbers: "count[int]" = field(default_factory=count)

    def next_ps(self) -> int | None:
        """When a message begins or ends next."""
        times = [self.fabric.next_leave_ps(), self.entering[0][0] if self.entering else None]
        known = [time for time in times if time is not None]
        return min(known) + self.plan.base_ps if known else None

    def send(self, sending: Sending, way: int, prompt: int) -> int:
        """Let the messages of a sending begin between a pair of replicas; return their bytes."""
        plan, shares = self.plan, self.plan.kv.shares
        sizes = bytes_after(plan, prompt, sending.tokens, whole=sending.whole)
        if sending.first:
            sizes = sizes - bytes_after(plan, prompt, sending.first, whole=False)
        sending.place = next(place for place in count() if place not in self.places)
        self.places.add(sending.place)
        spent_ps, pairs = sending.spent_ps, len(sizes)
        after_ps = spent_ps // plan.kv.layers * (shares.first_layer + 1)
        first = sizes - -(-sizes // shares.layers) if spent_ps else np.zeros_like(sizes)
        paced_ps = np.where(first > 0, spent_ps - after_ps, 0)
        path = way * pairs + np.arange(pairs)
        table = paced_messages(plan.resources, plan.paths, path, first, paced_ps, sizes - first)
        legs = read_legs(table)
        for pair in np.flatnonzero(sizes).tolist():
            own = [leg for leg in legs[2 * pair : 2 * pair + 2] if leg.shares]
            offset_ps = int(after_ps[pair]) if first[pair] else spent_ps
            begin_ps = sending.origin_ps - plan.base_ps + offset_ps + legs[2 * pair].latency_ps
            home = sending.place * pairs + pair
            heappush(self.entering, (begin_ps, home, next(self.numbers), sending, own))
            sending.left += 1
        return int(sizes.sum())

    def act(self, now_ps: int) -> None:
        """All that happens to messages up to and with this time."""
        while (next_ps := self.next_ps()) is not None and next_ps <= now_ps:
            time_ps = next_ps - self.plan.base_ps
            for flow in self.fabric.take_leaving(time_ps):
                home, sending, rest = self.of_flow.pop(flow.matched_call)
                if rest:
                    heappush(self.entering, (time_ps, home, next(self.numbers), sending, rest))
                else:
                    sending.left -= 1
            while self.entering and self.entering[0][0] == time_ps:
                _, home, _, sending, (leg, *rest) = heappop(self.entering)
                number = next(self.numbers)
                self.of_flow[number] = home, sending, rest
                self.fabric.enter(Flow(number, (0, home), leg))
            self.fabric.find_speeds(time_ps)
