"""Work that is no row of the model: what its columns say that it takes."""

import numpy as np

from cluster.perf_model.chiplet import (
    LPDDR,
    MAC,
    SIMD,
    STREAM,
    Product,
    lpddr_ps,
    peak_flop_per_s,
    peak_stream_bytes_per_s,
    picoseconds,
    vector_clocks,
    whole,
)
from cluster.perf_model.prices.op_prices import WIDTHS, OpPricer, matmul
from cluster.perf_model.prices.program.distinct import Request
from cluster.perf_model.prices.program.model import WorkPrice


def column_price(bench: OpPricer, request: Request) -> WorkPrice:
    """Share a row's work evenly over the chiplets of its card.

    A product with m, k and n is cut by columns; without, and attention, take the longer of flop at
    peak rate and of bytes at the rate of SRAM; vector work takes one clock an element; loads and
    stores move their bytes through LPDDR.
    """
    moved = request.read_bytes + request.write_bytes
    if request.kind in ("load", "store"):
        ps = lpddr_ps(bench.chiplet, np.array([moved / bench.chiplets]))
        return WorkPrice(ps=int(ps[0]), bound=LPDDR, dispatches=0)
    if request.kind == "vector":
        elements = np.array([-(-request.flop // bench.chiplets)])
        ps = picoseconds(bench.chiplet, vector_clocks(bench.chiplet, elements, 1.0))
        return WorkPrice(ps=int(ps[0]), bound=SIMD)
    if request.kind == "matmul" and request.m and request.k and request.n:
        columns, rows = bench.of_card(request.n), np.array([request.m])
        product = Product(m=rows, k=request.k, n=columns, copies=request.count)
        priced = matmul(bench, request.name, product)
        return WorkPrice(ps=int(priced.ps[0]), bound=int(priced.bound[0]))
    mode = bench.kv_mode if request.kind == "attention" else bench.mode
    stored = WIDTHS[bench.weights.columns or "int8"]
    flop_s = request.flop / (peak_flop_per_s(bench.chiplet, mode) * bench.chiplets)
    rate = peak_stream_bytes_per_s(bench.chiplet, bench.mode, stored) * bench.chiplets
    ps = whole(np.array([max(flop_s, moved / rate) * 1e12]))
    return WorkPrice(ps=int(ps[0]), bound=MAC if flop_s >= moved / rate else STREAM)
