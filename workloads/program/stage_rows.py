"""What one batch does at one stage of the pipeline: all rows in order, but sends and receives."""

from dataclasses import dataclass, replace

from workloads.plan import stage_layers
from workloads.program.attention_rows import attention_rows
from workloads.program.batch import Batch
from workloads.program.mlp_rows import mlp_rows
from workloads.program.rows import ProgramInputs, Row, exchange, matmul, vector
from workloads.program.schema import MEMORY

CANDIDATES = 64
"""Logits that each chiplet hands to the sampler."""

CANDIDATE_BYTES = 6
"""A logit in FP16 and a 32-bit token."""

STREAM_NAME = "weight stream"
HEAD_NAME = "final norm+quant"
"""The head's weights come after those of the layers, so the head starts when both are done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageRows:
    """Rows of one batch at one stage, each with the layer that it belongs to."""

    rows: tuple[Row, ...]
    """One after the other; the first may be the load of the stage's weights, beside them all."""
    layers: tuple[int, ...]


def stage_rows(inputs: ProgramInputs, stage: int, batch: Batch) -> StageRows:
    """All rows of ``batch`` at ``stage``: before its layers, the layers, and the head."""
    layers = stage_layers(inputs.plan, inputs.model)[stage]
    sharded = inputs.is_sharded(stage, batch.tokens)
    last = stage == inputs.plan.pipeline_parallel_size - 1
    placed = [(row, -1) for row in outer_rows(inputs, stage, batch.tokens, sharded=sharded)]
    for number in layers:
        layer = inputs.model.layers[number]
        attention = attention_rows(inputs, layer.attention, batch, sharded=sharded)
        rest = mlp_rows(inputs, layer, batch.tokens, sharded=sharded)
        placed += [(row, number) for row in (*attention, *rest)]
        if layer.mlp.kind != "none":
            placed += [(row, number) for row in end_rows(inputs, batch.tokens)]
    if last and sharded:
        placed.append((_head_gather(inputs, batch.tokens), -1))
    if last and batch.emitted:
        placed += [(row, -1) for row in head_rows(inputs, batch.emitted)]
    if inputs.streamed:
        placed.insert(0, (_stream(inputs, placed, batch.tokens), -1))
    return StageRows(
        rows=tuple(row for row, _ in placed), layers=tuple(layer for _, layer in placed)
    )


def end_rows(inputs: ProgramInputs, tokens: int) -> list[Row]:
    """What the engine adds to a layer."""
    above = inputs.layer_end_above
    return [] if above is None or tokens <= above else [vector("engine", tokens, m=tokens, n=0)]


def outer_rows(
    inputs: ProgramInputs, stage: int, tokens: int, *, sharded: bool = False
) -> list[Row]:
    """Look up the tokens and reduce over chiplets, or gather the last stage's sends.

    With norms that are ``sharded`` by token, chiplets keep the tokens that their peers sent."""
    hidden = inputs.model.hidden
    if stage > 0 and sharded:
        return []
    whole = inputs.formats.wire.bytes_of(tokens * hidden)
    if stage > 0:
        return [exchange("receive gather", "all_gather", tokens, whole, "stage")]
    read = tokens * inputs.formats.weights.matrix_bytes(hidden, 1)
    look_up = replace(
        vector("embedding", tokens, m=tokens, n=hidden),
        weight_class="embedding",
        weight_format=inputs.formats.weights.name,
        read_bytes=read,
    )
    if sharded:
        wide = inputs.formats.wire.bytes_of(inputs.spread(tokens) * hidden)
        return [
            look_up,
            exchange("embedding reduce-scatter", "reduce_scatter", tokens, wide, "stage"),
        ]
    return [look_up, exchange("embedding all-reduce", "all_reduce", tokens, whole, "stage")]


def _head_gather(inputs: ProgramInputs, tokens: int) -> Row:
    """The residual stream, from the chiplets of its tokens to all."""
    payload = inputs.formats.wire.bytes_of(tokens * inputs.model.hidden)
    return exchange("head gather", "all_gather", tokens, payload, "stage")


def head_rows(inputs: ProgramInputs, emitted: int) -> list[Row]:
    """Final norm, LM head, each chiplet's best candidates, and the gather that samples.

    An embedding model ends with its norm."""
    if inputs.model.pooling:
        return [vector(HEAD_NAME, emitted, m=emitted, n=inputs.model.hidden)]
    hidden, vocab = inputs.model.hidden, inputs.width(inputs.model.vocab)
    chiplets = inputs.cards * inputs.chiplets
    candidates = emitted * chiplets * CANDIDATES * CANDIDATE_BYTES
    sizes = {"m": emitted, "k": hidden, "n": vocab}
    return [
        vector(HEAD_NAME, emitted, m=emitted, n=hidden),
        matmul(inputs, "LM head", "head", emitted, **sizes),
        vector("top-k", emitted, m=emitted, n=vocab),
        exchange("sample", "all_gather", emitted, candidates, "stage"),
    ]


def _stream(inputs: ProgramInputs, placed: list[tuple[Row, int]], tokens: int) -> Row:
    """One load of all weights that the rows of the layers multiply; the head loads its own."""
    read = sum(
        row.read_bytes if inputs.loads is None else inputs.loads(row, layer)
        for row, layer in placed
        if row.kind == "matmul" and row.name != "LM head"
    )
    return Row(name=STREAM_NAME, kind="load", tokens=tokens, stream=MEMORY, read_bytes=read)
