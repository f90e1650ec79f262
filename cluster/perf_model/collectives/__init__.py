"""Collectives and sends: their closed forms, and their transfers in a replay."""

from cluster.perf_model.collectives.algorithms import (
    ALGORITHMS,
    CollectiveError,
    algorithms_of,
    rounds_of,
)
from cluster.perf_model.collectives.algorithms.hierarchical import nested_rounds
from cluster.perf_model.collectives.algorithms.rounds import Round, scatter_of
from cluster.perf_model.collectives.coflows import coflows, curve_leg, steps
from cluster.perf_model.collectives.cost import (
    LIKE,
    Cost,
    SendCost,
    all_gather,
    all_reduce,
    all_to_all,
    call_cost,
    nothing_sent,
    reduce_scatter,
    send,
)
from cluster.perf_model.collectives.fabric import CARD_TIERS, card_tiers, fabric_of, tiers_of
from cluster.perf_model.collectives.group import Group, Tier, group_of
from cluster.perf_model.collectives.messages import Messages, card_messages, messages, round_steps
from cluster.perf_model.collectives.point_to_point import flows, hops, paced_messages, pair_paths
from cluster.perf_model.collectives.resources import (
    Resources,
    link_resources,
    plain_resources,
    resources_of,
)
from cluster.perf_model.collectives.shared import shared_costs
from cluster.perf_model.collectives.transfer_legs import Leg, TransferList, lasting
from cluster.perf_model.collectives.transfers import FULL, FabricError, Transfers

__all__ = [
    "ALGORITHMS",
    "CARD_TIERS",
    "FULL",
    "LIKE",
    "CollectiveError",
    "Cost",
    "FabricError",
    "Group",
    "Leg",
    "Messages",
    "Resources",
    "Round",
    "SendCost",
    "Tier",
    "TransferList",
    "Transfers",
    "algorithms_of",
    "all_gather",
    "all_reduce",
    "all_to_all",
    "call_cost",
    "card_messages",
    "card_tiers",
    "coflows",
    "curve_leg",
    "fabric_of",
    "flows",
    "group_of",
    "hops",
    "lasting",
    "link_resources",
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
    "scatter_of",
    "send",
    "shared_costs",
    "steps",
    "tiers_of",
]
