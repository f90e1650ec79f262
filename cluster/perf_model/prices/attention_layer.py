"""The dispatches of the attention half of a layer, or of its recurrent mixer, in their order.

Grouped-query attention: norm+quant, QKV, RoPE, QK^T, softmax, PV, merge, O (then the all-reduce).
MLA has latent down, latent gather, latent norm+quant, query up and absorb K in place of QKV, and
absorb V after the merge: keys and values stay latents, and their up-projections are multiplied
with the queries and the output. Biases and sinks are part of the products before them.

An indexer (sparse attention) adds index Q, index K and index RoPE, whose weights every card has
whole, and its scores. A recurrent mixer has norm+quant, mixer inputs, convolution (with the norm of
queries and keys), its scan, gated norm and O.

With norms that are sharded by token, sharded norm+quant and norm gather replace norm+quant.

QK^T, softmax and PV, index scores and scans are dispatched here and timed by
``cluster.perf_model.attention``; casts to the next product's format are timed with the vector
operation before it.
"""

from cluster.perf_model.attention import AnyHeads, Heads, StateHeads
from cluster.perf_model.devices.protocol import Device
from cluster.perf_model.devices.work import UNIT, Operation, Product, StoredWeights
from corsair_common.units import Integers
from workloads.model import Attention
from workloads.model.scan import recurrent_widths


def attention_operations(
    device: Device,
    attention: Attention,
    heads: AnyHeads,
    hidden: int,
    tokens: Integers,
    *,
    sharded: bool = False,
) -> list[Operation]:
    """All dispatches from the first norm to O."""
    first = input_norm(device, hidden, tokens, "norm gather" if sharded else "")
    if isinstance(heads, StateHeads):
        return [*first, *_recurrent(device, heads, hidden, tokens)]
    projections = _latent if attention.kind == "mla" else _grouped
    return [
        *first,
        *projections(device, attention, heads, hidden, tokens),
        *(_indexer(device, attention, hidden, tokens) if attention.index_heads else ()),
        *device.attention_dispatches(heads, tokens),
        *_output(device, attention, heads, hidden, tokens),
    ]


def input_norm(device: Device, hidden: int, tokens: Integers, gather: str = "") -> list[Operation]:
    """The norm before a half of a layer, of all tokens, or of each chiplet's own and a ``gather``
    of what is then quantised."""
    rows, prefix = (own_tokens(device, tokens), "sharded ") if gather else (tokens, "")
    work = (rows * hidden, ("norm", "quantize"))
    norm = device.vector(f"{prefix}norm+quant", work, normed=rows)
    return [norm, device.elsewhere(gather, tokens)] if gather else [norm]


