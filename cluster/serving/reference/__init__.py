"""The serving engine that anyone can read: slow, plain, and equal to the kernel to the bit.

It obeys the same page of rules (``cluster/serving/DESIGN.md``) and shares prices and no scheduling
code with the kernel. Start reading at ``simulation.py``.
"""

from cluster.serving.reference.simulation import serve_reference

__all__ = ["serve_reference"]
