"""Which replica a request goes to."""

from cluster.serving.reference.replica import Replica
from cluster.serving.reference.request import Request


class Router:
    """One of ``ROUTERS`` over the replicas; ties go to the lowest number."""

    def __init__(self, name: str, replicas: list[Replica]) -> None:
        self.name = name
        self.replicas = replicas
        self.routed = 0

    def choose(self, request: Request) -> Replica:
        self.routed += 1
        match self.name:
            case "round_robin":
                return self.replicas[(self.routed - 1) % len(self.replicas)]
            case "random":
                return self.replicas[request.router_choice]
            case "least_kv":
                return min(self.replicas, key=lambda replica: replica.pool.used)
            case _:
                return min(self.replicas, key=lambda replica: replica.unfinished)
