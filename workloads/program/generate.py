"""Model x plan x batches -> the program of every card."""

from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from corsair_common.units import Integers
from workloads.plan import check_plan
from workloads.program.attention_rows import cache_rows
from workloads.program.batch import Batch, Steps
from workloads.program.columns import ROW_COLUMNS, Narrow, Operations, Program, program_of
from workloads.program.rows import ProgramInputs, Row
from workloads.program.scheduler import Slots, Unit, Writer
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


_OF_ROW = (
    *("stream", "kind", "name", "tokens", "m", "k", "n", "count", "context_tokens", "flop"),
    *("weight_class", "weight_format", "activation_format", "read_bytes", "write_bytes"),
    *("payload_bytes", "collective"),
)


def on_cards(inputs: ProgramInputs, units: Sequence[Unit]) -> Program:
    """Write each unit out for every card of its stage, the cards side by side.

    The cards of a stage are a group each, and so are those that slice the same experts; a group of
    one card is none.
    """
    cards = inputs.cards
    columns: dict[str, Any] = {
        **_of_rows(units),
        "rank": [unit.stage for unit in units],
        "step": [unit.step for unit in units],
        "layer": [unit.layer for unit in units],
        "microbatch": [unit.slot for unit in units],
        "phase": [unit.phase for unit in units],
        "peer": [unit.peer for unit in units],
        "tag": [unit.slot if unit.peer >= 0 else 0 for unit in units],
        "varies": [unit.varies for unit in units],
        "deps": [unit.deps for unit in units],
    }
    program = program_of(columns)
    one = program.operations
    wide: dict[str, Any] = {n: np.repeat(getattr(one, n), cards) for n in ROW_COLUMNS}
    position = np.tile(np.arange(cards), len(units))
    scope = np.repeat([("card", "stage", "expert").index(u.row.scope) for u in units], cards)
    wide["group"] = _groups_of(inputs, scope, wide["rank"], position)
    wide["rank"] = (wide["rank"] * cards + position).astype(np.int32)
    peer = np.where(wide["peer"] >= 0, wide["peer"] * cards + position, -1)
    wide["peer"] = peer.astype(np.int32)
    offsets, deps = _spread(one.dep_offsets, one.deps, cards)
    operations = Operations(dep_offsets=offsets, deps=deps, **wide)
    return replace(program, operations=operations, groups=_groups(inputs))


def _of_rows(units: Sequence[Unit]) -> dict[str, Any]:
    """Columns of the units' rows, of which most are the same few again and again."""
    rows = {id(unit.row): unit.row for unit in units}
    place = {key: number for number, key in enumerate(rows)}
    which = np.array([place[id(unit.row)] for unit in units], np.int64)
    columns: dict[str, Any] = {}
    for name in _OF_ROW:
        values = [getattr(row, name) for row in rows.values()]
        if isinstance(values[0], str):
            words = list(dict.fromkeys(values))
            code = {word: number for number, word in enumerate(words)}
            columns[name] = (words, np.array([code[value] for value in values])[which])
        else:
            columns[name] = np.array(values, np.int64)[which]
    return columns


def with_replicas(program: Program, replicas: int) -> Program:
    """Set equal copies of the cards side by side, each with a program of its own."""
    if replicas == 1:
        return program
    one, rows, ranks = program.operations, len(program.operations), program.ranks
    wide: dict[str, Any] = {n: np.tile(getattr(one, n), replicas) for n in ROW_COLUMNS}
    copy = np.repeat(np.arange(replicas), rows)
    for name, width in (("rank", ranks), ("peer", ranks), ("group", len(program.groups))):
        wide[name] += np.where(wide[name] >= 0, copy * width, 0).astype(np.int32)
    copies = np.arange(replicas)[:, None]
    before = np.where(one.deps < 0, rows * (1 - replicas), 0)
    counts = np.tile(np.diff(one.dep_offsets), replicas)
    operations = Operations(
        dep_offsets=np.concatenate([[0], np.cumsum(counts)]),
        deps=(one.deps + before + copies * rows).ravel(),
        **wide,
    )
    groups = tuple(
        tuple(rank + replica * ranks for rank in group)
        for replica in range(replicas)
        for group in program.groups
    )
    return replace(program, operations=operations, groups=groups)


def _groups(inputs: ProgramInputs) -> tuple[tuple[int, ...], ...]:
    """The cards of each stage, then those of each stage's expert ranks."""
    stages = range(inputs.plan.pipeline_parallel_size)
    runs = [inputs.cards] if inputs.cards > 1 else []
    if _slices_experts(inputs):
        runs.append(inputs.plan.cards_per_expert)
    return tuple(
        tuple(range(start, start + size))
        for size in runs
        for start in range(0, len(stages) * inputs.cards, size)
    )


def _groups_of(
    inputs: ProgramInputs, scope: Integers, stage: Integers, position: Integers
) -> Narrow:
    """Group of each row; -1 where it stays on its card."""
    stages, per_expert = inputs.plan.pipeline_parallel_size, inputs.plan.cards_per_expert
    whole = stage if inputs.cards > 1 else np.full_like(stage, -1)
    expert = whole
    if _slices_experts(inputs):
        expert = stages + stage * inputs.expert_ranks + position // per_expert
    group = np.select([scope == 1, scope == 2], [whole, expert], -1)
    return group.astype(np.int32)


def _slices_experts(inputs: ProgramInputs) -> bool:
    return 1 < inputs.plan.cards_per_expert < inputs.cards


def _spread(offsets: Integers, deps: Integers, cards: int) -> tuple[Integers, Integers]:
    """Dependencies of units -> of rows: a card waits for its own rows only."""
    counts = np.repeat(np.diff(offsets), cards)
    wide = np.concatenate([[0], np.cumsum(counts)])
    within = np.arange(wide[-1]) - np.repeat(wide[:-1], counts)
    source = np.repeat(np.repeat(offsets[:-1], cards), counts) + within
    position = np.repeat(np.tile(np.arange(cards), len(offsets) - 1), counts)
    return wide, deps[source] * cards + position
