"""Default output folders, under the current folder."""

from pathlib import Path

RUNS = Path("results/runs")
"""Each run is in a folder named by its run_id."""
SWEEPS = Path("results/sweeps")
"""Each sweep is in a folder named by the sweep."""
