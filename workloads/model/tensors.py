"""A layer's weights, one by one, and the matrix products that they make."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from workloads.model.layers import Attention, Mlp

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """``count`` products x[m, k] W[k, n] that are done at once."""

    name: str
    role: Role
    k: int
    n: int
    count: int
    """Experts (each with its own tokens) or heads (each with its own slice of x)."""
    split: Split


def merge_products(tensors: Sequence[Tensor]) -> tuple[Product, ...]:
    """Join tensors of the same product side by side along n, in order of first appearance.

    The split is that of the first member: replicated keys of a column-split product stay visible
    in the tensors.
    """
    joined: dict[str, list[Tensor]] = {}
    for tensor in tensors:
        if tensor.product:
            joined.setdefault(tensor.product, []).append(tensor)
    return tuple(
        Product(
            name=name,
            role=members[0].role,
            k=members[0].k,
            n=sum(member.n for member in members),
            count=members[0].count,
            split=members[0].split,
        )
        for name, members in joined.items()
    )


def layer_tensors(attention: Attention, mlp: Mlp, hidden: int, layer: int) -> tuple[Tensor, ...]:
    """Every weight of one decoder layer, in the order in which they work."""
    make = {"gqa": _gqa, "mla": _mla, "linear": _linear}[attention.kind]
    return (
        Tensor(name="input_norm", layer=layer, role="norm", k=1, n=hidden),
        *make(attention, hidden, layer),
        Tensor(name="mlp_norm", layer=layer, role="norm", k=1, n=hidden),
        *_mlp(mlp, hidden, layer),
    )


def outer_tensors(hidden: int, vocab: int, *, tied: bool) -> tuple[Tensor, ...]:
    """Embedding, final norm and, unless it is the embedding itself, the head."""
    embedding = Tensor(
        name="embedding", layer=OUTSIDE, role="embedding", k=hidden, n=vocab, split="vocabulary"
    )
    norm = Tensor(name="final_norm", layer=OUTSIDE, role="norm", k=1, n=hidden)
    if tied:
        return embedding, norm
    head = Tensor(
        name="head",
        layer=OUTSIDE,
        role="head",
        k=hidden,
        n=vocab,
        split="vocabulary",
        product="head",
    )
    return embedding, norm, head


def _gqa(a: Attention, hidden: int, layer: int) -> Iterator[Tensor]:
    queries = a.head_dim * (2 if a.output_gate else 1)
    columns: tuple[tuple[str, int, int, Split], ...] = (
        ("q", a.heads, queries, "column"),
        ("k", a.kv_heads, a.head_dim, "kv_head"),
        ("v", a.kv_heads, a.value_dim, "kv_head"),
    )
    for name, heads, width, split in columns:
        tensor = _column(name, layer, "attention", hidden, heads * width, unit=width)
        yield replace(tensor, split=split, product="qkv")
    for name, heads, width, split in columns if a.qkv_bias else ():
        bias = _column(f"{name}_bias", layer, "attention", 1, heads * width, unit=width)
        yield replace(bias, split=split)
    if a.qk_norm:
        yield Tensor(name="q_norm", layer=layer, role="norm", k=1, n=a.head_dim)
        yield Tensor(name="k_norm", layer=layer, role="norm", k=1, n=a.head_dim)
    if a.sinks:
        yield _column("sinks", layer, "attention", 1, a.heads, unit=1)
    yield from _output(a, hidden, layer)


def _mla(a: Attention, hidden: int, layer: int) -> Iterator[Tensor]:
    source = hidden
    if a.q_lora_rank:
        yield _whole("q_down", layer, "attention", hidden, a.q_lora_rank, product="latent")
        source = a.q_lora_rank
    latent = a.kv_lora_rank + a.rope_dim
    yield _whole("kv_down", layer, "attention", hidden, latent, product="latent")
    if a.q_lora_rank:
        yield Tensor(name="q_latent_norm", layer=layer, role="norm", k=1, n=a.q_lora_rank)
    yield Tensor(name="kv_latent_norm", layer=layer, role="norm", k=1, n=a.kv_lora_rank)
    queries = a.heads * a.head_dim
    yield _column("q_up", layer, "attention", source, queries, product="q_up", unit=a.head_dim)
    yield from _absorbed(a, layer)
    yield from _output(a, hidden, layer)
    if a.index_heads:
        yield from _indexer(a, hidden, source, layer)


def _absorbed(a: Attention, layer: int) -> Iterator[Tensor]:
    """The latent's up-projections as serving uses them: folded into the queries and the output."""
    for name, k, n in (("k_up", a.nope_dim, a.kv_lora_rank), ("v_up", a.kv_lora_rank, a.value_dim)):
        yield Tensor(
            name=name,
            layer=layer,
            role="attention",
            k=k,
            n=n,
            count=a.heads,
            split="head",
            product=name,
        )


