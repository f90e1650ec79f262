"""The loop of two pools in plain Python, by which the compiled one is tested."""

from cluster.disaggregated.reference.simulation import serve_pools_reference

__all__ = ["serve_pools_reference"]
