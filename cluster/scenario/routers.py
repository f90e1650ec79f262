"""Routers: their names, and for the kernel the rule of each over plain numbers.

The rules of the reference are its own (``serving/reference/router.py``). A further router is a name
and its code here, with a branch of one of the functions, and a case there. The functions are
compiled into the kernel; ``router`` is the position in ROUTERS.
"""

from typing import Literal, TypeAlias, get_args

Router: TypeAlias = Literal[
    "round_robin",
    "random",
    "least_outstanding",
    "least_kv",
    "vllm_dp",
    "kv_overlap",
    "weighted_scorers",
    "session_affinity",
]

ROUTERS: tuple[Router, ...] = get_args(Router)
STATELESS: tuple[Router, ...] = ("round_robin", "random")
"""They look at no replica's state: runs can be cut by their choices (``actors/partition.py``)."""
OF_POOLS: tuple[Router, ...] = (*STATELESS, "least_outstanding", "least_kv", "vllm_dp")
"""Those of a decode pool, whose requests are routed before they arrive."""
AFFINITY: Router = "session_affinity"
"""All turns of a session go to one replica, drawn by a hash of the session's number."""
DRAWN: tuple[Router, ...] = ("random", AFFINITY)
"""Routers whose choices are drawn before the run."""

(
    ROUND_ROBIN,
    RANDOM,
    LEAST_OUTSTANDING,
    LEAST_KV,
    VLLM_DP,
    KV_OVERLAP,
    WEIGHTED_SCORERS,
    SESSION_AFFINITY,
) = range(len(ROUTERS))

WEIGHTS: dict[str, tuple[float, ...]] = {
    "kv_overlap": (1.0,),  # of blocks to prefill, against blocks in use
    "weighted_scorers": (3.0, 2.0, 2.0),  # prefix, queue, KV utilization
}
"""Weights of the routers that look for a request's cached prefix at each replica."""


def chosen_blindly(router: int, routed: int, drawn: int, replicas: int) -> int:
    """The replica where the router looks at none, else -1; ``routed`` requests went before."""
    if router == ROUND_ROBIN:
        return routed % replicas
    if router in (RANDOM, SESSION_AFFINITY):
        return drawn
    return -1


def first_of_ties(router: int, routed: int, last: int, replicas: int) -> int:
    """The replica at which the scan for the least load begins; ``last`` was chosen before."""
    if router == VLLM_DP:  # its scan starts one further on with every request
        return routed % replicas
    return (last + 1) % replicas


def needs_snapshots(router: int) -> bool:
    """Whether its loads are those of the last whole 100 ms."""
    return router == VLLM_DP


def load(
    router: int, outstanding: int, used: int, waiting: int, running: int, seen_used: int, room: int
) -> float:
    """What replicas are compared by (whole numbers are far below 2**53, so exact).

    ``outstanding`` requests and ``used`` units of KV are the replica's now; ``waiting``,
    ``running`` and ``seen_used``, of ``room``, are those of the snapshot.
    """
    if router == LEAST_KV:
        return float(used)
    if router == VLLM_DP:  # in vLLM's order of floating-point operations: roundings decide ties
        kv_use = 1.0 - (room - seen_used) / room
        busy = max(outstanding, waiting + running)
        return float(busy + waiting * 6.0 * max(0.0, kv_use - 0.5))
    return float(outstanding)


def finds_prefixes(router: int) -> bool:
    """Whether it compares how much of a request's prompt each replica has cached."""
    return router in (KV_OVERLAP, WEIGHTED_SCORERS)


def overlap_cost(weight: float, prefill_tokens: int, block_size: int, blocks: int) -> float:
    """Dynamo's cost of a worker, in its order of floating-point operations; the least is chosen.

    ``prefill_tokens`` are those without KV of all prompts there, the request's included; ``blocks``
    those of all its unfinished prompts, shared ones once, the request's included.
    """
    return weight * (prefill_tokens / block_size) + blocks


def prefix_score(cached: int, blocks: int) -> float:
    """llm-d's prefix-cache-scorer: the part of a prompt's blocks that is cached."""
    return cached / blocks if blocks > 0 else 0.0


def queue_score(queued: int, shortest: int, longest: int) -> float:
    """llm-d's queue-scorer: 1 for the shortest queue, 0 for the longest."""
    if longest == shortest:
        return 1.0
    return (longest - queued) / (longest - shortest)
