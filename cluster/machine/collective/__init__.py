"""Collectives and sends in closed form, over the links that the routes say they cross."""

from cluster.machine.collective.cost import (
    Cost,
    all_gather,
    all_reduce,
    all_to_all,
    reduce_scatter,
    send,
)
from cluster.machine.collective.fabric import TIERS
from cluster.machine.collective.group import (
    ALGORITHMS,
    CollectiveError,
    Group,
    Tier,
    group_of,
)

__all__ = [
    "ALGORITHMS",
    "TIERS",
    "CollectiveError",
    "Cost",
    "Group",
    "Tier",
    "all_gather",
    "all_reduce",
    "all_to_all",
    "group_of",
    "reduce_scatter",
    "send",
]
