"""Engines of a disaggregated run: one for each pool."""

from collections.abc import Iterator
from typing import Protocol

from cluster.disaggregated.placement import Assemble, PooledMachine, assemble_pools
from cluster.disaggregated.run import PooledOutcome, run_pools
from cluster.disaggregated.tables import card_parts
from cluster.scenario.resolve import Resolved
from cluster.serving.interface import Observer, OnSteps
from cluster.serving.tables import Columns


class PoolEngine(Protocol):
    """The engine of one pool."""

    @property
    def assemble(self) -> Assemble: ...


class PooledEngine:
    """Two engines that price; both pools and the links between them run in one loop, here: they
    are one part. The tables merge both."""

    def __init__(self, prefill: PoolEngine, decode: PoolEngine) -> None:
        self._engines = prefill, decode

    def assemble(self, resolved: Resolved) -> PooledMachine:
        prefill, decode = self._engines
        return assemble_pools(resolved, (prefill.assemble, decode.assemble))

    def execute(
        self,
        resolved: Resolved,
        machine: PooledMachine,
        *,
        observer: Observer | None = None,
        on_steps: OnSteps | None = None,
    ) -> PooledOutcome:
        return run_pools(resolved, machine, observer=observer, on_steps=on_steps)

    def card_parts(self, machine: PooledMachine, outcome: PooledOutcome) -> Iterator[Columns]:
        return card_parts(machine, outcome)
