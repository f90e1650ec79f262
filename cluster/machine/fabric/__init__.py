"""What transfers ask of links that others use too."""

from cluster.machine.fabric.card_messages import card_messages
from cluster.machine.fabric.coflows import coflows, steps
from cluster.machine.fabric.flows import flows, hops
from cluster.machine.fabric.legs import Leg, TransferList
from cluster.machine.fabric.messages import Messages, messages, round_steps
from cluster.machine.fabric.resources import Resources, plain_resources, resources_of
from cluster.machine.fabric.rounds import Round, algorithms_of, nested_rounds, rounds_of
from cluster.machine.fabric.transfers import FULL, FabricError, Transfers

__all__ = [
    "FULL",
    "FabricError",
    "Leg",
    "Messages",
    "Resources",
    "Round",
    "TransferList",
    "Transfers",
    "algorithms_of",
    "card_messages",
    "coflows",
    "flows",
    "hops",
    "messages",
    "nested_rounds",
    "plain_resources",
    "resources_of",
    "round_steps",
    "rounds_of",
    "steps",
]
