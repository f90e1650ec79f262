"""Schedules the program: each stage serves the slots' batches in turn, step after step.

The rows of a batch at a stage form a chain: each waits for the previous one, the first also for its
receives and for the stage's previous batch. Sends and receives overlap with that. The first stage
begins a batch with the host's work. A slot's next batch starts when its last one has left the last
stage; if it decodes, when the tokens are back at the first stage.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, TypeAlias

from workloads.program.batch import Batch, Steps
from workloads.program.rows import ProgramInputs, Row, vector
from workloads.program.schema import HOST, RECEIVE, SEND
from workloads.program.stage_rows import HEAD_NAME, STREAM_NAME, StageRows, stage_rows

Slots: TypeAlias = dict[tuple[int, Hashable], int]
"""What varies alike: a slot's rows of one kind over one kind of cache, and their number."""


class Unit(NamedTuple):
    """One row of every card of a stage."""

    row: Row
    step: int
    slot: int
    stage: int
    phase: str
    layer: int = -1
    peer: int = -1
    """Stage at the other end."""
    varies: int = -1
    deps: tuple[int, ...] = ()
    """Units; below 0 in the repeat before."""


@dataclass(slots=True, kw_only=True)
class Ends:
    """Units that the following ones wait for."""

    stage: dict[int, tuple[int, ...]] = field(default_factory=dict)
    """What ends the stage's last batch."""
    left: dict[int, tuple[int, ...]] = field(default_factory=dict)
    """What ends the slot's last batch at the last stage."""
    back: dict[int, tuple[int, ...]] = field(default_factory=dict)
    """When the slot's last tokens are back at the first stage."""


@dataclass(slots=True, kw_only=True)
class Writer:
    """Appends the units of batch after batch."""

    inputs: ProgramInputs
    repeats: bool = True
    """Whether the program is a template; without repeats no values vary."""
    before: Ends = field(default_factory=Ends)
    """Where the repeat before has ended; it is used up."""
    cached: dict[tuple[int, Batch], StageRows] = field(default_factory=dict)
    slots: Slots = field(default_factory=dict)
    written: list[Unit] = field(default_factory=list)

    @property
    def ends(self) -> Ends:
        """Where this has ended, as the next repeat sees it."""
        units = len(self.written)

        def back(ends: dict[int, tuple[int, ...]]) -> dict[int, tuple[int, ...]]:
            return {key: tuple(unit - units for unit in deps) for key, deps in ends.items()}

        before = self.before
        return Ends(stage=back(before.stage), left=back(before.left), back=back(before.back))

    def write(self, steps: Steps) -> None:
        for step, batches in enumerate(steps):
            for slot, batch in enumerate(batches):
                if batch is not None:
                    self._cross(step, slot, batch)

    def _cross(self, step: int, slot: int, batch: Batch) -> None:
        """Write one batch's way through all stages, and its tokens' back to the first."""
        stages = self.inputs.plan.pipeline_parallel_size
        wire = self.inputs.formats.wire
        part = -(-wire.bytes_of(batch.tokens * self.inputs.model.hidden) // self.inputs.cards)
        idle = Row(name="", kind="vector", tokens=batch.tokens)
        unit = Unit(row=idle, step=step, slot=slot, stage=0, phase=batch.phase)
        awaited = self.before.back if batch.decode_contexts else self.before.left
        waits = awaited.get(slot, ())
        for stage in range(stages):
            here = unit._replace(stage=stage)
            waits = self._work(here, batch, waits)
            if stage + 1 < stages:
                waits = self._pass(here, stage + 1, "activations", part, waits)
        self.before.left[slot] = waits
        if stages > 1 and batch.emitted:
            waits = self._pass(unit._replace(stage=stages - 1), 0, "token", 0, waits)
        self.before.back[slot] = waits

    def _work(self, here: Unit, batch: Batch, arrived: tuple[int, ...]) -> tuple[int, ...]:
        """Write the rows of one stage; return the dependencies of its consumers."""
        key = (here.stage, batch)
        if key not in self.cached:
            self.cached[key] = stage_rows(self.inputs, *key)
        work = self.cached[key]
        waits = (*arrived, *self.before.stage.get(here.stage, ()))
        if here.stage == 0:
            host = vector("host", batch.tokens, m=batch.emitted, n=0)
            host = replace(host, stream=HOST)
            waits = self._append(here._replace(row=host, deps=waits))
        beside: tuple[int, ...] = ()
        written, step, slot, stage, phase = self.written, *here[1:5]
        for row, layer in zip(work.rows, work.layers, strict=True):
            if row.name == HEAD_NAME:
                waits, beside = (*waits, *beside), ()
            varies = -1 if row.slot is None else self._varies(here, row)
            unit = Unit(row, step, slot, stage, phase, layer, -1, varies, waits)
            number = (len(written),)
            written.append(unit)
            if row.name == STREAM_NAME:
                beside = number
            else:
                waits = number
        self.before.stage[here.stage] = (*waits, *beside)
        return self.before.stage[here.stage]

    def _pass(
        self, here: Unit, to: int, what: str, part: int, waits: Sequence[int]
    ) -> tuple[int, ...]:
        """Write a send and its receive; return the receive."""
        tokens = here.row.tokens
        send = Row(name=f"send {what}", kind="send", tokens=tokens, stream=SEND, payload_bytes=part)
        receive = replace(send, name=f"receive {what}", kind="recv", stream=RECEIVE)
        self._append(here._replace(row=send, peer=to, deps=tuple(waits)))
        return self._append(here._replace(row=receive, stage=to, peer=here.stage))

    def _varies(self, here: Unit, row: Row) -> int:
        if row.slot is None or not self.repeats:
            return -1
        return self.slots.setdefault((here.slot, row.slot), len(self.slots))

    def _append(self, unit: Unit) -> tuple[int, ...]:
        self.written.append(unit)
        return (len(self.written) - 1,)
