"""The names of collective algorithms, taken from the library's registry."""

from typing import Literal, TypeAlias

AlgorithmName: TypeAlias = Literal[
    "auto", "direct", "ring", "halving_doubling", "tree", "hierarchical", "any_order"
]
"""Each but ``auto`` is a file of ``perf_model/collectives/algorithms``."""

Norms: TypeAlias = Literal["auto", "replicated", "sharded"]
"""Where norms, residual adds and quantising are done: on every chiplet for all tokens, or each for
its own (sequence parallelism); ``auto``: the cheaper at each count of tokens."""

Overlap: TypeAlias = Literal["none", "chunked"]
"""Whether collectives run beside the products next to them, both in chunks of tokens."""

Detail: TypeAlias = Literal["coflow", "steps", "messages"]
"""How a replay carries a collective out: as one leg, a leg for each step, or message by message."""