def _indexer(a: Attention, hidden: int, source: int, layer: int) -> Iterator[Tensor]:
    queries = a.index_heads * a.index_dim
    yield _whole("index_q", layer, "attention", source, queries, product="index_q")
    yield _whole("index_k", layer, "attention", hidden, a.index_dim, product="index_kw")
    yield _whole("index_w", layer, "attention", hidden, a.index_heads, product="index_kw")
    yield Tensor(name="index_k_norm", layer=layer, role="norm", k=1, n=2 * a.index_dim)


def _linear(a: Attention, hidden: int, layer: int) -> Iterator[Tensor]:
    keys, values = a.kv_heads * a.head_dim, a.heads * a.value_dim
    group = a.heads // a.kv_heads
    parts = (
        ("q", keys, a.head_dim),
        ("k", keys, a.head_dim),
        ("v", values, group * a.value_dim),
        ("z", values, group * a.value_dim),
        ("beta", a.heads, group),
        ("alpha", a.heads, group),
    )
    for name, n, unit in parts:
        yield _column(name, layer, "attention", hidden, n, product="qkvz", unit=unit)
    for name, n, unit in parts[:3]:
        yield _column(f"{name}_conv", layer, "other", a.conv_kernel, n, unit=unit)
    yield _column("time_bias", layer, "other", 1, a.heads, unit=group)
    yield _column("decay", layer, "other", 1, a.heads, unit=group)
    yield Tensor(name="output_norm", layer=layer, role="norm", k=1, n=a.value_dim)
    yield from _output(a, hidden, layer)


def _output(a: Attention, hidden: int, layer: int) -> Iterator[Tensor]:
    group = a.heads // a.kv_heads if a.kind == "linear" else 1
    yield Tensor(
        name="output",
        layer=layer,
        role="attention",
        k=a.heads * a.value_dim,
        n=hidden,
        split="row",
        product="output",
        unit=group * a.value_dim,
    )
    if a.output_bias:
        yield Tensor(name="output_bias", layer=layer, role="attention", k=1, n=hidden)


def _mlp(m: Mlp, hidden: int, layer: int) -> Iterator[Tensor]:
    if m.kind == "dense":
        yield from _gated("", layer, "mlp", (hidden, m.intermediate, 1), bias=m.bias)
        return
    yield _whole("router", layer, "router", hidden, m.experts, product="router")
    if m.router_bias:
        yield Tensor(name="router_bias", layer=layer, role="router", k=1, n=m.experts)
    shape = (hidden, m.intermediate, m.experts)
    yield from _gated("expert_", layer, "expert", shape, bias=m.bias)
    if m.shared_intermediate:
        shape = (hidden, m.shared_intermediate, 1)
        yield from _gated("shared_", layer, "shared_expert", shape, bias=m.bias)
    if m.shared_gate:
        yield _whole("shared_gate", layer, "shared_expert", hidden, 1, product="shared_gate")


def _gated(
    prefix: str, layer: int, role: Role, shape: tuple[int, int, int], *, bias: bool
) -> Iterator[Tensor]:
    """Gate and up in one product, then down; ``shape`` is hidden, intermediate, count."""
    hidden, intermediate, count = shape

    def tensor(name: str, k: int, n: int, split: Split, product: str = "") -> Tensor:
        return Tensor(
            name=prefix + name,
            layer=layer,
            role=role,
            k=k,
            n=n,
            count=count,
            split=split,
            product=prefix + product if product else "",
        )

    yield tensor("gate", hidden, intermediate, "column", "gate_up")
    yield tensor("up", hidden, intermediate, "column", "gate_up")
    if bias:
        yield tensor("gate_bias", 1, intermediate, "column")
        yield tensor("up_bias", 1, intermediate, "column")
    yield tensor("down", intermediate, hidden, "row", "down")
    if bias:
        yield tensor("down_bias", 1, hidden, "replicated")


def _column(
    name: str, layer: int, role: Role, k: int, n: int, *, product: str = "", unit: int
) -> Tensor:
    return Tensor(
        name=name, layer=layer, role=role, k=k, n=n, split="column", product=product, unit=unit
    )


def _whole(name: str, layer: int, role: Role, k: int, n: int, *, product: str = "") -> Tensor:
    return Tensor(name=name, layer=layer, role=role, k=k, n=n, product=product)
