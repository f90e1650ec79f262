"""The names of collective algorithms, taken from the library's registry."""

from typing import Literal, TypeAlias

AlgorithmName: TypeAlias = Literal[
    "auto", "direct", "ring", "halving_doubling", "tree", "hierarchical"
]
"""Each but ``auto`` is a file of ``perf_model/collectives/algorithms``."""
