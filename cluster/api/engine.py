"""What ``simulate`` asks of an engine, and of the module that makes a run's tables."""

from collections.abc import Callable, Iterator, Mapping
from typing import Protocol, Self, TypeAlias, TypeVar

from cluster.scenario.resolve import Resolved
from cluster.serving.outcome import Outcome
from cluster.serving.run import Machine, MapOf
from cluster.serving.tables import Columns
from corsair_common.units import Integers
from results.engine_columns import Latency
from results.summary import Machine as Measured

SomeMachine = TypeVar("SomeMachine", bound=Machine)
SomeOutcome = TypeVar("SomeOutcome", bound=Outcome)
SomeOutcome_contra = TypeVar("SomeOutcome_contra", bound=Outcome, contravariant=True)
SomeMachine_contra = TypeVar("SomeMachine_contra", bound=Machine, contravariant=True)


class Engine(Protocol[SomeMachine, SomeOutcome]):
    """Engine of a run; results are bit-identical.

    A machine is the engine's assembled cluster, an outcome its result.
    """

    def assemble(self, resolved: Resolved) -> SomeMachine: ...

    @property
    def execute(self) -> Callable[..., SomeOutcome]: ...

    def card_parts(self, machine: SomeMachine, outcome: SomeOutcome) -> Iterator[Columns]: ...


class SplittingEngine(Engine[Machine, Outcome], Protocol):
    """An engine that can give another one, for the other pool of a disaggregated run."""

    def assemble(self, resolved: Resolved, mapped: MapOf | None = None) -> Machine: ...

    def beside(self) -> Self: ...


class Tables(Protocol[SomeMachine_contra, SomeOutcome_contra]):
    """A module that makes the tables of runs."""

    def request_ps(
        self, resolved: Resolved, outcome: SomeOutcome_contra, /
    ) -> Mapping[str, Integers]: ...
    def latency_of(self, resolved: Resolved, outcome: SomeOutcome_contra, /) -> Latency | None: ...
    def measured(
        self, resolved: Resolved, machine: SomeMachine_contra, outcome: SomeOutcome_contra, /
    ) -> Measured: ...
    def link_parts(
        self, machine: SomeMachine_contra, outcome: SomeOutcome_contra, /
    ) -> Iterator[Columns]: ...
    def map_tables(self, machine: SomeMachine_contra, /) -> dict[str, Columns]: ...
    def placement_table(self, machine: SomeMachine_contra, /) -> Columns: ...


AnyEngine: TypeAlias = Engine[Machine, Outcome]
