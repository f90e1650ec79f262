"""A recurrent mixer as rows of a program, in order, under the names of its prices.

norm+quant, mixer inputs, convolution, its products with the states (state products and state
update, or a fused scan), gated norm and O.
"""

from corsair_common.names import STATE
from workloads.model import Attention
from workloads.model.scan import (
    Widths,
    macs_of,
    recurrent_widths,
    scan_elements,
    scan_products,
    step_elements,
    step_macs,
    step_products,
)
from workloads.program.batch import Batch
from workloads.program.rows import ProgramInputs, Row, input_norm, matmul, vector


def widths(inputs: ProgramInputs, a: Attention) -> Widths:
    """Of a card."""
    return recurrent_widths(a, a.heads // inputs.cards, a.kv_heads // inputs.cards)


def mixer_rows(
    inputs: ProgramInputs, a: Attention, batch: Batch, *, sharded: bool = False
) -> list[Row]:
    """All operations from the first norm to O."""
    tokens, hidden, made = batch.tokens, inputs.model.hidden, widths(inputs, a)
    into = {"m": tokens, "k": hidden, "n": made.inputs}
    out = {"m": tokens, "k": made.values, "n": hidden}
    return [
        *input_norm(inputs, tokens, "norm gather" if sharded else ""),
        matmul(inputs, "mixer inputs", "attention", tokens, **into),
        vector("convolution", tokens, m=tokens, n=made.channels * a.conv_kernel),
        *state_rows(inputs, a, batch),
        vector("gated norm", tokens, m=tokens, n=made.values),
        matmul(inputs, "O", "attention", tokens, **out),
    ]


def state_rows(inputs: ProgramInputs, a: Attention, batch: Batch) -> list[Row]:
    """The products with the states; a decode row and a chunk read a state and write it."""
    heads, groups = a.heads // inputs.cards, a.kv_heads // inputs.cards
    rows, scans = len(batch.decode_contexts), batch.scan_chunks
    decode, chunks = batch.met(STATE)
    moved = 2 * (rows + len(batch.chunk_contexts)) * a.state_bytes * heads // a.heads
    step = macs_of(step_products(a), heads, groups)
    scan = scans * macs_of(scan_products(a), heads, groups)
    elements = heads * (rows * step_elements(a) + scans * scan_elements(a))

    def over_states(name: str, flop: int, read_bytes: int) -> Row:
        return Row(
            name=name,
            kind="attention",
            tokens=batch.tokens,
            m=batch.chunk_tokens,
            k=a.head_dim,
            n=chunks,
            count=heads,
            context_tokens=decode + chunks,
            weight_class="kv" if read_bytes else "",
            weight_format=inputs.formats.kv.name if read_bytes else "",
            activation_format=inputs.formats.activations.name if read_bytes else "",
            flop=flop,
            read_bytes=read_bytes,
            slot=(a, name),
        )

    known = {
        "state products": over_states("state products", 2 * (rows * step + scan), moved),
        "state update": over_states("state update", elements, 0),
        "scan": over_states("scan", 2 * (rows * step_macs(a, heads) + scan), moved),
    }
    return [known[name] for name in inputs.state_products]
