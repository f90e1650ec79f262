"""Seconds that the device model takes for the shapes of operation tables."""

from collections.abc import Callable, Mapping
from typing import TypeAlias

import numpy as np

from cluster.perf_model.attention import BLOCK_TOKENS, WIDTH, Heads, layer_products
from cluster.perf_model.collectives import all_reduce, group_of
from cluster.perf_model.devices import device_of, module_of
from cluster.perf_model.devices.protocol import Device
from cluster.perf_model.devices.work import Product, StoredWeights
from cluster.perf_model.tables import DECODE_BLOCKS, PREFILL_BLOCKS, PREFILL_PAIRS, PREFILL_PASSES
from cluster.scenario.formats import Formats
from corsair_common.units import Floats, Integers
from topology.build import build_pod
from topology.catalog import Hardware
from topology.route import compile_routes
from workloads.formats import get_format

Columns: TypeAlias = Mapping[str, Integers]
"""Arrays of equal length; a column that tells groups apart has one value."""
Seconds: TypeAlias = Callable[[Hardware, str, Columns], Floats]
"""Of each shape, on this device in this precision."""

ENGINE_FORMATS = {"mxfp4": "bf16"}
"""Activations where weights have a format that they cannot have (weights alone are of 4 bits)."""


def device(hardware: Hardware, precision: str, *, cards: int = 1, expert_ranks: int = 1) -> Device:
    """A rank whose weights, activations and cache are of one precision; FormatError if it cannot.

    The cache is FP8 or bf16.
    """
    activations = get_format(ENGINE_FORMATS.get(precision, precision))
    formats = Formats(
        weights=get_format(precision),
        activations=activations,
        kv=get_format("fp8" if precision == "fp8" else "bf16"),
        wire=get_format("bf16"),
    )
    return device_of(hardware, formats, cards=cards, expert_ranks=expert_ranks, streams=False)


def gemm_s(hardware: Hardware, precision: str, shapes: Columns) -> Floats:
    """A product and the quantization of its vectors, which these tables time together."""
    rank, m = device(hardware, precision), shapes["m"]
    k, n = int(shapes["k"][0]), int(shapes["n"][0])
    product = rank.matmul("gemm", Product(m=m, k=k, n=n), StoredWeights(k=k, n=n, shares=1))
    quantized = rank.vector("quantize", (m * k, ("quantize",)))
    return _seconds(product.ps + quantized.ps)


def attention_s(hardware: Hardware, precision: str, shapes: Columns) -> Floats:
    """One layer: decodes where there is a context before, else prompts; with queries and context
    read and written."""
    kv_heads, width = int(shapes["num_key_value_heads"][0]), int(shapes["head_dim"][0])
    heads = Heads(
        kv_heads=kv_heads,
        queries_per_kv_head=int(shapes["num_heads"][0]) // kv_heads,
        key_dim=width,
        value_dim=width,
    )
    rank = device(hardware, precision)
    ps, _ = layer_products(rank.attention_records(heads, 1, 0)[:1], _measures(shapes))
    moved = rank.attention_dispatches(heads, shapes["batch_size"] * shapes["isl"])
    return _seconds(ps[:, 0] + sum(operation.ps for operation in moved))


def _measures(shapes: Columns) -> Integers:
    """[shape, MEASURES] of a batch of equal sequences, windows observed."""
    batch, new, before = shapes["batch_size"], shapes["isl"], shapes["step"]
    window = int(shapes["window_size"][0])
    decodes = new == 1
    found = np.zeros((batch.size, WIDTH), np.int64)
    seen = -(-(before + new) // BLOCK_TOKENS)
    if window:
        seen = np.minimum(seen, -(-window // BLOCK_TOKENS) + 1)
    pairs = new * (new + 1) // 2
    if window:
        beyond = np.maximum(new - window, 0)
        pairs = pairs - beyond * (beyond + 1) // 2
    found[:, DECODE_BLOCKS] = np.where(decodes, batch * seen, 0)
    found[:, PREFILL_BLOCKS] = np.where(decodes, 0, batch * -(-new // BLOCK_TOKENS))
    found[:, PREFILL_PASSES] = np.where(decodes, 0, batch)
    found[:, PREFILL_PAIRS] = np.where(decodes, 0, batch * pairs)
    return found


def moe_s(hardware: Hardware, precision: str, shapes: Columns) -> Floats:
    """One layer's routed products with balanced experts, on a rank of the group."""
    first = {name: int(column[0]) for name, column in shapes.items()}
    parts = first["moe_tp_size"] * first["moe_ep_size"]
    rank = device(hardware, precision, cards=parts, expert_ranks=first["moe_ep_size"])
    hidden, width = first["hidden_size"], -(-first["inter_size"] // first["moe_tp_size"])
    tokens = shapes["num_tokens"]
    routed = tokens * first["topk"]
    active = -(-np.minimum(first["num_experts"], routed) // first["moe_ep_size"])
    pairs = -(-routed // first["moe_ep_size"])
    present, held = np.minimum(tokens, pairs), np.asarray(pairs, np.float64)

    def product(k: int, n: int, read: Integers) -> Integers:
        each = -(-pairs // np.maximum(active, 1))
        shape = Product(m=each, k=k, n=n, copies=active, x_rows=read, vectors=pairs, held=held)
        return rank.matmul("experts", shape, StoredWeights(k=k, n=n, shares=1, copies=active)).ps

    between = rank.vector("activation", (pairs * width, ("activation", "quantize"))).ps
    return _seconds(product(hidden, 2 * width, present) + between + product(width, hidden, pairs))


def all_reduce_s(hardware: Hardware, precision: str, shapes: Columns) -> Floats:  # noqa: ARG001
    """The all-reduce that engines take, of elements of two bytes."""
    gpus = int(shapes["num_gpus"][0])
    routes = compile_routes(build_pod(hardware, servers_per_rack=1))
    group = group_of(hardware, routes, range(gpus))
    payload = 2 * shapes["message_size"]
    own = module_of(hardware).all_reduce(hardware, group, payload)
    return _seconds((own or all_reduce(group, payload)).ps)


def _seconds(ps: Integers) -> Floats:
    return np.asarray(ps, np.float64) * 1e-12
