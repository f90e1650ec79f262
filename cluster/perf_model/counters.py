"""Counts over the step log that need no prices."""

from dataclasses import dataclass

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
        self.end_ps = max(self.end_ps, int(window["end_ps"].max(initial=0)))
        if int(window["start_ps"].min(initial=self.begin_ps)) < self.begin_ps:
            window = window[window["start_ps"] >= self.begin_ps]
        self.steps += len(window)
        self.members += int(window["running"].sum())
        self.peak_blocks = max(self.peak_blocks, int(window["used_blocks"].max(initial=0)))

    def join(self, other: "Tally") -> None:
        """Add the counts of another part of the run."""
        self.steps += other.steps
        self.members += other.members
        self.peak_blocks = max(self.peak_blocks, other.peak_blocks)
        self.end_ps = max(self.end_ps, other.end_ps)
