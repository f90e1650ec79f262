"""What every operation of a program costs by itself, with the arithmetic of the price tables."""

from cluster.machine.price.program.counts import WorkCounts, work_counts
from cluster.machine.price.program.price import (
    RECORDED,
    ProgramPrice,
    price_program,
    program_inputs,
)

__all__ = [
    "RECORDED",
    "ProgramPrice",
    "WorkCounts",
    "price_program",
    "program_inputs",
    "work_counts",
]
