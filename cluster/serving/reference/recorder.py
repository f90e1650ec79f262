"""Records the step log, latencies and progress during a simulation."""

from collections.abc import Sequence

import numpy as np

from cluster.perf_model.tables import PHASE, STEP
from cluster.serving.interface import Observer, OnLog, OnSteps, Phase
from cluster.serving.reference.prices import Measures
from cluster.serving.reference.replica import Replica, Slot, Step
from cluster.serving.reference.request import Request
from corsair_common.units import Integers

WINDOW = 4096
"""Steps between two calls of the observer."""

ONCE = (0, 0, 0)
"""Every step has a row of its own."""

EXACT = 256
"""Latencies below this have a bin each; above, every octave has 128."""
ITL_BINS = EXACT + 55 * 128


def itl_bin(latency_ps: int) -> int:
    """The bin of the histogram that counts ``latency_ps``.

    Examples
    --------
    >>> itl_bin(255), itl_bin(256), itl_bin(257), itl_bin(258), itl_bin(2**63 - 1)
    (255, 256, 256, 257, 7295)
    """
    if latency_ps < EXACT:
        return latency_ps
    octave = latency_ps.bit_length() - 8
    return EXACT + (octave - 1) * 128 + (latency_ps >> octave) - 128


class Recorder:
    """Collects every step and every token; emits them in windows."""

    def __init__(
        self,
        on_steps: Sequence[OnSteps | None],
        on_log: OnLog | None,
        observer: Observer | None,
        drafts: int = 0,
    ) -> None:
        self.itl_count: Integers = np.zeros(ITL_BINS, np.int64)
        self.end_ps = 0
        self.done = 0
        """Requests finished or refused."""
        self.tokens = 0
        self.accepted_count: Integers = np.zeros(drafts + 1 if drafts else 0, np.int64)
        self.draft_tokens = 0
        self._rows: list[tuple[int, ...]] = []
        self._phases: list[tuple[int, ...]] = []
        self._on_steps = on_steps
        self._on_log = on_log
        self._observer = observer

    def step(
        self, start_ps: int, step: Step, replica: Replica, slot: Slot, measures: Measures
    ) -> None:
        """Log a step that starts; the order of its fields is that of ``STEP``."""
        self.end_ps = max(self.end_ps, step.end_ps)
        reading = sum(request in replica.partial_prefills for request in step.rows)
        self._rows.append(
            (
                start_ps,
                step.end_ps,
                replica.number,
                slot.number,
                measures.tokens,
                measures.prefill_tokens,
                measures.emitted,
                measures.finished,
                len(slot.members) + reading,
                len(replica.queue),
                step.prompts[0].number if step.prompts else -1,
                replica.pool.used,
                *measures.columns(),
                *ONCE,
                measures.drafting,
            )
        )

    def phase(self, request: Request, slot: int, row: int, kind: Phase) -> None:
        """Log a phase of a request; the order of the fields is that of ``PHASE``."""
        self._phases.append((request.number, request.replica, slot, row, int(kind)))

    def verified(self, drafts: int, accepted: int) -> None:
        """Count a verification."""
        self.draft_tokens += drafts
        self.accepted_count[accepted] += 1

    def tokens_out(self, count: int, finish_ps: int, previous_ps: int | None) -> None:
        """Count tokens of a request that arrive together, and the time since those before."""
        self.tokens += count
        if previous_ps is not None:
            self.itl_count[itl_bin(finish_ps - previous_ps)] += 1

    def look(self, now_ps: int, *, last: bool = False) -> None:
        """Emit the collected rows if they are a full window or the last."""
        if len(self._rows) < WINDOW and not last:
            return
        for on_steps in self._on_steps:
            if on_steps is not None and self._rows:
                on_steps(np.array(self._rows, STEP))
        if self._on_log is not None:
            self._on_log(np.array(self._rows, STEP), np.array(self._phases, PHASE))
        if self._observer is not None:
            self._observer.advanced(now_ps, self.done, self.tokens)
        self._rows, self._phases = [], []
