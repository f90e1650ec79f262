"""The readable reference engine: slow, simple, and bit-identical to the kernel.

It follows the same rules (``cluster/replay/DESIGN.md``) and shares only its inputs with the kernel:
it even matches calls separately. Start reading at ``simulation.py``.
"""

from cluster.replay.reference.simulation import replay_reference

__all__ = ["replay_reference"]
