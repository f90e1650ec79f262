"""The Python API: a serving run, a replay of an operation trace, and their output."""
