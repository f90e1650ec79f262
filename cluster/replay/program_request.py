"""The program that a scenario requests, and the check that it fits the replica."""

import numpy as np

from cluster.perf_model.kv_capacity import held_blocks
from cluster.perf_model.memory import DoesNotFit, Fit
from cluster.replay.interface import ReplayError
from cluster.scenario.resolve import Planned
from cluster.scenario.workload import ProgramSteps
from workloads.program import decode_steps, mixed_steps, prefill_steps
from workloads.program.batch import Steps


def steps_of(planned: Planned) -> Steps:
    """The batch of each slot in each step, from the scenario."""
    requested, scheduler = planned.scenario.workload.program, planned.scenario.scheduler
    if not isinstance(requested, ProgramSteps):
        raise ReplayError("the program is not generated")
    slots = planned.plan.pipeline_parallel_size if requested.slots == "auto" else requested.slots
    share = -(-requested.batch // slots)
    if requested.phase == "decode":
        return decode_steps(
            batch=requested.batch,
            context=requested.context or 1,
            steps=requested.steps or 1,
            slots=slots,
            growing=requested.growing is not False,
        )
    prompt = requested.prompt_tokens or 1
    most = scheduler.max_num_batched_tokens
    if requested.phase == "prefill":
        chunk = requested.chunk_tokens or max(1, most // share)
        return prefill_steps(
            prompts=requested.batch, prompt_tokens=prompt, chunk_tokens=chunk, slots=slots
        )
    return mixed_steps(
        batch=requested.batch,
        context=requested.context or 1,
        prompt_tokens=prompt,
        chunk_tokens=requested.chunk_tokens or max(1, most - share),
        slots=slots,
    )


def check_room(planned: Planned, steps: Steps, fit: Fit) -> None:
    """Refuse sequences longer than the model's context, or than the KV pool."""
    size = planned.scenario.scheduler.block_size
    most = planned.scenario.scheduler.max_num_batched_tokens
    tokens = max(batch.tokens for step in steps for batch in step if batch is not None)
    if tokens > most:
        raise ReplayError(
            f"a slot has {tokens:,} tokens in one step, scheduler.max_num_batched_tokens is "
            f"{most:,}: shorter workload.program.chunk_tokens, more slots, or a higher bound"
        )
    sequences = _sequences(steps)
    longest = max(max(contexts) for contexts, _ in sequences)
    if longest > planned.max_model_len:
        raise DoesNotFit(
            f"sequences grow to {longest:,} tokens; {planned.model.name} takes "
            f"{planned.max_model_len:,} (scheduler.max_model_len)"
        )
    needed, blocks = _needed(sequences, fit), fit.blocks
    if needed > blocks:
        raise DoesNotFit(
            f"the sequences need {needed:,} KV blocks of {size} tokens, a replica has {blocks:,}: "
            "a smaller batch or context, more cards per replica, or a smaller KV format would fit"
        )


def _sequences(steps: Steps) -> list[tuple[tuple[int, ...], int]]:
    """Final contexts of all sequences, and the new tokens of their last step.

    Decodes run in the last step; prompts end in any step, and keep their KV.
    """
    found = [(batch.decode_contexts, 1) for batch in steps[-1] if batch is not None]
    batches = [batch for step in steps for batch in step if batch is not None]
    found += [(batch.chunk_contexts, batch.chunk_tokens) for batch in batches if batch.last_chunks]
    return [(contexts, tokens) for contexts, tokens in found if contexts]


def _needed(sequences: list[tuple[tuple[int, ...], int]], fit: Fit) -> int:
    """KV blocks, as ``Fit.blocks`` counts them, of all sequences in the tightest stage."""
    capacity, size = fit.capacity, fit.block_size
    held = np.zeros(len(capacity.windows), np.int64)
    for contexts, new_tokens in sequences:
        tokens = np.array(contexts, np.int64)
        held += held_blocks(capacity.windows, tokens, new_tokens, size).sum(axis=0)
    taken = capacity.block_units @ held
    return int((-(-taken * fit.blocks // capacity.room_units)).max())
