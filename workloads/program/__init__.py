"""Operation programs: what every card does, in which order, and what it waits for."""

from workloads.program.columns import Operations, Program, program_of
from workloads.program.words import PROGRAM_COLUMNS, ProgramError

__all__ = [
    "PROGRAM_COLUMNS",
    "Operations",
    "Program",
    "ProgramError",
    "program_of",
]
