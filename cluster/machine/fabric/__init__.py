"""What transfers ask of links that others use too."""

from cluster.machine.fabric.transfers import FULL, FabricError, Transfers

__all__ = ["FULL", "FabricError", "Transfers"]
