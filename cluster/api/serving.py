"""``simulate``: run a scenario, return its results, optionally write them."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from cluster.api.engine import AnyEngine, Engine, SplittingEngine, Tables
from cluster.api.run_output import Parts, SavedRun, carried_out, opened
from cluster.perf_model.tables import STEP, Records
from cluster.perf_model.tco import Purchase, cost_summary, inventory_of
from cluster.scenario.engine_names import CardsPerActor, EngineName
from cluster.scenario.load import load
from cluster.scenario.resolve import Resolved, resolve
from cluster.scenario.run_id import MODEL_VERSION
from cluster.scenario.schema import Scenario
from cluster.scenario.warmup import check_warmup
from cluster.serving import tables as serving_tables
from cluster.serving.drafts import purchases_with_drafts
from cluster.serving.interface import Observer, OnSteps
from cluster.serving.outcome import Outcome
from cluster.serving.run import Machine, MapOf, assemble, execute
from cluster.serving.tables import card_parts, step_columns
from results.devices import Device, described
from results.drafts import with_drafts
from results.engine_columns import latency_parts, request_columns, request_parts
from results.summary import flatten, rate, summarise, without_output

if TYPE_CHECKING:
    from cluster.actors.engine import RayEngine
    from cluster.actors.session import ActorSession
    from cluster.disaggregated.placement import PooledMachine
    from cluster.disaggregated.run import PooledOutcome
    from results.store import RunWriter


class LocalEngine:
    """The engine in this process."""

    assemble = staticmethod(assemble)
    execute = staticmethod(execute)
    card_parts = staticmethod(card_parts)

    def beside(self) -> "LocalEngine":
        """A second engine, for the other pool of a disaggregated run."""
        return self


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Run(SavedRun):
    """One run: its summary and its requests; ``save`` leaves the whole of it on disk."""

    scenario: Scenario
    resolved: Resolved
    machine: Machine
    outcome: Outcome
    summary: dict[str, Any]
    """Keys of vLLM's bench serve and our own; nested under ``bound_share``."""
    times: tuple[datetime, datetime]
    run_dir: Path | None = None
    """Folder of the run, once saved."""

    @property
    def requests(self) -> dict[str, npt.ArrayLike]:
        """Columns of requests.parquet (seconds; NaN where it did not happen)."""
        return request_columns(_tables(self.resolved).request_ps(self.resolved, self.outcome))

    @property
    def latency_breakdown(self) -> dict[str, npt.ArrayLike]:
        """Columns of latency_breakdown.parquet (seconds by cause); none if it was not wanted."""
        latency = _tables(self.resolved).latency_of(self.resolved, self.outcome)
        parts = [] if latency is None else list(latency_parts(latency))
        return (
            {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
            if parts
            else {}
        )

    @property
    def device(self) -> Device:
        """What its tables have columns of."""
        return _device(self.machine)

    def parts(self, engine: AnyEngine | None = None) -> Parts:
        """Every part of every table, but for the step log."""
        machine, outcome, tables = self.machine, self.outcome, _tables(self.resolved)
        runner = engine or _of_pools(LocalEngine(), self.resolved)
        for part in request_parts(tables.request_ps(self.resolved, outcome)):
            yield "requests", part
        latency = tables.latency_of(self.resolved, outcome)
        for part in () if latency is None else latency_parts(latency):
            yield "latency_breakdown", part
        yield "summary", flatten(self.summary)
        for part in runner.card_parts(machine, outcome):
            yield "cards", part
        for part in tables.link_parts(machine, outcome):
            yield "links", part
        yield from tables.map_tables(machine).items()
        yield "placement", tables.placement_table(machine)


def simulate(
    scenario: Scenario | str | Path | Mapping[str, Any] | None = None,
    *,
    observer: Observer | None = None,
    out: str | Path | None = None,
    engine: EngineName = "local",
    cards_per_actor: CardsPerActor = "auto",
    ray_address: str | None = None,
    notice: Callable[[str], None] = lambda _: None,
) -> Run:
    """Simulate serving of a request trace.

    Parameters
    ----------
    scenario
        A scenario, a YAML file, a mapping of the same shape, or None for the bundled example.
    observer
        Called between windows of the run: simulated time in ps, requests done, tokens sent.
    out
        A folder to write the run to. The step log is streamed there if the scenario stores steps
        (``store: {steps: true}``); it is not kept in memory.
    engine
        ``local`` runs in this process. ``ray`` makes every card a Ray actor; the results are the
        same to the bit.
    cards_per_actor
        With ``ray``: so many cards share an actor; ``auto`` goes by the processors there are.
    ray_address
        With ``ray``: the address of a cluster, ``auto`` for one that runs on this machine, or None
        to start a private one.
    notice
        With ``ray``: called with lines of text on what is started there.

    Returns
    -------
    The run. ``summary`` has one value a key (``mean_ttft_ms`` in ms, ``output_throughput`` in
    tokens/s, ``joules_per_output_token`` in J); ``requests`` is a mapping of arrays of length
    [requests], times in s, NaN where a thing did not happen.

    Raises
    ------
    ValueError
        In its classes with ``exit_code`` 2 (wrong input) and 3 (cannot run: it does not fit).

    Examples
    --------
    >>> from corsair_sim import load, simulate
    >>> run = simulate(load(workload={"synthetic": {"requests": 20}}))
    >>> run.summary["completed"], run.requests["ttft_s"].shape
    (20, (20,))
    >>> folder = run.save()                     # results/runs/<run_id>
    """
    started = datetime.now(UTC)
    resolved = resolve(scenario if isinstance(scenario, Scenario) else load(scenario))
    check_warmup(resolved)
    with opened(
        engine,
        LocalEngine,
        _on_ray,
        cards_per_actor=cards_per_actor,
        ray_address=ray_address,
        notice=notice,
    ) as one:
        runner = _of_pools(one, resolved)

        machine = runner.assemble(resolved)

        def run(writer: "RunWriter | None") -> Run:
            memories = _device(machine).memories
            kept = _keeper(writer, memories) if writer and resolved.scenario.store.steps else None
            return _run(resolved, machine, started, runner.execute, observer, kept)

        return carried_out(resolved, out, _device(machine), run, lambda run: run.parts(runner))


def simulate_on(machine: Machine, resolved: Resolved, *, observer: Observer | None = None) -> Run:
    """Run a resolved scenario in this process on an assembled cluster with the same machine_id."""
    runner = _of_pools(LocalEngine(), resolved)
    return _run(resolved, machine, datetime.now(UTC), runner.execute, observer)


def assemble_any(resolved: Resolved, mapped: MapOf | None = None) -> Machine:
    """The machine of a run in this process, whether it is divided into pools or not."""
    if resolved.pools is None:
        return assemble(resolved, mapped)
    from cluster.disaggregated.placement import assemble_pools

    return assemble_pools(resolved, (assemble, assemble), mapped)


def _on_ray(session: "ActorSession") -> "RayEngine":
    """Runs in one process do not import it, nor the engine of replays that it brings."""
    from cluster.actors.engine import RayEngine

    return RayEngine(session)


def _of_pools(engine: SplittingEngine, resolved: Resolved) -> AnyEngine:
    """The engine, or two engines for a disaggregated run.

    Those are given the machines and outcomes alone that they have made (hence the cast).
    """
    if resolved.pools is None:
        return engine
    from cluster.disaggregated.engine import PooledEngine

    pooled: Engine[PooledMachine, PooledOutcome] = PooledEngine(engine, engine.beside())
    return cast("AnyEngine", pooled)


def _tables(resolved: Resolved) -> Tables[Machine, Outcome]:
    """The module that makes the run's tables; that of pools is given their machines alone."""
    if resolved.pools is None:
        return serving_tables
    from cluster.disaggregated import tables as pool_outputs

    pooled: Tables[PooledMachine, PooledOutcome] = pool_outputs
    return cast("Tables[Machine, Outcome]", pooled)


def _device(machine: Machine) -> Device:
    """What the tables of a run on this machine have columns of."""
    if type(machine) is not Machine:
        of_pools = cast("PooledMachine", machine)
        return described(of_pools.bounds, of_pools.parts, of_pools.memories)
    prices = machine.prices
    return described(prices.bounds, machine.joules.parts, prices.memories)


def _keeper(writer: "RunWriter", memories: Sequence[str]) -> OnSteps:
    """Stream the step log to disk; a run without steps has a table without rows."""

    def keep(window: Records) -> None:
        writer.append("steps", step_columns(window, memories))

    keep(np.empty(0, STEP))
    return keep


def _run(
    resolved: Resolved,
    machine: Machine,
    started: datetime,
    execute: Callable[..., Outcome],
    observer: Observer | None,
    on_steps: OnSteps | None = None,
) -> Run:
    outcome = execute(resolved, machine, observer=observer, on_steps=on_steps)
    check_warmup(resolved, outcome.served.arrival_ps)
    return Run(
        scenario=resolved.scenario,
        resolved=resolved,
        machine=machine,
        outcome=outcome,
        summary=_summary(resolved, machine, outcome),
        times=(started, datetime.now(UTC)),
    )


def _summary(resolved: Resolved, machine: Machine, outcome: Outcome) -> dict[str, Any]:
    scenario, tables = resolved.scenario, _tables(resolved)
    flags = _flags(resolved, outcome)
    summary = summarise(
        tables.request_ps(resolved, outcome),
        machine=tables.measured(resolved, machine, outcome),
        itl_count=outcome.served.itl_count,
        slo=scenario.slo.model_dump(),
        warmup_s=scenario.warmup_s,
        flags=flags,
        latency=tables.latency_of(resolved, outcome),
    )
    if resolved.model.pooling:
        summary = without_output(summary)
    if outcome.draft_j is not None:
        summary |= with_drafts(summary, outcome.draft_j)
    costs = _costs(resolved, machine, outcome, summary)
    return {"run_id": resolved.run_id, "model_version": MODEL_VERSION, **summary, **costs}


def _costs(
    resolved: Resolved, machine: Machine, outcome: Outcome, summary: Mapping[str, Any]
) -> dict[str, float | None]:
    """Cost of the cluster; the facility's power has its own uncertainty."""
    if resolved.mixed is not None and resolved.pools is None:
        watts = [w for part, w in summary["facility_power_w"].items() if part != "cooling"]
        purchases = purchases_with_drafts(resolved, watts, outcome)
    elif resolved.mixed is not None:
        from cluster.disaggregated.tables import purchases as purchases_of_pools

        both = _of_both(machine, outcome)
        purchases = purchases_of_pools(resolved.scenario, resolved.mixed, *both)
    else:
        figures, size = resolved.hardware.figures, resolved.scenario.cluster
        watts = [w for part, w in summary["facility_power_w"].items() if part != "cooling"]
        bought = inventory_of(
            figures,
            racks=size.racks,
            servers_per_rack=size.servers_per_rack,
            cards_per_server=size.cards_per_server,
        )
        power_w = None if None in watts else math.fsum(watts)
        purchases = [Purchase(figures=figures, bought=bought, power_w=power_w)]
    return cost_summary(
        purchases,
        tokens_per_s=summary["output_throughput"],
        input_tokens_per_s=rate(summary, "total_input_tokens"),
        requests_per_s=summary["request_throughput"],
    )


def _of_both(machine: Machine, outcome: Outcome) -> "tuple[PooledMachine, PooledOutcome]":
    """Those of a run with pools, which the engines of pools make."""
    return cast("PooledMachine", machine), cast("PooledOutcome", outcome)


def _flags(resolved: Resolved, outcome: Outcome) -> list[str]:
    """Warnings about the results."""
    requests, scheduler = resolved.requests, resolved.scenario.scheduler
    flags = []
    for part in resolved.pools or (resolved,):
        of = part.plan.replicas + len(part.lost)
        flags += [
            f"replica {each.replica} of {of}{f' for {part.role}' if part.role else ''} is lost: "
            f"{each.reason}"
            for each in part.lost
        ]
    refused = int(np.count_nonzero(outcome.served.status))
    if refused:
        were = "request was" if refused == 1 else "requests were"
        flags.append(f"{refused:,} {were} refused: requests.parquet has the reason (status)")
    if requests.skipped:
        flags.append(
            f"{requests.skipped} failed requests of the trace (no prompt or no output tokens) were "
            "left out"
        )
    flags.extend(f"trace: {note}" for note in requests.notes)
    if requests.reordered:
        flags.append(f"{requests.reordered} rows of the trace were not in order and were sorted")
    hashed, wanted = requests.shares_prefixes, scheduler.enable_prefix_caching
    if wanted is True and not hashed:
        flags.append("prefix caching has no effect: the requests have no block hashes")
    if wanted and hashed and resolved.model.state_elements_per_sequence:
        flags.append(
            "no prefix is hit: layers keep a state of fixed size, with which no other sequence can"
            " begin"
        )
    windows = any(layer.attention.window for layer in resolved.model.layers)
    if windows and any(pool.prefix_caching for pool in resolved.pools or (resolved,)):
        flags.append("prefix caching: windowed layers keep all their KV blocks")
    if resolved.scenario.speculative is not None:
        flags.append("how many drafts are accepted is an input: speculative.acceptance")
    idle = len(resolved.requests) and outcome.steps == 0
    if idle:
        flags.append("no step was run")
    return flags
