"""Default output folders, under the current folder."""

from pathlib import Path

RUNS = Path("results/runs")
"""Each run in a folder of its run_id."""
SWEEPS = Path("results/sweeps")
"""Each sweep in a folder of its name."""