def own_tokens(device: Device, tokens: Integers) -> Integers:
    """[row count] tokens of the fullest chiplet of the group, whose norms are sharded."""
    return -(-tokens // device.ranks)


def _grouped(
    device: Device, a: Attention, heads: Heads, hidden: int, tokens: Integers
) -> list[Operation]:
    queries = heads.kv_heads * heads.queries_per_kv_head
    keys = (queries + heads.kv_heads) * a.head_dim
    columns = keys + heads.kv_heads * a.value_dim
    made = keys if a.keys_are_values else columns
    made += queries * ((a.head_dim if a.output_gate else 0) + a.head_gate)
    normed = a.qk_norm or a.qk_norm_whole
    turned = ("rope", "norm") if normed else ("rope",)
    return [
        _columns(device, "QKV", tokens, hidden, made),
        device.vector(
            "RoPE",
            (tokens * _part(keys, device), turned),
            (tokens * _part(columns, device), ("quantize",)),
        ),
    ]


def _latent(
    device: Device, a: Attention, heads: Heads, hidden: int, tokens: Integers
) -> list[Operation]:
    here = -(-heads.queries_per_kv_head // device.units)
    latents = a.q_lora_rank + a.kv_lora_rank
    queries = heads.queries_per_kv_head * a.head_dim
    return [
        _columns(device, "latent down", tokens, hidden, latents + a.rope_dim),
        device.elsewhere("latent gather", tokens),
        device.vector("latent norm+quant", (tokens * latents, ("norm", "quantize")), normed=tokens),
        _columns(device, "query up", tokens, a.q_lora_rank or hidden, queries),
        device.vector(
            "RoPE",
            (tokens * (here + 1) * a.rope_dim, ("rope",)),
            (tokens * here * (a.head_dim + heads.key_dim), ("quantize",)),
        ),
        _per_head(
            device, "absorb K", (a.nope_dim, a.kv_lora_rank), heads.queries_per_kv_head, tokens
        ),
    ]


def _indexer(device: Device, a: Attention, hidden: int, tokens: Integers) -> list[Operation]:
    """What an indexer makes of a token: its queries, its key, and the weights of its heads."""
    queries = a.index_heads * a.index_dim
    return [
        _columns(device, "index Q", tokens, a.q_lora_rank or hidden, queries),
        _columns(device, "index K", tokens, hidden, a.index_dim + a.index_heads),
        device.vector(
            "index RoPE", (tokens * _part(queries + a.index_dim, device), ("rope", "quantize"))
        ),
        *device.index_dispatches(tokens),
    ]


def _recurrent(
    device: Device, states: StateHeads, hidden: int, tokens: Integers
) -> list[Operation]:
    """Inputs in one product, their convolution, the scan, a norm with a gate, and O.

    The delta rule also norms queries and keys. Decays and time steps (one number per head and
    token) are part of the convolution's dispatch.
    """
    a, made = states.attention, recurrent_widths(states.attention, states.heads, states.groups)
    taps, own = ("add",) * a.conv_kernel, -(-made.values // device.units)
    norms = ("norm",) if a.kind == "linear" else ()
    o = Product(m=tokens, k=device.of_card(made.values), n=hidden)
    return [
        _columns(device, "mixer inputs", tokens, hidden, made.inputs),
        device.vector(
            "convolution",
            (tokens * _part(made.channels, device), (*taps, "activation")),
            (tokens * _part(made.channels - made.values, device), norms),
        ),
        *device.state_dispatches(states, tokens),
        device.vector("gated norm", (tokens * own, ("activation", "norm", "quantize"))),
        device.matmul(
            "O", o, StoredWeights(k=made.values, n=hidden, shares=-(-made.values // UNIT))
        ),
    ]


def _output(
    device: Device, a: Attention, heads: Heads, hidden: int, tokens: Integers
) -> list[Operation]:
    """Merge of the partial softmaxes, then O; its reduction adds are the collective's."""
    queries = heads.kv_heads * heads.queries_per_kv_head
    latent = a.kind == "mla"
    absorb = []
    if latent:
        absorb = [_per_head(device, "absorb V", (a.kv_lora_rank, a.value_dim), queries, tokens)]
    rows = queries * a.value_dim
    o = Product(m=tokens, k=device.of_card(rows), n=hidden)
    return [
        *device.merge(
            heads, tokens, queries if latent else 0, a.value_dim, a.output_gate or a.head_gate
        ),
        *absorb,
        device.matmul("O", o, StoredWeights(k=rows, n=hidden, shares=-(-rows // UNIT))),
    ]


def _columns(device: Device, name: str, tokens: Integers, k: int, n: int) -> Operation:
    """A product with n columns split over the chiplets of a card."""
    product = Product(m=tokens, k=k, n=device.of_card(n))
    return device.matmul(name, product, StoredWeights(k=k, n=n, shares=-(-n // UNIT)))


def _per_head(
    device: Device, name: str, shape: tuple[int, int], heads: int, tokens: Integers
) -> Operation:
    """A product for each head of a card, each with its own x; a slice works for few heads."""
    here = -(-heads // device.units)
    product = Product(m=tokens, k=shape[0], n=shape[1], copies=here, own_x=True)
    return device.matmul(
        name, product, StoredWeights(k=shape[0], n=shape[1], shares=heads, copies=heads)
    )


def _part(size: int, device: Device) -> int:
    """Elements of vector work on the fullest chiplet of a card."""
    return -(-size // device.units)
