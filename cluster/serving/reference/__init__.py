"""The reference serving engine: slow, readable, and bit-equal to the kernel.

It implements the same specification (``cluster/serving/DESIGN.md``) and shares prices but no
scheduling code with the kernel. Start reading at ``simulation.py``.
"""

from cluster.serving.reference.simulation import serve_reference

__all__ = ["serve_reference"]
