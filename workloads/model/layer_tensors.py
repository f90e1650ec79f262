"""A layer's weights, one by one: its norms, every kind of mixer, its feed-forward half."""

from collections.abc import Iterator
from dataclasses import replace

from workloads.model.layers import RECURRENT, Attention, Layer, Mlp
from workloads.model.tensors import OUTSIDE, Role, Split, Tensor, column, norm, whole


def layer_tensors(layer: Layer, hidden: int, number: int) -> tuple[Tensor, ...]:
    """Every weight of one decoder layer, in the order in which they work."""
    return tuple(_layer(layer, hidden, number))


def _layer(layer: Layer, hidden: int, number: int) -> Iterator[Tensor]:
    attention, mlp = layer.attention, layer.mlp
    makers = {
        "gqa": _gqa,
        "mla": _mla,
        "linear": linear_tensors,
        "mamba": mamba_tensors,
        "compressed": compressed_tensors,
    }
    if attention.kind != "none":
        yield norm("input_norm", number, hidden)
        yield from makers[attention.kind](attention, hidden, number)
        if layer.output_norms:
            yield norm("attention_output_norm", number, hidden)
    if mlp.kind != "none":
        yield norm("mlp_norm", number, hidden)
        yield from mlp_tensors(mlp, hidden, number)
        if layer.output_norms:
            yield norm("mlp_output_norm", number, hidden)
    if layer.streams > 1:
        yield from stream_tensors(layer.streams, hidden, number)


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
    for name, heads, width, split in columns[: 2 if a.keys_are_values else 3]:
        tensor = column(name, layer, "attention", hidden, heads * width, unit=width)
        yield replace(tensor, split=split, product="qkv")
    for name, heads, width, split in columns if a.qkv_bias else ():
        bias = column(f"{name}_bias", layer, "attention", 1, heads * width, unit=width)
        yield replace(bias, split=split)
    if a.qk_norm or a.qk_norm_whole:
        queries, keys = (a.heads, a.kv_heads) if a.qk_norm_whole else (1, 1)
        yield norm("q_norm", layer, queries * a.head_dim)
        yield norm("k_norm", layer, keys * a.head_dim)
    if a.head_gate:
        yield column("head_gate", layer, "attention", hidden, a.heads, product="head_gate", unit=1)
    if a.sinks:
        yield column("sinks", layer, "attention", 1, a.heads, unit=1)
    yield from output_tensors(a, hidden, layer)
    if a.index_heads:
        yield from _indexer(a, hidden, hidden, layer)


def _mla(a: Attention, hidden: int, layer: int) -> Iterator[Tensor]:
    source = hidden
    if a.q_lora_rank:
        yield whole("q_down", layer, "attention", hidden, a.q_lora_rank, product="latent")
        source = a.q_lora_rank
    latent = a.kv_lora_rank + a.rope_dim
    yield whole("kv_down", layer, "attention", hidden, latent, product="latent")
    if a.q_lora_rank:
        yield Tensor(name="q_latent_norm", layer=layer, role="norm", k=1, n=a.q_lora_rank)
    yield Tensor(name="kv_latent_norm", layer=layer, role="norm", k=1, n=a.kv_lora_rank)
    queries = a.heads * a.head_dim
    yield column("q_up", layer, "attention", source, queries, product="q_up", unit=a.head_dim)
    yield from _absorbed(a, layer)
    yield from output_tensors(a, hidden, layer)
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
    yield whole("index_q", layer, "attention", source, queries, product="index_q")
    yield whole("index_k", layer, "attention", hidden, a.index_dim, product="index_kw")
    yield whole("index_w", layer, "attention", hidden, a.index_heads, product="index_kw")
    yield Tensor(name="index_k_norm", layer=layer, role="norm", k=1, n=2 * a.index_dim)


def mlp_tensors(m: Mlp, hidden: int, layer: int) -> Iterator[Tensor]:
    """The MLP of a layer: dense, or router, routed experts and shared ones."""
    if m.kind == "dense":
        yield from _gated("", layer, "mlp", (hidden, m.intermediate, 1), m)
        return
    yield whole("router", layer, "router", hidden, m.experts, product="router")
    if m.router_bias:
        yield Tensor(name="router_bias", layer=layer, role="router", k=1, n=m.experts)
    if m.latent:
        yield whole("latent_down", layer, "router", hidden, m.latent, product="latent_down")
        yield whole("latent_up", layer, "router", m.latent, hidden, product="latent_up")
    shape = (m.latent or hidden, m.intermediate, m.experts)
    yield from _gated("expert_", layer, "expert", shape, m)
    if m.shared_intermediate:
        shape = (hidden, m.shared_intermediate, 1)
        yield from _gated("shared_", layer, "shared_expert", shape, m)
    if m.shared_gate:
        yield whole("shared_gate", layer, "shared_expert", hidden, 1, product="shared_gate")


def _gated(
    prefix: str, layer: int, role: Role, shape: tuple[int, int, int], m: Mlp
) -> Iterator[Tensor]:
    """Gate (if any) and up in one product, then down; ``shape`` is hidden, intermediate, count."""
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

    if m.gated:
        yield tensor("gate", hidden, intermediate, "column", "gate_up")
    yield tensor("up", hidden, intermediate, "column", "gate_up")
    if m.bias and m.gated:
        yield tensor("gate_bias", 1, intermediate, "column")
    if m.bias:
        yield tensor("up_bias", 1, intermediate, "column")
    yield tensor("down", intermediate, hidden, "row", "down")
    if m.bias:
        yield tensor("down_bias", 1, hidden, "replicated")


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
