"""Price of every operation of a program, with the arithmetic of the price tables."""

from cluster.perf_model.prices.program.counts import work_counts
from cluster.perf_model.prices.program.op_prices import (
    RECORDED,
    ProgramPrice,
    price_program,
)
from cluster.perf_model.prices.program.rows import (
    RowJob,
    RowPrice,
    RowPricing,
    price_rows,
    program_inputs,
)

__all__ = [
    "RECORDED",
    "ProgramPrice",
    "RowJob",
    "RowPrice",
    "RowPricing",
    "price_program",
    "price_rows",
    "program_inputs",
    "work_counts",
]
