"""Price of work that is not a row of the model, from its columns."""

import numpy as np

from cluster.perf_model.devices.protocol import Device
from cluster.perf_model.devices.work import Product, StoredWeights
from cluster.perf_model.prices.program.distinct import Request
from cluster.perf_model.prices.program.model import WorkPrice


def column_price(device: Device, request: Request) -> WorkPrice:
    """Share a row's work evenly over the units of its rank.

    A product with m, k and n is cut by columns; a product without them, and attention, take the
    longer of flop at peak rate and of bytes at the rate of the near memory; vector work takes one
    clock per element; loads and stores move their bytes through the far memory.
    """
    moved_bytes = request.read_bytes + request.write_bytes
    if request.kind in ("load", "store"):
        ps, bound = device.load_ps(moved_bytes)
        return WorkPrice(ps=ps, bound=bound, dispatches=0)
    if request.kind == "vector":
        ps, bound = device.elements_ps(request.flop)
        return WorkPrice(ps=ps, bound=bound)
    if request.kind == "matmul" and request.m and request.k and request.n:
        n, rows = device.of_card(request.n), np.array([request.m])
        product = Product(m=rows, k=request.k, n=n, copies=request.count)
        stored = StoredWeights(
            k=request.k, n=n * device.units, shares=device.units, copies=request.count
        )
        priced = device.matmul(request.name, product, stored)
        return WorkPrice(ps=int(priced.ps[0]), bound=int(priced.bound[0]))
    ps, bound = device.roofline_ps(request.flop, moved_bytes, request.kind == "attention")
    return WorkPrice(ps=ps, bound=bound)
