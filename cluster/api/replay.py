"""``replay_trace``: replay an operation trace, return its times, optionally write them."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from cluster.actors.engine import RayReplayEngine
from cluster.api.run_output import Parts, SavedRun, carried_out, opened
from cluster.perf_model.energy.totals import facility_w, spent_by_ranks
from cluster.replay.analysis import Measures, measures_of, replay_summary, stage_bubbles, waits
from cluster.replay.interface import Observer
from cluster.replay.op_durations import durations_of
from cluster.replay.op_tables import Columns
from cluster.replay.run import ReplayMachine, ReplayOutcome, assemble_replay, run_replay
from cluster.replay.tables import (
    card_time_columns,
    critical_columns,
    load_parts,
    op_parts,
    replay_map,
    step_columns,
)
from cluster.scenario.engine_names import CardsPerActor, EngineName
from cluster.scenario.load import load
from cluster.scenario.resolve import ResolvedReplay, resolve
from cluster.scenario.run_id import MODEL_VERSION
from cluster.scenario.schema import Scenario
from cluster.serving.tables import energy_measured
from results.devices import Device, described
from results.summary import energy_side, flatten

if TYPE_CHECKING:
    from results.remote_parts import ArrowBytes


class ReplayEngine(Protocol):
    """Engine of a replay; results are bit-identical."""

    def assemble(self, resolved: ResolvedReplay) -> ReplayMachine: ...

    def execute(
        self, resolved: ResolvedReplay, machine: ReplayMachine, *, observer: Observer | None = None
    ) -> ReplayOutcome: ...

    def op_parts(
        self, machine: ReplayMachine, outcome: ReplayOutcome
    ) -> "Iterator[Columns] | Iterator[ArrowBytes]": ...


class LocalReplayEngine:
    """The engine in this process."""

    assemble = staticmethod(assemble_replay)
    execute = staticmethod(run_replay)
    op_parts = staticmethod(op_parts)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class ReplayRun(SavedRun):
    """One replay: its summary and its times; ``save`` leaves the whole of it on disk."""

    scenario: Scenario
    resolved: ResolvedReplay
    machine: ReplayMachine
    outcome: ReplayOutcome
    measures: Measures
    summary: dict[str, Any]
    """The columns of the table ``replay``; nested under ``critical_share``."""
    times: tuple[datetime, datetime]
    run_dir: Path | None = None
    """Folder of the run, once saved."""

    @property
    def steps(self) -> Columns:
        """Columns of step_times.parquet."""
        return step_columns(self.measures)

    @property
    def critical(self) -> Columns:
        """Columns of critical.parquet."""
        return critical_columns(self.machine, self.outcome, self.measures)

    @property
    def waits(self) -> dict[str, float]:
        """Share of the critical path by switch or link that it waits for, the largest first."""
        return waits(self.machine, self.outcome, self.measures)

    @property
    def stage_bubbles(self) -> list[float]:
        """Fraction of the run in which each pipeline stage is idle; empty without stages."""
        return stage_bubbles(self.machine, self.outcome, self.measures)

    @property
    def device(self) -> Device:
        """What its tables have columns of."""
        return _device(self.machine)

    def parts(self, engine: ReplayEngine | None = None) -> Parts:
        """Every part of every table."""
        machine, outcome, measures = self.machine, self.outcome, self.measures
        yield "replay", flatten(self.summary)
        for part in (engine or LocalReplayEngine()).op_parts(machine, outcome):
            yield "ops", part
        for loads in load_parts(machine, outcome):
            yield "links", loads
        yield "step_times", self.steps
        yield "card_times", card_time_columns(machine, outcome, measures)
        yield "critical", self.critical
        yield from replay_map(machine).items()

    def save_chakra(self, folder: str | Path) -> Path:
        """Write the program as a Chakra trace whose work takes what it was priced at.

        Repeats are written out. Shapes, layers and steps have no place in a trace.

        Raises
        ------
        ChakraError
            A folder that holds other things or cannot be written, or a program that a trace cannot
            hold (``workloads.chakra.from_program``).
        """
        from workloads.chakra.from_program import from_program
        from workloads.chakra.write import write_chakra

        program = self.machine.program
        return write_chakra(from_program(program, durations_of(program, self.machine.work)), folder)

    def save_program(self, path: str | Path) -> None:
        """Write the program as a file that ``workload.program`` reads; repeats stay repeats.

        Raises
        ------
        ProgramError
            The file cannot be written.
        """
        from workloads.program.file import write_program

        write_program(path, self.machine.program)


def replay_trace(
    scenario: Scenario | str | Path | Mapping[str, Any],
    *,
    observer: Observer | None = None,
    out: str | Path | None = None,
    engine: EngineName = "local",
    cards_per_actor: CardsPerActor = "auto",
    ray_address: str | None = None,
    notice: Callable[[str], None] = lambda _: None,
) -> ReplayRun:
    """Replay the operation trace of a scenario: a program file, a generated one, or Chakra.

    Parameters
    ----------
    scenario
        A scenario, a YAML file, or a mapping of the same shape, with ``workload: {program: ...}``
        or ``workload: {chakra: ...}``.
    observer
        Called between windows of the run: simulated time in ps, operations done.
    out
        A folder to write the run to.
    engine
        ``local`` runs in this process. ``ray`` makes every card that has a rank a Ray actor, which
        prices and encodes its operations; the results are the same to the bit.
    cards_per_actor
        With ``ray``: so many cards share an actor; ``auto`` goes by the processors there are.
    ray_address
        With ``ray``: the address of a cluster, ``auto`` for one that runs on this machine, or None
        to start a private one.
    notice
        With ``ray``: called with lines of text on what is started there.

    Returns
    -------
    The replay. ``summary`` has one value a key (``makespan_s`` in s, shares as parts of 1);
    ``steps`` and ``critical`` are mappings of arrays, a row per step, and a row per step, cause and
    link of the critical path; ``waits`` are shares of the critical path by link or switch.

    Raises
    ------
    ValueError
        In its classes with ``exit_code`` 2 (wrong input) and 3 (cannot run).

    Examples
    --------
    >>> from corsair_sim import replay
    >>> run = replay({
    ...     "model": "llama-3.1-8b",
    ...     "plan": {"tensor_parallel_size": 4, "pipeline_parallel_size": 2},
    ...     "workload": {"program": {"phase": "decode", "batch": 1, "context": 16, "steps": 2}},
    ... })
    >>> run.summary["ranks"], run.summary["steps"]
    (8, 2)
    """
    started = datetime.now(UTC)
    requested = scenario if isinstance(scenario, Scenario) else load(scenario)
    resolved = resolve(requested, wanted="operations")
    with opened(
        engine,
        LocalReplayEngine,
        RayReplayEngine,
        cards_per_actor=cards_per_actor,
        ray_address=ray_address,
        notice=notice,
    ) as runner:
        machine = runner.assemble(resolved)
        return carried_out(
            resolved,
            out,
            _device(machine),
            lambda _: _run(resolved, machine, started, runner, observer),
            lambda run: run.parts(runner),
        )


def replay_resolved(resolved: ResolvedReplay, *, observer: Observer | None = None) -> ReplayRun:
    """Replay a resolved operation trace, in this process."""
    started, engine = datetime.now(UTC), LocalReplayEngine()
    return _run(resolved, engine.assemble(resolved), started, engine, observer)


def _run(
    resolved: ResolvedReplay,
    machine: ReplayMachine,
    started: datetime,
    engine: ReplayEngine,
    observer: Observer | None,
) -> ReplayRun:
    outcome = engine.execute(resolved, machine, observer=observer)
    measures = measures_of(machine, outcome)
    return ReplayRun(
        scenario=resolved.scenario,
        resolved=resolved,
        machine=machine,
        outcome=outcome,
        measures=measures,
        summary={
            "run_id": resolved.run_id,
            "model_version": MODEL_VERSION,
            **replay_summary(machine, outcome, measures),
            **_energy(machine, outcome),
            "flags": [*resolved.notes, *_idle_ranks(resolved, machine)],
        },
        times=(started, datetime.now(UTC)),
    )


def _idle_ranks(resolved: ResolvedReplay, machine: ReplayMachine) -> list[str]:
    """Endpoints that a recorded trace does not use; a plan names the cards that it needs."""
    ranks, where, there = machine.program.ranks, "cards", 0
    if machine.network is not None:
        where, there = f"ranks of {machine.network.name}", machine.network.ranks
    elif machine.racks is not None and resolved.planned is None:
        there = len(machine.racks.routes.card_id)
    if there <= ranks:
        return []
    return [
        f"the trace has {ranks} ranks, on the first {ranks} of {there} {where}: the others are "
        "idle, and their links carry only what passes through"
    ]


def _device(machine: ReplayMachine) -> Device:
    """What the tables of a replay on this machine have columns of."""
    return described(machine.work.bounds, machine.energy.parts if machine.energy else None)


def _energy(machine: ReplayMachine, outcome: ReplayOutcome) -> dict[str, Any]:
    """Keys of energy; None if the trace has no operation counts."""
    energy = machine.energy
    if energy is None:
        return {"clock_hz": None, **energy_side(None, None, _device(machine).part_names)}
    spent = spent_by_ranks(
        energy.ranks_j,
        energy.parts,
        static_w=energy.static_w,
        cards=energy.cards,
        end_ps=outcome.replayed.makespan_ps,
    )
    measured = replace(
        energy_measured(spent, facility_w(energy.facility, spent)), peak_power_w=None
    )
    return {
        "clock_hz": energy.clock_hz,
        **energy_side(measured, energy.tokens or None, energy.parts),
    }
