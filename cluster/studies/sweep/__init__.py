"""Sweeps: one scenario in thousands of variants, in one resumable dataset."""

from cluster.studies.sweep.api import resume, sweep
from cluster.studies.sweep.errors import SweepError

__all__ = ["SweepError", "resume", "sweep"]
