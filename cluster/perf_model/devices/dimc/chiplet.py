"""The chiplet: clocks of matrix products and vector work, one row per operation.

A DIMC core holds one tile of 64 rows x C columns, 4,096 bytes whatever the width: 64 clocks to
stream in at 64 B/clk (other rates: whole clocks, rounded up), then ``clocks_per_vector`` clocks for
each input vector (activations are bit-serial). Columns follow the weights' width and clocks per
vector the activations' width, so equal widths are the published modes.
"""

import math
from dataclasses import dataclass

import numpy as np

from cluster.perf_model.devices.work import Product, whole
from cluster.perf_model.protocols import Figures
from corsair_common.units import PS_PER_S, Floats, Integers

BOUNDS = ("stream", "mac", "simd", "lpddr", "network", "dispatch")
"""Bounds of an operation's time, in the order of every axis of bounds."""

STREAM, MAC, SIMD, LPDDR, NETWORK, DISPATCH = range(len(BOUNDS))

ROUNDING = 1e-6
"""Clocks: a rate in decimals of thirds takes no clock more than its third."""
PARTIAL_SUM_BYTES = 4
"""The adders behind the DIMC columns have 32-bit sums."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mode:
    """Mode of a DIMC core, from the widths of a product's operands."""

    columns: int
    """Columns of a tile, by the stationary operand's width."""
    clocks_per_vector: int
    """Clocks of one input vector, by the moving operand's width."""
    activation_bytes: float
    """Bytes of one element of the moving operand, shared exponents included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chiplet:
    """The figures of one chiplet that determine its speed."""

    clock_hz: float
    cores: int
    slices: int
    rows: int
    """Rows of a tile: the unit in which K is cut."""
    load_clocks: int
    """Clocks to stream one tile into a core."""
    fill_clocks: float
    noc_bytes_per_clock: float
    """Into and out of one slice."""
    lanes: int
    """SIMD lanes of all slices."""
    lpddr_bytes_per_s: float
    """Sustained rate of the chiplet's LPDDR channels: bandwidth x efficiency."""


def chiplet_of(figures: Figures) -> Chiplet:
    """Read a chiplet out of a hardware catalogue."""
    rows = int(figures["dimc.rows"])
    tile_bytes = rows * int(figures["dimc.columns_int8"])
    slices = int(figures["chiplet.slices"])
    return Chiplet(
        clock_hz=figures["card.clock_hz"],
        cores=int(figures["chiplet.dimc_cores"]),
        slices=slices,
        rows=rows,
        load_clocks=math.ceil(tile_bytes / figures["dimc.stream_bytes_per_clock"] - ROUNDING),
        fill_clocks=figures["dimc.fill_clocks"],
        noc_bytes_per_clock=figures["chiplet.noc_bytes_per_clock"],
        lanes=slices * int(figures["simd.lanes"]),
        lpddr_bytes_per_s=figures["chiplet.lpddr_bandwidth_bytes_per_s"]
        * figures["chiplet.lpddr_efficiency"],
    )


def mode_of(
    figures: Figures, *, weight_width: int, activation_width: int, activation_bytes: float
) -> Mode:
    """Columns and clocks for operand widths of 4, 8 or 16 bits."""
    return Mode(
        columns=int(figures[f"dimc.columns_int{weight_width}"]),
        clocks_per_vector=int(figures[f"dimc.clocks_per_vector_int{activation_width}"]),
        activation_bytes=activation_bytes,
    )


def peak_flop_per_s(chiplet: Chiplet, mode: Mode) -> float:
    """Multiply-adds of all cores, two flop each."""
    macs_per_clock = chiplet.rows * mode.columns * chiplet.cores / mode.clocks_per_vector
    return 2 * macs_per_clock * chiplet.clock_hz


def peak_stream_bytes_per_s(chiplet: Chiplet, mode: Mode, weight_width: int) -> float:
    """Weights that all cores together can read from SRAM."""
    tile_bytes = chiplet.rows * mode.columns * weight_width / 8
    return tile_bytes / chiplet.load_clocks * chiplet.cores * chiplet.clock_hz


