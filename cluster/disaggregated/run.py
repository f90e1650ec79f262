"""A disaggregated run: prefill, KV transfer, decode. Exact, because nothing flows back.

The prefill pool serves every request with one output token (discarded); the decode pool receives
all of a prompt's KV, computes the last prompt token again and emits the first token and all
others, as vLLM's instances do. Blocks of the prefill pool are free when the prefill
ends, not when the transfer does (see ``held_blocks``).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from cluster.disaggregated.kv_transfer import KvTransfers, PrefilledRequests, transfer_kv
from cluster.disaggregated.latency import joined_latency
from cluster.disaggregated.placement import PooledMachine
from cluster.perf_model.rebin import stretched
from cluster.perf_model.tables import Records
from cluster.scenario.resolve import Resolved
from cluster.serving.admission_limits import refused
from cluster.serving.arrivals import arrivals_of
from cluster.serving.interface import Arrivals, Limits, Observer, OnSteps, Served, chosen
from cluster.serving.run import Outcome
from corsair_common.names import Status
from corsair_common.units import NEVER, Integers

ROUTER_STREAM = 2
"""Random stream of the decode pool's router, separate from others with the same seed."""

Executor = Callable[..., Outcome]


@dataclass(frozen=True, slots=True, kw_only=True)
class PooledOutcome(Outcome):
    """``served`` has the whole run's requests; ``bins`` are those of the prefill pool."""

    pools: tuple[Outcome, Outcome]
    """Prefill, decode; their rows differ from the run's."""
    decode_replica: Integers
    """[n] in the decode pool, numbered after those of the prefill pool; NEVER if refused."""
    transfer_ps: Integers
    """[n] from the end of its prefill until its KV has arrived."""
    transfer_bytes: Integers
    """[n]"""
    transfers: KvTransfers
    held_blocks: int
    """Peak of the blocks that wait for their transfer in one replica of the prefill pool, in the
    units of ``peak_blocks``."""


def run_pools(
    resolved: Resolved,
    machine: PooledMachine,
    executors: tuple[Executor, Executor],
    *,
    observer: Observer | None = None,
    on_steps: OnSteps | None = None,
) -> PooledOutcome:
    """Run the pools one after the other, each by its own engine."""
    requested, inputs = resolved.pools or (resolved, resolved)
    source, target = machine.pools
    status = admission_status(arrivals_of(requested), source.limits, target.limits)
    rows = np.flatnonzero(status == Status.COMPLETED)
    watch = _PoolsObserver(observer, len(rows))
    prompts = chosen(arrivals_of(requested), rows)
    prompts = replace(prompts, output_tokens=np.ones(len(rows), np.int64))
    first = executors[0](
        requested,
        source,
        arrivals=prompts,
        observer=watch.first(),
        on_steps=_renumbered(on_steps, 0, rows),
    )
    prefilled = PrefilledRequests(
        began_ps=first.served.first_scheduled_ps,
        ended_ps=first.served.finish_ps,
        prompt_tokens=prompts.prompt_tokens,
        replica=first.served.replica,
        target=routed(inputs, first.served.finish_ps),
    )
    transfers = _transfers(resolved, machine, prefilled)
    order = np.argsort(transfers.received_ps, kind="stable")
    answers = chosen(arrivals_of(inputs), rows)
    second = executors[1](
        inputs,
        target,
        arrivals=arriving(answers, order, transfers.received_ps, prefilled.target),
        observer=watch.second(),
        on_steps=_renumbered(on_steps, source.prices.replicas, rows[order]),
    )
    watch.end()
    last_ps = int(resolved.requests.arrival_ps.max(initial=0))
    pools = _aligned(
        (first, second), max(last_ps, int(transfers.received_ps.max(initial=0))), resolved
    )
    return _joined(resolved, machine, pools, (status, rows, order), prefilled, transfers)


def _transfers(
    resolved: Resolved, machine: PooledMachine, prefilled: PrefilledRequests
) -> KvTransfers:
    transfer = resolved.scenario.transfer
    layerwise = transfer is not None and transfer.mode == "layerwise"
    most_bins = resolved.scenario.store.most_bins
    return transfer_kv(machine.kv, prefilled, layerwise=layerwise, most_bins=most_bins)


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


