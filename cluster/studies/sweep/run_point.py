"""Runs one point: from content to the numbers of a row. The same in every engine."""

import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from cluster.api.replay import replay_resolved
from cluster.api.serving import assemble_any, simulate_on
from cluster.perf_model.memory import DoesNotFit
from cluster.scenario.resolve import Resolved, resolve
from cluster.scenario.schema import Scenario
from cluster.serving.run import Machine, map_of
from corsair_common.lru import LruCache
from results.schema import Ended
from results.summary import flatten
from topology.mixed import AnyHardware, MixedHardware, kinds_of

MOST_MACHINES = 16
MOST_BYTES = 256 * 2**20
BYTES_PER_LINK = 2000
"""Approximate size of a topology: a graph of dictionaries."""


class OutOfTimeError(RuntimeError):
    """A point has taken longer than ``timeout_s``."""


class InfeasibleError(RuntimeError):
    """A cluster that failed to assemble for another point, with the same reason."""

    exit_code: ClassVar[int] = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The outcome of one point."""

    status: Ended
    reason: str | None = None
    seconds: float | None = None
    host: str | None = None
    metrics: Mapping[str, Any] = field(default_factory=dict)
    poisoned: bool = False
    """It ran out of time or memory, or its process died: may be retried."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """Settings common to all points of a sweep."""

    metrics: Sequence[str]
    timeout_s: float | None
    runs: str | None
    """Folder of whole runs; None stores summaries only."""


class Workshop:
    """Machines that were assembled here, for points that differ in their traffic only."""

    def __init__(self) -> None:
        self._machines = LruCache[Machine](MOST_MACHINES, MOST_BYTES, _bytes)
        self._maps = LruCache[Any](4)
        self._refusals = LruCache[str](1000)

    def run(self, content: Resolved | Scenario, terms: Terms) -> Result:
        """Run one point; any error becomes a row with its reason."""
        began_s = time.perf_counter()
        try:
            metrics = self._metrics(content, terms)
            found = Result(status="completed", metrics=metrics)
        except MemoryError:
            self._machines.clear()
            found = Result(status="failed", reason="out of memory", poisoned=True)
        except OutOfTimeError as error:
            found = Result(status="failed", reason=str(error), poisoned=True)
        except Exception as error:
            if isinstance(error.__context__, KeyboardInterrupt):  # numba may lose one
                raise KeyboardInterrupt from error
            found = _failure(error)
        return Result(
            status=found.status,
            reason=found.reason,
            seconds=time.perf_counter() - began_s,
            host=socket.gethostname(),
            metrics=found.metrics,
            poisoned=found.poisoned,
        )

    def machine(self, machine_id: str) -> Machine | None:
        """An assembled cluster, local or received, if it is still cached."""
        return self._machines.find(machine_id)

    def take(self, machine_id: str, machine: Machine) -> None:
        """Cache a cluster that was assembled elsewhere."""
        self._machines.keep(machine_id, machine)

    def _metrics(self, content: Resolved | Scenario, terms: Terms) -> dict[str, Any]:
        kept = _kept_run(terms, content.run_id) if isinstance(content, Resolved) else None
        summary = self._summary(content, terms) if kept is None else kept
        row = flatten(summary)
        return {name: row.get(name) for name in terms.metrics}

    def _summary(self, content: Resolved | Scenario, terms: Terms) -> Mapping[str, Any]:
        deadline = Deadline(terms.timeout_s)
        if isinstance(content, Scenario):
            replayed = replay_resolved(resolve(content, wanted="operations"), observer=deadline)
            if terms.runs is not None:
                replayed.save(terms.runs)
            return replayed.summary
        machine = self._machines.get(content.machine_id, lambda: self._assemble(content))
        deadline.check()
        served = simulate_on(machine, content, observer=deadline)
        if terms.runs is not None:
            served.save(terms.runs)
        return served.summary

    def _assemble(self, content: Resolved) -> Machine:
        refusal = self._refusals.find(content.machine_id)
        if refusal is not None:
            raise InfeasibleError(refusal)
        try:
            return assemble_any(content, self._map_of)
        except Exception as error:
            if getattr(error, "exit_code", None) == 3:
                self._refusals.keep(content.machine_id, _reason(error))
            raise

    def _map_of(self, scenario: Scenario, hardware: AnyHardware) -> Any:
        kinds = kinds_of(hardware)
        figures = tuple(figure.value for kind in kinds for figure in kind.figures.values())
        servers = hardware.first_servers if isinstance(hardware, MixedHardware) else 0
        key = (hardware.name, figures, servers, scenario.cluster, scenario.links, scenario.state)
        return self._maps.get(key, lambda: map_of(scenario, hardware))


class Deadline:
    """Observer that ends a run when its time limit is exceeded."""

    def __init__(self, timeout_s: float | None) -> None:
        self._timeout_s = timeout_s
        self._end_s = None if timeout_s is None else time.monotonic() + timeout_s

    def check(self) -> None:
        """Raise OutOfTimeError once the time is over."""
        if self._end_s is not None and time.monotonic() > self._end_s:
            raise OutOfTimeError(f"took longer than timeout_s: {self._timeout_s:g} s")

    def started(self, total: int) -> None:
        del total
        self.check()

    def advanced(self, now_ps: int, done: int, tokens: int = 0) -> None:
        del now_ps, done, tokens
        self.check()

    def finished(self) -> None:
        return


def _failure(error: Exception) -> Result:
    code = getattr(error, "exit_code", None)
    if code == 3:
        return Result(status="infeasible", reason=_reason(error))
    if code == 2 or isinstance(error, OSError):
        return Result(status="failed", reason=str(error))
    return Result(
        status="failed",
        reason=f"internal error of corsair-sim: {type(error).__name__}: {error}",
    )


def _reason(error: Exception) -> str:
    """Without advice, which takes longer than the rest of a point: ``check`` prints it."""
    return error.lack if isinstance(error, DoesNotFit) else str(error)


def _kept_run(terms: Terms, run_id: str) -> Mapping[str, Any] | None:
    """The summary of a run that is already in the sweep's folder."""
    if terms.runs is None or not (Path(terms.runs) / run_id / "manifest.json").is_file():
        return None
    from results import open_run

    return open_run(terms.runs, run_id).summary


def _bytes(machine: Machine) -> int:
    """Approximate size of an assembled cluster: its tables and its topology."""
    tables = sum(
        getattr(getattr(machine.prices, name), "nbytes", 0)
        for name in type(machine.prices).__dataclass_fields__
    )
    return tables + BYTES_PER_LINK * len(machine.routes.link_kind)
