"""Counts over the step log that need no prices."""

from dataclasses import dataclass

from cluster.machine.tables import Records


@dataclass(slots=True, kw_only=True)
class Tally:
    """Counts over the windows of the step log."""

    steps: int = 0
    members: int = 0
    peak_blocks: int = 0
    end_ps: int = 0

    def add(self, window: Records) -> None:
        self.steps += len(window)
        self.members += int(window["running"].sum())
        self.peak_blocks = max(self.peak_blocks, int(window["used_blocks"].max(initial=0)))
        self.end_ps = max(self.end_ps, int(window["end_ps"].max(initial=0)))

    def join(self, other: "Tally") -> None:
        """Add the counts of another part of the run."""
        self.steps += other.steps
        self.members += other.members
        self.peak_blocks = max(self.peak_blocks, other.peak_blocks)
        self.end_ps = max(self.end_ps, other.end_ps)
