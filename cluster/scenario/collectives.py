"""The names of collective algorithms: what a scenario may choose is what the library registers."""

from typing import Literal, TypeAlias

AlgorithmName: TypeAlias = Literal[
    "auto", "direct", "ring", "halving_doubling", "tree", "hierarchical"
]
"""Each but ``auto`` is a file of ``perf_model/collectives/algorithms``."""
