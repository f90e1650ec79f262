"""Weights of mixers other than plain attention: gated delta rule, Mamba-2, compressed attention."""

from collections.abc import Iterator

from workloads.model.layers import RECURRENT, Attention
from workloads.model.tensors import Tensor, column, norm, whole


def linear_tensors(a: Attention, hidden: int, layer: int) -> Iterator[Tensor]:
    """Gated delta rule: projections, convolutions, decay, gate and output."""
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
        yield column(name, layer, "attention", hidden, n, product="qkvz", unit=unit)
    for name, n, unit in parts[:3]:
        yield column(f"{name}_conv", layer, "other", a.conv_kernel, n, unit=unit)
    yield column("time_bias", layer, "other", 1, a.heads, unit=group)
    yield column("decay", layer, "other", 1, a.heads, unit=group)
    yield Tensor(name="output_norm", layer=layer, role="norm", k=1, n=a.value_dim)
    yield from output_tensors(a, hidden, layer)


def mamba_tensors(a: Attention, hidden: int, layer: int) -> Iterator[Tensor]:
    """Mamba-2: gate, inputs, B and C, and the time step in one projection, and the output."""
    inner, group = a.heads * a.value_dim, a.heads // a.kv_heads
    states = a.kv_heads * a.head_dim
    parts = (
        ("z", inner, group * a.value_dim),
        ("x", inner, group * a.value_dim),
        ("b", states, a.head_dim),
        ("c", states, a.head_dim),
        ("time", a.heads, group),
    )
    for name, n, unit in parts:
        yield column(name, layer, "attention", hidden, n, product="zxbct", unit=unit)
    for name, n, unit in parts[1:4]:
        yield column(f"{name}_conv", layer, "other", a.conv_kernel, n, unit=unit)
        if a.qkv_bias:
            yield column(f"{name}_conv_bias", layer, "other", 1, n, unit=unit)
    for name in ("time_bias", "decay", "skip"):
        yield column(name, layer, "other", 1, a.heads, unit=group)
    yield norm("output_norm", layer, inner)
    yield from output_tensors(a, hidden, layer)


def compressed_tensors(a: Attention, hidden: int, layer: int) -> Iterator[Tensor]:
    """DeepSeek V4: latent queries, one shared key-value, a compressor, an output by groups."""
    queries, width = a.heads * a.head_dim, a.head_dim
    yield whole("q_down", layer, "attention", hidden, a.q_lora_rank, product="latent")
    yield whole("kv", layer, "attention", hidden, width, product="latent")
    yield norm("q_latent_norm", layer, a.q_lora_rank)
    yield norm("kv_norm", layer, width)
    yield column("q_up", layer, "attention", a.q_lora_rank, queries, product="q_up", unit=width)
    yield column("sinks", layer, "attention", 1, a.heads, unit=1)
    if a.compress:
        yield from _compressor("compress", a.compress, width, (hidden, layer), halves=a.index_dim)
    if a.index_heads:
        n = a.index_heads * a.index_dim
        yield whole("index_q", layer, "attention", a.q_lora_rank, n, product="index_q")
        yield whole("index_w", layer, "attention", hidden, a.index_heads, product="index_w")
        sizes = (hidden, layer)
        yield from _compressor("index", a.compress, a.index_dim, sizes, halves=a.index_dim)
    yield Tensor(
        name="output_down",
        layer=layer,
        role="attention",
        k=queries // a.output_groups,
        n=a.output_rank,
        count=a.output_groups,
        split="head",
        product="output_down",
    )
    k = a.output_groups * a.output_rank
    yield whole("output", layer, "attention", k, hidden, product="output")


def _compressor(
    prefix: str, ratio: int, width: int, sizes: tuple[int, int], *, halves: int
) -> Iterator[Tensor]:
    """Entries and their weights; those that an indexer picks overlap, hence twice the width."""
    hidden, layer = sizes
    n = width * (2 if halves else 1)
    yield whole(f"{prefix}_kv", layer, "attention", hidden, n, product=f"{prefix}_kv")
    yield whole(f"{prefix}_gate", layer, "attention", hidden, n, product=f"{prefix}_kv")
    yield Tensor(name=f"{prefix}_position", layer=layer, role="other", k=ratio, n=n)
    yield norm(f"{prefix}_norm", layer, width)


def stream_tensors(streams: int, hidden: int, layer: int) -> Iterator[Tensor]:
    """Hyper-connections: what mixes the residual streams, before attention and before the MLP."""
    mixes = streams * (2 + streams)
    for half in ("attention", "mlp"):
        name = f"{half}_streams"
        yield whole(name, layer, "other", streams * hidden, mixes, product=name)
        yield Tensor(name=f"{name}_bias", layer=layer, role="other", k=1, n=mixes + 3)


def output_tensors(a: Attention, hidden: int, layer: int) -> Iterator[Tensor]:
    """From all heads back to the hidden width."""
    group = a.heads // a.kv_heads if a.kind in RECURRENT else 1
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
