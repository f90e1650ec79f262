"""Common parts of ``simulate`` and ``replay_trace``: choice of engine and output of the run."""

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import datetime
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeAlias, TypeVar

from cluster.actors.session import ActorSession
from cluster.scenario.engine_names import ENGINES, CardsPerActor, EngineName
from cluster.scenario.run_id import MODEL_VERSION
from cluster.scenario.schema import Scenario
from results import display
from results.default_dirs import RUNS
from results.devices import Device
from topology.catalog import Figure, Hardware
from topology.mixed import MixedHardware

if TYPE_CHECKING:
    from results.store import RunWriter


class EngineNameError(ValueError):
    """Unknown engine; names the known ones."""

    exit_code: ClassVar[int] = 2


class SavedRun(ABC):
    """What runs of requests and of operations share: how they show themselves, and ``save``."""

    __slots__ = ()
    if TYPE_CHECKING:
        scenario: Scenario
        summary: dict[str, Any]
        times: tuple[datetime, datetime]
        run_dir: Path | None

        @property
        def resolved(self) -> "RunRequest": ...

    def __repr__(self) -> str:
        return display.line(type(self).__name__, *self._shown())

    def _repr_html_(self) -> str:
        return display.table(type(self).__name__, *self._shown())

    def _shown(self) -> tuple[display.Facts, display.Facts]:
        facts = display.run_facts(self.scenario.name, self.summary, self.run_dir)
        return facts, display.run_figures(self.summary)

    @property
    def run_id(self) -> str:
        """Twelve letters and digits: the same content has the same id on any machine."""
        return self.resolved.run_id

    @property
    @abstractmethod
    def device(self) -> Device:
        """The device whose columns its tables have."""

    @abstractmethod
    def parts(self) -> "Parts":
        """Every part of every table, made in this process."""

    def save(self, root: str | Path = RUNS) -> Path:
        """Write the run under ``root`` and return its folder; the same run is replaced.

        The step log is not kept in memory: to store steps, pass ``out`` to ``simulate``.
        """
        with run_writer(root, self.run_id, self.device) as writer:
            return commit(writer, self.resolved, self.times, self.parts())


Local = TypeVar("Local")
OnRay = TypeVar("OnRay")
SomeRun = TypeVar("SomeRun", bound=SavedRun)
Parts: TypeAlias = Iterator[tuple[str, Any]]
"""Names of tables, and columns of some of their rows."""


class RunRequest(Protocol):
    """A scenario with its names resolved."""

    @property
    def scenario(self) -> Scenario: ...

    @property
    def hardware(self) -> Hardware | None: ...

    @property
    def inputs(self) -> Iterable[Mapping[str, object]]: ...

    @property
    def run_id(self) -> str: ...

    @property
    def plan_reasons(self) -> Sequence[str]: ...


@contextmanager
def opened(
    name: EngineName,
    local: Callable[[], Local],
    on_ray: Callable[[ActorSession], OnRay],
    *,
    cards_per_actor: CardsPerActor,
    ray_address: str | None,
    notice: Callable[[str], None],
) -> Iterator[Local | OnRay]:
    """Open the engine of that name, one of these two; its Ray actors are released at the end.

    Raises
    ------
    EngineNameError
        There is none of that name.
    """
    if name not in ENGINES:
        raise EngineNameError(f"engine: {name!r} is none of {', '.join(ENGINES)}")
    if name == "local":
        yield local()
        return
    with ActorSession(ray_address, cards_per_actor, notice) as actor_session:
        yield on_ray(actor_session)


def carried_out(
    resolved: RunRequest,
    out: str | Path | None,
    device: Device,
    run: Callable[["RunWriter | None"], SomeRun],
    parts: Callable[[SomeRun], Parts],
) -> SomeRun:
    """``run``, and write the run under ``out`` where that is given.

    ``device`` says what the tables have columns of, ``parts`` gives the parts of all tables, from
    the engine that has run it. Machines are assembled before: a run that cannot be has no folder.
    """
    if out is None:
        return run(None)
    with run_writer(out, resolved.run_id, device) as writer:
        done = run(writer)
        folder = commit(writer, resolved, done.times, parts(done))
        return replace(done, run_dir=folder)  # type: ignore[type-var]


def run_writer(root: str | Path, run_id: str, device: Device) -> "RunWriter":
    """Begin the folder of a run on a device; only who keeps a run imports what writes it."""
    from results.schema import run_tables
    from results.store import RunWriter

    return RunWriter(Path(root), run_id, run_tables(device))


def commit(
    writer: "RunWriter",
    requested: RunRequest,
    times: tuple[datetime, datetime],
    parts: Iterable[tuple[str, Any]],
) -> Path:
    """Pass the parts of all tables to the writer; the run is committed after the last."""
    from cluster.scenario.resolve import Resolved
    from cluster.scenario.trust import trust_of
    from results.provenance import manifest

    for table, group in groupby(parts, key=itemgetter(0)):
        writer.extend(table, (columns for _, columns in group))
    return writer.commit(
        manifest(
            run_id=requested.run_id,
            model_version=MODEL_VERSION,
            scenario=requested.scenario.model_dump(mode="json"),
            inputs=requested.inputs,
            hardware={name: asdict(figure) for name, figure in _figures(requested).items()},
            times=times,
            command=sys.argv,
        )
        | ({"trust": trust_of(requested).plain()} if isinstance(requested, Resolved) else {})
        | ({"plan_reasons": list(requested.plan_reasons)} if requested.plan_reasons else {})
    )


def _figures(requested: RunRequest) -> dict[str, Figure]:
    """Figures of the hardware; of two kinds, those of the second that differ carry its name."""
    found = dict(requested.hardware.figures) if requested.hardware else {}
    mixed = getattr(requested, "mixed", None)
    if isinstance(mixed, MixedHardware):
        for name, figure in mixed.second.figures.items():
            differs = name in found and found[name] != figure
            found[f"{name} ({mixed.second.name})" if differs else name] = figure
    return found
