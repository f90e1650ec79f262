"""A disaggregated run: two pools and the KV transfers between them, in one loop.

The prefill pool serves every request with one output token (discarded); the decode pool receives
all of a prompt's KV, computes the last prompt token again and emits the first token and all
others, as vLLM's instances do. Its blocks come first, then the KV moves, then blocks of the prefill
pool are free: a full decode pool stops the prefill pool.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from cluster.disaggregated.kv_transfer import KvTransfers, transfers_of
from cluster.disaggregated.latency import joined_latency
from cluster.disaggregated.loop import PoolsServed, serve_pools
from cluster.disaggregated.placement import PooledMachine
from cluster.disaggregated.transfer_plan import TransferPlan, plan_transfers
from cluster.perf_model.rebin import stretched
from cluster.perf_model.tables import Records
from cluster.scenario.resolve import Resolved
from cluster.serving.admission_limits import refused
from cluster.serving.arrivals import arrivals_of
from cluster.serving.interface import Arrivals, Limits, Observer, OnSteps, Served, chosen
from cluster.serving.outcome import Outcome, RunAccounts
from corsair_common.names import Status
from corsair_common.units import NEVER, Integers

ROUTER_STREAM = 2
"""Random stream of the decode pool's router, separate from others with the same seed."""

Loop: TypeAlias = Callable[..., PoolsServed]
"""``serve_pools``, or the reference."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PooledOutcome(Outcome):
    """``served`` has the whole run's requests; ``bins`` are those of the prefill pool."""

    pools: tuple[Outcome, Outcome]
    """Prefill, decode; their rows differ from the run's."""
    decode_replica: Integers
    """[n] in the decode pool, numbered after those of the prefill pool; NEVER if refused."""
    transfer_ps: Integers
    """[n] from the end of its prefill until its KV has arrived, with the wait for blocks."""
    transfer_bytes: Integers
    """[n]"""
    transfers: KvTransfers


def run_pools(
    resolved: Resolved,
    machine: PooledMachine,
    *,
    observer: Observer | None = None,
    on_steps: OnSteps | None = None,
    loop: Loop = serve_pools,
) -> PooledOutcome:
    """Run both pools together."""
    requested, inputs = resolved.pools or (resolved, resolved)
    source, target = machine.pools
    status = admission_status(arrivals_of(requested), source.limits, target.limits)
    rows = np.flatnonzero(status == Status.COMPLETED)
    prompts = chosen(arrivals_of(requested), rows)
    prompts = replace(prompts, output_tokens=np.ones(len(rows), np.int64))
    answers = chosen(arrivals_of(inputs), rows)
    answers = replace(answers, router_choice=drawn(inputs, len(rows)))
    answers = replace(answers, carried_tokens=answers.prompt_tokens - 1)
    plan = _plan(resolved, machine, prompts, answers)
    accounts = RunAccounts(requested, source, prompts), RunAccounts(inputs, target, answers)
    writer = _renumbered(on_steps, source.prices.replicas, rows)

    def on_window(pool: int, window: Records, phases: Records) -> None:
        accounts[pool].add(window)
        accounts[pool].divide(window, phases)
        if writer is not None:
            writer(pool, window)

    if observer is not None:
        observer.started(2 * len(rows))
    found = loop(
        ((prompts, source.prices, source.limits), (answers, target.prices, target.limits)),
        plan,
        most_bins=resolved.scenario.store.most_bins,
        on_window=on_window,
        on_progress=None if observer is None else observer.advanced,
        stepwise=on_steps is not None,
        recording=accounts[0].divides,
    )
    if observer is not None:
        observer.finished()
    arrived = replace(answers, arrival_ps=found.received_ps)
    pools = (
        accounts[0].outcome(found.pools[0], prompts),
        accounts[1].outcome(found.pools[1], arrived),
    )
    last_ps = int(resolved.requests.arrival_ps.max(initial=0))
    pools = _aligned(pools, max(last_ps, int(found.received_ps.max(initial=0))), resolved)
    return _joined(resolved, machine, pools, (status, rows), found, transfers_of(plan, found))