def routed(decode: Resolved, ended_ps: Integers) -> Integers:
    """[n] the decode replica of each request, chosen when its prefill ends."""
    replicas, count = decode.plan.replicas, len(ended_ps)
    if decode.scenario.router == "random":
        rng = np.random.default_rng([decode.scenario.seed, ROUTER_STREAM])
        return rng.integers(replicas, size=count)
    turn = np.empty(count, np.int64)
    turn[np.argsort(ended_ps, kind="stable")] = np.arange(count) % replicas
    return turn


def arriving(
    arrivals: Arrivals, order: Integers, received_ps: Integers, target: Integers
) -> Arrivals:
    """Arrivals at the decode pool, in the order in which their KV arrives."""
    inputs = replace(
        arrivals,
        arrival_ps=received_ps,
        router_choice=target,
        carried_tokens=arrivals.prompt_tokens - 1,
    )
    return chosen(inputs, order)


def waiting_blocks(prefilled: PrefilledRequests, received_ps: Integers, limits: Limits) -> int:
    """Peak KV of one replica of prompts whose prefill has ended and whose transfer has not, in
    units of its first constraint (KV blocks if no layer has a window)."""
    most = 0
    capacity = limits.capacity
    kinds = capacity.most_blocks(prefilled.prompt_tokens, 1, limits.block_size)
    blocks: Integers = kinds @ capacity.block_units[0]
    for replica in np.unique(prefilled.replica):
        rows = prefilled.replica == replica
        times = np.concatenate([received_ps[rows], prefilled.ended_ps[rows]])
        change = np.concatenate([-blocks[rows], blocks[rows]])
        most = max(most, int(np.cumsum(change[np.argsort(times, kind="stable")]).max(initial=0)))
    return most


def _joined(
    resolved: Resolved,
    machine: PooledMachine,
    pools: tuple[Outcome, Outcome],
    numbers: tuple[Integers, Integers, Integers],
    prefilled: PrefilledRequests,
    transfers: KvTransfers,
) -> PooledOutcome:
    """Merge the pools' columns, in the order of the whole run's requests."""
    status, rows, order = numbers
    first, second = pools[0].served, pools[1].served
    back = np.empty(len(order), np.int64)
    back[order] = np.arange(len(order))

    def whole(column: Integers, absent: int = NEVER) -> Integers:
        out = np.full(len(status), absent, np.int64)
        out[rows] = column
        return out

    request_j = np.zeros(len(status))
    request_j[rows] = pools[0].request_j + pools[1].request_j[back]
    served = Served(
        arrival_ps=resolved.requests.arrival_ps,
        first_scheduled_ps=whole(first.first_scheduled_ps),
        first_token_ps=whole(second.first_token_ps[back]),
        finish_ps=whole(second.finish_ps[back]),
        replica=whole(first.replica),
        slot=whole(first.slot),
        preemptions=whole(first.preemptions + second.preemptions[back], 0),
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
        latency=joined_latency(served, pools[0].latency, pools[1].latency, rows, back),
        pools=pools,
        decode_replica=whole(second.replica[back] + machine.pools[0].prices.replicas),
        transfer_ps=whole(transfers.received_ps - prefilled.ended_ps),
        transfer_bytes=whole(transfers.sent_bytes, 0),
        transfers=transfers,
        held_blocks=waiting_blocks(prefilled, transfers.received_ps, machine.pools[0].limits),
    )


def _renumbered(on_steps: OnSteps | None, replicas: int, rows: Integers) -> OnSteps | None:
    """Number a pool's replicas from ``replicas`` on, and its requests as in the whole run."""
    if on_steps is None:
        return None

    def on_window(window: Records) -> None:
        copy = window.copy()
        copy["replica"] += replicas
        prompts = copy["prompt_request"]
        prompts[prompts != NEVER] = rows[prompts[prompts != NEVER]]
        on_steps(copy)

    return on_window


class _PoolsObserver:
    """One observer of two runs: a request is done when both pools are done with it."""

    def __init__(self, observer: Observer | None, requests: int) -> None:
        self._observer = observer
        self._requests = requests
        self._before = 0
        if observer is not None:
            observer.started(2 * requests)

    def first(self) -> Observer | None:
        return None if self._observer is None else self

    def second(self) -> Observer | None:
        self._before = self._requests
        return self.first()

    def end(self) -> None:
        if self._observer is not None:
            self._observer.finished()

    def started(self, total_requests: int) -> None:
        """Ignored: the start of both pools' runs is reported once."""

    def advanced(self, now_ps: int, done: int, tokens: int) -> None:
        if self._observer is not None:
            self._observer.advanced(now_ps, self._before + done, tokens)

    def finished(self) -> None:
        """Ignored: so is the end."""
