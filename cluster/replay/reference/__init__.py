"""The replay engine that anyone can read: slow, plain, and equal to the kernel to the bit.

It obeys the same page of rules (``cluster/replay/DESIGN.md``) and shares with the kernel what it is
given and nothing else: it even pairs calls by itself. Start reading at ``simulation.py``.
"""

from cluster.replay.reference.simulation import replay_reference

__all__ = ["replay_reference"]
