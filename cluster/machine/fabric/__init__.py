"""What transfers ask of links that others use too."""

from cluster.machine.fabric.coflows import coflows, steps
from cluster.machine.fabric.flows import flows, hops
from cluster.machine.fabric.legs import Leg, TransferList
from cluster.machine.fabric.resources import Resources, plain_resources, resources_of
from cluster.machine.fabric.transfers import FULL, FabricError, Transfers

__all__ = [
    "FULL",
    "FabricError",
    "Leg",
    "Resources",
    "TransferList",
    "Transfers",
    "coflows",
    "flows",
    "hops",
    "plain_resources",
    "resources_of",
    "steps",
]
