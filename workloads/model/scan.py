"""Work of layers that keep a state of fixed size: of a decoding token, and of a chunk of a scan.

A head's state is ``head_dim x value_dim``. A decoding token reads it, changes it and writes it:

- Gated delta rule (Yang et al., arXiv:2412.06464, equation 10): ``v' = S^T k``,
  ``S = a S + b k (v - v')^T``, ``o = S^T q``: three times d_k x d_v multiply-adds.
- Mamba-2 (Dao and Gu, arXiv:2405.21060, equation 2): ``S = a S + B x^T``, ``y = C S``: twice.

A prompt is scanned in chunks of SCAN_TOKENS, products in place of one step after the other:

- Gated delta rule (arXiv:2412.06464, section 3.3; arXiv:2406.06484, section 3.2): ``K K^T`` and
  ``Q K^T``, the inverse ``T`` of a unit triangular matrix (counted as one product of its size),
  ``W = T K`` and ``U = T V``, what both take from the state (``W S``, ``Q S``), ``P U``, and
  ``K^T U`` into the state.
- Mamba-2 (arXiv:2405.21060, section 6): ``C B^T`` once for each group, ``(L * C B^T) X``,
  ``C S`` and ``B^T X``.

Both devices are priced with chunks of 64 tokens, as the delta rule's kernels have them
(flash-linear-attention); kernels of Mamba-2 take 128 or 256, with more work inside a chunk and
fewer states between them.
"""

from typing import NamedTuple

from workloads.model.layers import Attention

SCAN_TOKENS = 64


class Widths(NamedTuple):
    """Widths of a recurrent layer with so many heads and groups."""

    inputs: int
    """Of the product that makes them all."""
    channels: int
    """Through the convolution: queries, keys and values (C, B and x)."""
    values: int
    """Of all heads; as wide as the gate."""


def recurrent_widths(a: Attention, heads: int, groups: int) -> Widths:
    """Of a rank, or of the whole layer. The delta rule has two numbers per head, Mamba-2 one."""
    values = heads * a.value_dim
    channels = 2 * groups * a.head_dim + values
    steps = heads * (2 if a.kind == "linear" else 1)
    return Widths(channels + values + steps, channels, values)


class HeadProduct(NamedTuple):
    """``vectors`` vectors times a stationary ``k x n`` matrix, of each head or of each group."""

    k: int
    n: int
    vectors: int
    by_group: bool = False

    @property
    def macs(self) -> int:
        return self.k * self.n * self.vectors


def step_products(a: Attention) -> tuple[HeadProduct, ...]:
    """Products of a decoding token with its state; the change of the state is element-wise."""
    reads = 2 if a.kind == "linear" else 1  # S^T k and S^T q; C S
    return (HeadProduct(a.head_dim, a.value_dim, reads),)


def scan_products(a: Attention) -> tuple[HeadProduct, ...]:
    """Products of a whole chunk of SCAN_TOKENS."""
    keys, values, chunk = a.head_dim, a.value_dim, SCAN_TOKENS
    if a.kind == "mamba":
        return (
            HeadProduct(keys, chunk, chunk, by_group=True),
            HeadProduct(chunk, values, chunk),
            HeadProduct(keys, values, chunk),
            HeadProduct(chunk, values, keys),
        )
    return (
        HeadProduct(keys, chunk, 2 * chunk),
        HeadProduct(chunk, chunk, chunk),
        HeadProduct(chunk, keys, chunk),
        HeadProduct(chunk, values, chunk),
        HeadProduct(keys, values, 2 * chunk),
        HeadProduct(chunk, values, chunk),
        HeadProduct(chunk, values, keys),
    )


def step_elements(a: Attention) -> int:
    """Elements of a head's state, each of which a decoding token decays and adds to."""
    return a.head_dim * a.value_dim


def scan_elements(a: Attention) -> int:
    """The same of a chunk, with the decays between its tokens (the delta rule has two masks)."""
    masks = 1 if a.kind == "mamba" else 2
    return step_elements(a) + masks * SCAN_TOKENS**2


def macs_of(products: tuple[HeadProduct, ...], heads: int, groups: int) -> int:
    """Multiply-adds of all heads and groups together."""
    return sum(each.macs * (groups if each.by_group else heads) for each in products)


def step_macs(a: Attention, heads: int) -> int:
    """Multiply-adds of a decoding token where the change of the state is one, too."""
    return macs_of(step_products(a), heads, heads) + heads * step_elements(a)
