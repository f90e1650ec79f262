"""Operation programs: the operations of every rank, their order and dependencies."""

from workloads.program.batch import Batch, decode_steps, mixed_steps, prefill_steps
from workloads.program.columns import Operations, Program, program_of
from workloads.program.generate import generate_program
from workloads.program.rows import ProgramInputs
from workloads.program.schema import PROGRAM_COLUMNS, ProgramError

__all__ = [
    "PROGRAM_COLUMNS",
    "Batch",
    "Operations",
    "Program",
    "ProgramError",
    "ProgramInputs",
    "decode_steps",
    "generate_program",
    "mixed_steps",
    "prefill_steps",
    "program_of",
]
