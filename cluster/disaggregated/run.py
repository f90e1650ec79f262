"""A disaggregated run: prefill, KV transfer, decode. Exact, because nothing flows back.

The prefill pool serves every request as if it asked for one token (and throws that away); the
decode pool is given all of a prompt's KV, computes the last prompt token again and emits the first
token and all others, as vLLM's instances do. Blocks of the prefill pool are free when the prefill
ends, not when the transfer does (see ``held_blocks``).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from cluster.disaggregated.kv_transfer import KvTransfers, PrefilledRequests, move
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
"""Separates the draws of the decode pool's random router from others that share the seed."""

Executor = Callable[..., Outcome]


@dataclass(frozen=True, slots=True, kw_only=True)
class PooledOutcome(Outcome):
    """What users saw stands in ``served``; ``bins`` are those of the prefill pool."""

    pools: tuple[Outcome, Outcome]
    """Prefill, decode; their rows are not the run's."""
    decode_replica: Integers
    """[n] in the decode pool, numbered behind those of the prefill pool; NEVER where refused."""
    transfer_ps: Integers
    """[n] from the end of its prefill until its KV is there."""
    transfer_bytes: Integers
    """[n]"""
    moved: KvTransfers
    held_blocks: int
    """Most that transfers would have kept in one replica of the prefill pool, as it is counted in
    ``peak_blocks``."""


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
    status = turned_away(arrivals_of(requested), source.limits, target.limits)
    rows = np.flatnonzero(status == Status.COMPLETED)
    watch = _Both(observer, len(rows))
    prompts = chosen(arrivals_of(requested), rows)
    prompts = replace(prompts, output_tokens=np.ones(len(rows), np.int64))
    first = executors[0](
        requested,
        source,
        arrivals=prompts,
        observer=watch.first(),
        on_steps=_renumbered(on_steps, 0, rows),
    )
    handed = PrefilledRequests(
        began_ps=first.served.first_scheduled_ps,
        ended_ps=first.served.finish_ps,
        prompt_tokens=prompts.prompt_tokens,
        replica=first.served.replica,
        target=routed(inputs, first.served.finish_ps),
    )
    moved = _moved(resolved, machine, handed)
    order = np.argsort(moved.there_ps, kind="stable")
    answers = chosen(arrivals_of(inputs), rows)
    second = executors[1](
        inputs,
        target,
        arrivals=arriving(answers, order, moved.there_ps, handed.target),
        observer=watch.second(),
        on_steps=_renumbered(on_steps, source.prices.replicas, rows[order]),
    )
    watch.end()
    last_ps = int(resolved.requests.arrival_ps.max(initial=0))
    pools = _aligned((first, second), max(last_ps, int(moved.there_ps.max(initial=0))), resolved)
    return _joined(resolved, machine, pools, (status, rows, order), handed, moved)


def _moved(resolved: Resolved, machine: PooledMachine, handed: PrefilledRequests) -> KvTransfers:
    transfer = resolved.scenario.transfer
    layerwise = transfer is not None and transfer.mode == "layerwise"
    most_bins = resolved.scenario.store.most_bins
    return move(resolved, machine, handed, layerwise=layerwise, most_bins=most_bins)


def _aligned(
    pools: tuple[Outcome, Outcome], last_ps: int, resolved: Resolved
) -> tuple[Outcome, Outcome]:
    """Both with the bins and the end of the whole run, which is ``last_ps`` or later."""
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


def turned_away(arrivals: Arrivals, source: Limits, target: Limits) -> Integers:
    """[n] what becomes of each request: one that either pool can never serve is not prefilled."""
    longest = min(source.max_model_len, target.max_model_len)
    decoded = refused(arrivals, replace(target, max_model_len=longest))
    prompts = replace(arrivals, output_tokens=np.ones_like(arrivals.prompt_tokens))
    return np.where(decoded != Status.COMPLETED, decoded, refused(prompts, source))


def routed(decode: Resolved, ended_ps: Integers) -> Integers:
    """[n] the decode replica that takes each request, chosen when its prefill ends."""
    replicas, count = decode.plan.replicas, len(ended_ps)
    if decode.scenario.router == "random":
        rng = np.random.default_rng([decode.scenario.seed, ROUTER_STREAM])
        return rng.integers(replicas, size=count)
    turn = np.empty(count, np.int64)
    turn[np.argsort(ended_ps, kind="stable")] = np.arange(count) % replicas
    return turn


def arriving(arrivals: Arrivals, order: Integers, there_ps: Integers, target: Integers) -> Arrivals:
    """The requests as the decode pool gets them: in the order in which their KV arrives."""
    inputs = replace(
        arrivals,
        arrival_ps=there_ps,
        router_choice=target,
        carried_tokens=arrivals.prompt_tokens - 1,
    )
    return chosen(inputs, order)


def held(handed: PrefilledRequests, there_ps: Integers, limits: Limits) -> int:
    """Most that one replica holds of prompts whose prefill is over and whose KV is still on its
    way, in units of its first constraint (KV blocks where all layers keep theirs)."""
    most = 0
    capacity = limits.capacity
    kinds = capacity.most_blocks(handed.prompt_tokens, 1, limits.block_size)
    blocks: Integers = kinds @ capacity.block_units[0]
    for replica in np.unique(handed.replica):
        rows = handed.replica == replica
        times = np.concatenate([there_ps[rows], handed.ended_ps[rows]])
        change = np.concatenate([-blocks[rows], blocks[rows]])
        most = max(most, int(np.cumsum(change[np.argsort(times, kind="stable")]).max(initial=0)))
    return most


def _joined(
    resolved: Resolved,
    machine: PooledMachine,
    pools: tuple[Outcome, Outcome],
    numbers: tuple[Integers, Integers, Integers],
    handed: PrefilledRequests,
    moved: KvTransfers,
) -> PooledOutcome:
    """Lay the pools' columns side by side, in the order of the whole run's requests."""
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
        pools=pools,
        decode_replica=whole(second.replica[back] + machine.pools[0].prices.replicas),
        transfer_ps=whole(moved.there_ps - handed.ended_ps),
        transfer_bytes=whole(moved.moved_bytes, 0),
        moved=moved,
        held_blocks=held(handed, moved.there_ps, machine.pools[0].limits),
    )


def _renumbered(on_steps: OnSteps | None, replicas: int, rows: Integers) -> OnSteps | None:
    """Number a pool's replicas from ``replicas`` on, and its requests as in the whole run."""
    if on_steps is None:
        return None

    def passed(window: Records) -> None:
        moved = window.copy()
        moved["replica"] += replicas
        prompts = moved["prompt_request"]
        prompts[prompts != NEVER] = rows[prompts[prompts != NEVER]]
        on_steps(moved)

    return passed


class _Both:
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
        """Each pool's run has its own start, which is told at once for both."""

    def advanced(self, now_ps: int, done: int, tokens: int) -> None:
        if self._observer is not None:
            self._observer.advanced(now_ps, self._before + done, tokens)

    def finished(self) -> None:
        """Likewise its end."""
