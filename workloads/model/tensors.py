"""One weight."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

Role: TypeAlias = Literal[
    "attention", "mlp", "expert", "shared_expert", "router", "embedding", "head", "norm", "other"
]
Split: TypeAlias = Literal["column", "kv_head", "row", "head", "vocabulary", "replicated"]

BLOCK = 64
"""Widths are cut in whole blocks: of a block format, and of the rows of a weight tile."""

OUTSIDE = -1
"""The layer number of what lies outside the layers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """``count`` equal weights of ``k`` (contracted, stored in blocks) by ``n``."""

    name: str
    layer: int
    role: Role
    k: int
    """Rows that are contracted; 1 for a vector. The embedding is written ``hidden x vocab``."""
    n: int
    count: int = 1
    """Experts, or heads that each have a matrix of their own (MLA's absorbed projections)."""
    split: Split = "replicated"
    """How a tensor group shares it: ``column`` and ``vocabulary`` cut n, ``row`` cuts k, ``head``
    cuts the count; ``kv_head`` cuts n, fewer heads than cards being replicated; ``replicated`` is
    whole on every card."""
    product: str = ""
    """The matrix product that it belongs to (weights that share an input share a product); "" for
    norms, biases, tables and other vector work."""
    unit: int = BLOCK
    """Neighbouring rows or columns that the split never parts: a block, or a head's width."""

    @property
    def elements(self) -> int:
        return self.k * self.n * self.count


def column(
    name: str, layer: int, role: Role, k: int, n: int, *, product: str = "", unit: int
) -> Tensor:
    """Return one matrix that is cut along n, in whole units."""
    return Tensor(
        name=name, layer=layer, role=role, k=k, n=n, split="column", product=product, unit=unit
    )


def whole(name: str, layer: int, role: Role, k: int, n: int, *, product: str = "") -> Tensor:
    """Return one matrix that every card holds whole."""
    return Tensor(name=name, layer=layer, role=role, k=k, n=n, product=product)


def norm(name: str, layer: int, width: int) -> Tensor:
    """Return a weighted norm's vector."""
    return Tensor(name=name, layer=layer, role="norm", k=1, n=width)
