"""Routing of requests to replicas."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

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


class Router:
    """One of ``ROUTERS`` over the replicas."""

    def __init__(self, name: str, replicas: list[Replica]) -> None:
        self.name = name
        self.replicas = replicas
        self.routed = 0
        self.last_chosen = -1
        self.loads = [Load(0, 0, 0.0) for _ in replicas]
        self.next_snapshot_ps = SNAPSHOT_PS

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
        return chosen

    def _choose(self, request: Request) -> Replica:
        count = len(self.replicas)
        match self.name:
            case "round_robin":
                return self.replicas[self.routed % count]
            case "random":
                return self.replicas[request.router_choice]
            case "least_kv":
                return self._least(self.last_chosen + 1, lambda replica: replica.pool.used)
            case "vllm_dp":  # its scan starts one replica later with every request
                return self._least(self.routed, self._vllm_score)
            case "least_outstanding":
                return self._least(
                    self.last_chosen + 1, lambda replica: replica.unfinished + replica.pulling
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