def _plan(
    resolved: Resolved, machine: PooledMachine, prompts: Arrivals, answers: Arrivals
) -> TransferPlan:
    transfer = resolved.scenario.transfer
    first_ps = int(prompts.arrival_ps.min()) if len(prompts.arrival_ps) else 0
    return plan_transfers(
        machine.kv,
        prompts.prompt_tokens,
        answers.router_choice,
        layerwise=transfer is not None and transfer.mode == "layerwise",
        base_ps=max(first_ps, machine.pools[0].limits.ready_ps),
    )


def _aligned(
    pools: tuple[Outcome, Outcome], last_ps: int, resolved: Resolved
) -> tuple[Outcome, Outcome]:
    """Both outcomes with the bins and the end of the whole run, at least ``last_ps``."""
    end_ps = max(last_ps, *(pool.end_ps for pool in pools))
    first, second = (
        replace(
            own,
            bins=stretched(own.bins, end_ps, resolved.scenario.store.most_bins),
            served=replace(own.served, end_ps=end_ps),
            end_ps=end_ps,
        )
        for own in pools
    )
    return first, second


def admission_status(arrivals: Arrivals, source: Limits, target: Limits) -> Integers:
    """[n] status of each request: one that either pool can never serve is not prefilled."""
    longest = min(source.max_model_len, target.max_model_len)
    decoded = refused(arrivals, replace(target, max_model_len=longest))
    prompts = replace(arrivals, output_tokens=np.ones_like(arrivals.prompt_tokens))
    return np.where(decoded != Status.COMPLETED, decoded, refused(prompts, source))


def drawn(decode: Resolved, count: int) -> Integers:
    """[n] the decode replica drawn for each request, which the router ``random`` takes."""
    rng = np.random.default_rng([decode.scenario.seed, ROUTER_STREAM])
    return rng.integers(decode.plan.replicas, size=count)


def _joined(
    resolved: Resolved,
    machine: PooledMachine,
    pools: tuple[Outcome, Outcome],
    numbers: tuple[Integers, Integers],
    found: PoolsServed,
    transfers: KvTransfers,
) -> PooledOutcome:
    """Merge the pools' columns, in the order of the whole run's requests."""
    status, rows = numbers
    first, second = pools[0].served, pools[1].served

    def whole(column: Integers, absent: int = NEVER) -> Integers:
        out = np.full(len(status), absent, np.int64)
        out[rows] = column
        return out

    request_j = np.zeros(len(status))
    request_j[rows] = pools[0].request_j + pools[1].request_j
    served = Served(
        arrival_ps=resolved.requests.arrival_ps,
        first_scheduled_ps=whole(first.first_scheduled_ps),
        first_token_ps=whole(second.first_token_ps),
        finish_ps=whole(second.finish_ps),
        replica=whole(first.replica),
        slot=whole(first.slot),
        preemptions=whole(first.preemptions + second.preemptions, 0),
        cached_tokens=whole(first.cached_tokens, 0),
        status=status,
        itl_count=second.itl_count,
        end_ps=max(first.end_ps, second.end_ps),
    )
    return PooledOutcome(
        served=served,
        bins=pools[0].bins,
        steps=pools[0].steps + pools[1].steps,
        members=pools[0].members + pools[1].members,
        peak_blocks=pools[0].peak_blocks,
        request_j=request_j,
        end_ps=pools[0].end_ps,
        latency=joined_latency(served, pools[0].latency, pools[1].latency, rows),
        pools=pools,
        decode_replica=whole(second.replica + machine.pools[0].prices.replicas),
        transfer_ps=whole(found.received_ps - first.finish_ps),
        transfer_bytes=whole(transfers.sent_bytes, 0),
        transfers=transfers,
    )


def _renumbered(
    on_steps: OnSteps | None, replicas: int, rows: Integers
) -> Callable[[int, Records], None] | None:
    """Number replicas of the decode pool from ``replicas`` on, and requests as in the whole run."""
    if on_steps is None:
        return None

    def on_window(pool: int, window: Records) -> None:
        copy = window.copy()
        copy["replica"] += pool * replicas
        prompts = copy["prompt_request"]
        prompts[prompts != NEVER] = rows[prompts[prompts != NEVER]]
        on_steps(copy)

    return on_window
