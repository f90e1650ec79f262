"""Counts over the step log that need no prices."""

from dataclasses import dataclass

import numpy as np

from cluster.perf_model.tables import Records


@dataclass(slots=True, kw_only=True)
class Tally:
    """Counts over the steps that start at ``begin_ps`` or later."""

    begin_ps: int = 0
    steps: int = 0
    members: int = 0
    peak_blocks: int = 0
    end_ps: int = 0
    """Of all steps."""

    def add(self, window: Records) -> None:
        """Add a part of the step log."""
        more, period_ps = window["more"], window["period_ps"]
        self.end_ps = max(self.end_ps, int((window["end_ps"] + more * period_ps).max(initial=0)))
        counted = more + 1
        early_ps = self.begin_ps - window["start_ps"]
        if int(early_ps.max(initial=0)) > 0:
            before = -(-early_ps // np.maximum(period_ps, 1))
            counted = np.where(early_ps > 0, np.maximum(0, counted - before), counted)
            counted[(early_ps > 0) & (more == 0)] = 0
            window, counted = window[counted > 0], counted[counted > 0]
        self.steps += int(counted.sum())
        self.members += int((window["running"] * counted).sum())
        self.peak_blocks = max(self.peak_blocks, int(window["used_blocks"].max(initial=0)))

    def join(self, other: "Tally") -> None:
        """Add the counts of another part of the run."""
        self.steps += other.steps
        self.members += other.members
        self.peak_blocks = max(self.peak_blocks, other.peak_blocks)
        self.end_ps = max(self.end_ps, other.end_ps)
