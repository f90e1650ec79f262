"""Routing of requests to replicas."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from cluster.scenario.routers import WEIGHTS
from cluster.serving.reference.blocks import BlockPool
from cluster.serving.reference.replica import Replica
from cluster.serving.reference.request import Request

SNAPSHOT_PS = 10**11
"""vLLM's coordinator publishes the load of its engines at most every 100 ms (DESIGN.md)."""


@dataclass(slots=True)
class Load:
    """The load of an engine that vLLM's router has from the last snapshot."""

    waiting: int
    running: int
    kv_use: float


@dataclass(slots=True)
class Prompts:
    """What Dynamo's router keeps of the prompts that it has sent to a worker."""

    prefill: dict[Request, int] = field(default_factory=dict)
    """Tokens to compute, of each request without a first token."""
    blocks: dict[Request, set[object]] = field(default_factory=dict)
    """Full blocks of the prompt of each unfinished request."""

    def begin(self, request: Request, pool: BlockPool) -> None:
        self.prefill[request] = request.prompt - pool.cached_prompt(request) * pool.block_size
        self.blocks[request] = blocks_of(request, pool)


def blocks_of(request: Request, pool: BlockPool) -> set[object]:
    """The names of the full blocks of its prompt: shared ones have keys, others are its own."""
    full = request.prompt // pool.block_size
    keys = request.keys[:full]
    return {*keys, *((request.number, block) for block in range(len(keys), full))}


class Router:
    """One of ``ROUTERS`` over the replicas."""

    def __init__(self, name: str, replicas: list[Replica], weights: tuple[float, ...] = ()) -> None:
        self.name = name
        self.weights = weights or WEIGHTS.get(name, ())
        self.replicas = replicas
        self.routed = 0
        self.last_chosen = -1
        self.loads = [Load(0, 0, 0.0) for _ in replicas]
        self.next_snapshot_ps = SNAPSHOT_PS
        self.prompts = [Prompts() for _ in replicas]

    def look(self, now_ps: int) -> None:
        """Take the snapshot of the last whole 100 ms before the events at ``now_ps``."""
        if now_ps < self.next_snapshot_ps:
            return
        self.next_snapshot_ps = (now_ps // SNAPSHOT_PS + 1) * SNAPSHOT_PS
        self.loads = [
            Load(
                waiting=len(replica.queue),
                running=len(replica.running),
                kv_use=1.0 - (replica.pool.room[0] - replica.pool.used) / replica.pool.room[0],
            )
            for replica in self.replicas
        ]

    def choose(self, request: Request) -> Replica:
        chosen = self._choose(request)
        self.routed += 1
        self.last_chosen = chosen.number
        self.loads[chosen.number].waiting += 1  # as vLLM's client counts until the next snapshot
        if self.name == "kv_overlap":
            self.prompts[chosen.number].begin(request, chosen.pool)
        return chosen

    def computed(self, request: Request) -> None:
        """The prompt of ``request`` is computed: it has its first token."""
        self.prompts[request.replica].prefill.pop(request, None)

    def finished(self, request: Request) -> None:
        self.prompts[request.replica].blocks.pop(request, None)

    def _choose(self, request: Request) -> Replica:
        count = len(self.replicas)
        match self.name:
            case "round_robin":
                return self.replicas[self.routed % count]
            case "random" | "session_affinity":
                return self.replicas[request.router_choice]
            case "least_kv":
                return self._least(self.last_chosen + 1, lambda replica: replica.pool.used)
            case "vllm_dp":  # its scan starts one replica later with every request
                return self._least(self.routed, self._vllm_score)
            case "least_outstanding":
                return self._least(
                    self.last_chosen + 1, lambda replica: replica.unfinished + replica.pulling
                )
            case "kv_overlap":
                return self._least(
                    self.last_chosen + 1, lambda replica: self._overlap_cost(replica, request)
                )
            case "weighted_scorers":
                return self._least(
                    self.last_chosen + 1, lambda replica: -self._weighted_score(replica, request)
                )
        raise ValueError(f"the reference has no rule for the router {self.name!r}")

    def _least(self, first: int, score: Callable[[Replica], float]) -> Replica:
        """The replica with the lowest score; of ties the first at or after ``first``."""
        turned: Sequence[Replica] = [
            self.replicas[(first + i) % len(self.replicas)] for i in range(len(self.replicas))
        ]
        return min(turned, key=score)

    def _vllm_score(self, replica: Replica) -> float:
        """In floating point, as in vLLM: rounding decides between equal loads."""
        load = self.loads[replica.number]
        busy = max(replica.unfinished + replica.pulling, load.waiting + load.running)
        return busy + load.waiting * 6.0 * max(0.0, load.kv_use - 0.5)

    def _overlap_cost(self, replica: Replica, request: Request) -> float:
        """Dynamo's cost: tokens to compute, in blocks, and blocks of all prompts."""
        sent, pool = self.prompts[replica.number], replica.pool
        own = request.prompt - pool.cached_prompt(request) * pool.block_size
        blocks = blocks_of(request, pool).union(*sent.blocks.values())
        tokens = sum(sent.prefill.values()) + own
        return self.weights[0] * (tokens / pool.block_size) + len(blocks)

    def _weighted_score(self, replica: Replica, request: Request) -> float:
        """The scores of llm-d's scorers times their weights."""
        pool, queues = replica.pool, [len(each.queue) for each in self.replicas]
        full = request.prompt // pool.block_size
        prefix = pool.cached_prompt(request) / full if full else 0.0
        spread = max(queues) - min(queues)
        queue = (max(queues) - len(replica.queue)) / spread if spread else 1.0
        utilization = 1.0 - pool.used / pool.room[0]
        weights = self.weights
        return queue * weights[1] + utilization * weights[2] + prefix * weights[0]
