"""Model x plan x batches -> the program of every card."""

from collections.abc import Hashable, Sequence
from dataclasses import replace

import numpy as np

from workloads.plan import check_plan
from workloads.program.attention_rows import cache_rows
from workloads.program.batch import Batch, Steps
from workloads.program.columns import Integers, Program
from workloads.program.replicate import on_cards, with_replicas
from workloads.program.rows import ProgramInputs, Row
from workloads.program.scheduler import Slots, Writer
from workloads.program.schema import VARYING, ProgramError


def generate_program(inputs: ProgramInputs, steps: Steps) -> Program:
    """Write the program of all replicas for ``steps[step][slot]``.

    Where all steps are alike but for their contexts, the first is the template of the others.

    Raises
    ------
    ProgramError
        No batch, a batch of no or of more than max_tokens tokens, steps of unequal slots.
    PlanError
        A plan by which the model cannot be cut.
    """
    check_plan(inputs.plan, inputs.model)
    _check_steps(inputs, steps)
    if len({_signature(step) for step in steps}) > 1 or len(steps) == 1:
        writer = Writer(inputs=inputs, repeats=False)
        writer.write(steps)
        return with_replicas(on_cards(inputs, writer.written), inputs.plan.replicas)
    first = Writer(inputs=inputs)
    first.write(steps[:1])  # to find the end of a repeat, for which the next one waits
    writer = Writer(inputs=inputs, before=first.ends, cached=first.cached)
    writer.write(steps[:1])
    program = on_cards(inputs, writer.written)
    varying = _varying(inputs, steps, writer.slots)
    program = replace(program, repeats=len(steps), varying=varying)
    return with_replicas(program, inputs.plan.replicas)


def _check_steps(inputs: ProgramInputs, steps: Steps) -> None:
    slots = sorted({len(step) for step in steps})
    if len(slots) != 1:
        raise ProgramError(f"every step needs as many slots as the others, got {slots}")
    batches = [batch for step in steps for batch in step if batch is not None]
    if not batches:
        raise ProgramError("no slot has anything to do in any step")
    for tokens in (batch.tokens for batch in batches):
        if not 1 <= tokens <= inputs.max_tokens:
            raise ProgramError(f"a batch has 1 to {inputs.max_tokens} tokens, got {tokens}")


def _signature(step: Sequence[Batch | None]) -> tuple[Hashable, ...]:
    """Everything that determines a step's rows, except the varying values."""
    return tuple(
        batch and (batch.tokens, batch.emitted, batch.chunk_tokens, len(batch.chunk_contexts))
        for batch in step
    )


def _varying(inputs: ProgramInputs, steps: Steps, slots: Slots) -> Integers:
    """[step, varies, VARYING] the rows over the cache of every slot and attention."""
    attentions = {layer.attention for layer in inputs.model.layers}
    rows: dict[tuple[Hashable, ...], Row] = {}
    values = np.zeros((len(steps), len(slots), len(VARYING)), np.int64)
    for number, step in enumerate(steps):
        for batch in {batch for batch in step if batch is not None}:
            for attention in attentions:
                for row in cache_rows(inputs, attention, batch):
                    rows[batch, row.slot] = row
        for (slot, key), index in slots.items():
            row = rows[step[slot], key]
            values[number, index] = [getattr(row, name) for name in VARYING]
        rows.clear()
    return values
