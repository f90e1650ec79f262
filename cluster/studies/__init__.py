"""Studies over many runs, and comparisons with published figures."""
