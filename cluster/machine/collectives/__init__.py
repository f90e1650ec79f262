"""Collectives and sends: their closed forms, and the transfers that a replay makes of them."""

from cluster.machine.collectives.algorithms import (
    ALGORITHMS,
    CollectiveError,
    algorithms_of,
    rounds_of,
)
from cluster.machine.collectives.algorithms.hierarchical import nested_rounds
from cluster.machine.collectives.algorithms.rounds import Round
from cluster.machine.collectives.coflows import coflows, steps
from cluster.machine.collectives.cost import (
    Cost,
    all_gather,
    all_reduce,
    all_to_all,
    nothing_sent,
    reduce_scatter,
    send,
)
from cluster.machine.collectives.fabric import CARD_TIERS, card_tiers, fabric_of, tiers_of
from cluster.machine.collectives.group import Group, Tier, group_of
from cluster.machine.collectives.messages import Messages, card_messages, messages, round_steps
from cluster.machine.collectives.point_to_point import flows, hops, paced_messages, pair_paths
from cluster.machine.collectives.resources import Resources, plain_resources, resources_of
from cluster.machine.collectives.transfer_legs import Leg, TransferList
from cluster.machine.collectives.transfers import FULL, FabricError, Transfers

__all__ = [
    "ALGORITHMS",
    "CARD_TIERS",
    "FULL",
    "CollectiveError",
    "Cost",
    "FabricError",
    "Group",
    "Leg",
    "Messages",
    "Resources",
    "Round",
    "Tier",
    "TransferList",
    "Transfers",
    "algorithms_of",
    "all_gather",
    "all_reduce",
    "all_to_all",
    "card_messages",
    "card_tiers",
    "coflows",
    "fabric_of",
    "flows",
    "group_of",
    "hops",
    "messages",
    "nested_rounds",
    "nothing_sent",
    "paced_messages",
    "pair_paths",
    "plain_resources",
    "reduce_scatter",
    "resources_of",
    "round_steps",
    "rounds_of",
    "send",
    "steps",
    "tiers_of",
]
