"""Expected load of each replica: sequences, their length, prompts."""

from dataclasses import replace

import numpy as np

from cluster.perf_model.memory.placement import Traffic
from cluster.scenario.resolve import Planned, Resolved
from cluster.scenario.workload import ProgramSteps


def traffic_of(resolved: Planned) -> Traffic:
    """max_num_seqs sequences, or the users of a closed loop, at the mean context of decoding.

    A generated program defines its own steps; only its prompts or only its decodes count.
    """
    if isinstance(resolved, Resolved):
        return _of_requests(resolved)
    requested, most = resolved.scenario.workload.program, resolved.scenario.scheduler.max_num_seqs
    if not isinstance(requested, ProgramSteps):
        return Traffic(batch=most)
    replicas = resolved.plan.replicas
    return Traffic(
        batch=max(1, -(-requested.batch // replicas)),
        context=requested.context or requested.prompt_tokens or 1,
        prompt_share=_SHARE_OF.get(requested.phase, 1.0),
    )


_SHARE_OF = {"decode": 0.0, "prefill": 1e3}
"""Prompt tokens per decoded token, of programs and pools that only prefill or decode."""


def _of_requests(resolved: Resolved) -> Traffic:
    requests, sequences = resolved.requests, resolved.scenario.scheduler.max_num_seqs
    prompts, outputs = (
        np.asarray(part, np.float64) for part in (requests.prompt_tokens, requests.output_tokens)
    )
    # Each decoded token of a sequence counts once.
    context = float(np.average(prompts + outputs / 2, weights=outputs))
    traffic = Traffic(
        batch=sequences,
        context=max(1, round(context)),
        prompt_share=_SHARE_OF.get(resolved.role or "", float(prompts.sum() / outputs.sum())),
    )
    if not resolved.concurrency:
        return traffic
    users = -(-resolved.concurrency // resolved.plan.replicas)
    return replace(traffic, batch=min(sequences, users))
