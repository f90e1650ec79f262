"""The names of collective algorithms: what a scenario may choose is what the library registers."""

from typing import Literal, TypeAlias

AlgorithmName: TypeAlias = Literal[
    "auto", "direct", "ring", "halving_doubling", "tree", "hierarchical"
]
"""Each but ``auto`` is a file of ``perf_model/collectives/algorithms``."""

Detail: TypeAlias = Literal["coflow", "steps", "messages"]
"""How a replay carries a collective out: as one leg, a leg for each step, or message by message."""