def ridge_rows(chiplet: Chiplet, mode: Mode) -> int:
    """Vectors per tile at which arithmetic takes as long as streaming the next tile."""
    return -(-chiplet.load_clocks // mode.clocks_per_vector)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductWork:
    """Work of one chiplet for each product, K split over the best number of cores."""

    clocks: Floats
    bound: Integers
    tiles: Integers
    """Tiles streamed, once each."""
    network_bytes: Floats
    """x into every slice that uses it, and partial sums between slices."""


def product_clocks(chiplet: Chiplet, mode: Mode, product: Product) -> tuple[Floats, Integers]:
    """Clocks of each product on all cores of one chiplet, and its bound (``product_work``)."""
    done = product_work(chiplet, mode, product)
    return done.clocks, done.bound


def product_work(chiplet: Chiplet, mode: Mode, product: Product) -> ProductWork:
    """Work of each product on all cores of one chiplet.

    K may be split over ``s`` cores, s a power of two; the best s is chosen. A slice has
    cores / slices cores (16). Up to that many cores share a column inside one slice, where adders
    are free. With more, the K range is in ``s x slices / cores`` slices: each of them receives
    only its share of x, and all but one send their 32-bit partial sums over the chip's network, at
    bytes / (slices x noc_bytes_per_clock).

    The bound is MAC if the vectors of a tile take longer than its loading, else STREAM; waiting for
    x or for partial sums is STREAM as well.
    """
    m, k, n, copies = np.broadcast_arrays(
        np.asarray(product.m, np.int64), product.k, product.n, product.copies
    )
    splits = _splits(chiplet, m.ndim)
    tiles_k = -(-k // chiplet.rows)
    tiles_n = -(-n // mode.columns) * copies
    k_rounds = -(-tiles_k // splits)
    rounds = -(-tiles_n * splits // chiplet.cores) * k_rounds

    busy_clocks = m * float(mode.clocks_per_vector)
    held = np.maximum(chiplet.load_clocks, busy_clocks)
    if product.held is not None:  # a tile's mean over copies of unequal m
        held = product.held * float(mode.clocks_per_vector)
    busy = rounds * held

    slices_per_column = -(-splits * chiplet.slices // chiplet.cores)
    k_of_slice = -(-tiles_k // slices_per_column) * chiplet.rows
    x_rows = x_rows_of(chiplet, product)
    into_slice = x_rows * k_of_slice * mode.activation_bytes
    vectors = m * copies if product.vectors is None else product.vectors
    columns = vectors * -(-n // mode.columns) * mode.columns
    sums = columns * (slices_per_column - 1.0) * PARTIAL_SUM_BYTES

    rate = chiplet.noc_bytes_per_clock
    noc_clocks = np.maximum(into_slice / rate, sums / (chiplet.slices * rate))
    sent = into_slice * chiplet.slices + sums
    best = np.argmin(np.maximum(busy, noc_clocks), axis=0)[None]
    busy, noc_clocks, sent = (
        np.take_along_axis(part, best, axis=0)[0] for part in (busy, noc_clocks, sent)
    )
    clocks = chiplet.load_clocks + np.maximum(busy, noc_clocks) + chiplet.fill_clocks
    full = busy_clocks >= chiplet.load_clocks
    works = m * tiles_n * tiles_k > 0
    return ProductWork(
        clocks=np.where(works, clocks, 0.0),
        bound=np.where(full & (busy >= noc_clocks), MAC, STREAM),
        tiles=np.where(works, tiles_n * tiles_k, 0),
        network_bytes=np.where(works, sent, 0.0),
    )


def x_rows_of(chiplet: Chiplet, product: Product) -> Integers:
    """Vectors of length k that a slice must receive.

    If every copy has its own vectors, a slice works for few copies.
    """
    m = np.asarray(product.m, np.int64)
    if product.own_x:
        return np.asarray(m * -(-np.asarray(product.copies) // chiplet.slices), np.int64)
    return m if product.x_rows is None else product.x_rows


def _splits(chiplet: Chiplet, dimensions: int) -> Integers:
    """Splits of K, on a new first axis: 1, 2, 4, ... cores."""
    powers = 2 ** np.arange(int(np.log2(chiplet.cores)) + 1, dtype=np.int64)
    return powers.reshape(-1, *([1] * dimensions))


def vector_clocks(chiplet: Chiplet, elements: Integers, clocks_per_element: float) -> Floats:
    """Clocks of element-wise work spread over all SIMD lanes, in whole waves of lanes."""
    waves = -(-np.asarray(elements, np.int64) // chiplet.lanes)
    return np.asarray(waves * float(clocks_per_element), np.float64)


def picoseconds(chiplet: Chiplet, clocks: Floats) -> Integers:
    """Whole picoseconds, half to even, at least 1 for any work."""
    return whole(clocks * (PS_PER_S / chiplet.clock_hz))


def lpddr_ps(chiplet: Chiplet, moved_bytes: Floats) -> Integers:
    """Time to load ``moved_bytes`` of one chiplet from its LPDDR."""
    return whole(moved_bytes * (PS_PER_S / chiplet.lpddr_bytes_per_s))
