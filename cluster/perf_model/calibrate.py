"""Calibration: card.dispatch_s and card.static_w fitted on published points.

card.dispatch_s is fitted on one point of decode, and tested on the other.

d-Matrix publishes Llama-3-8B at 60,000 tok/s and 1 ms a token on 8 cards, and Llama-3-70B at
30,000 tok/s and 2 ms on 64: 60 sequences each. Everything else is fixed before the fit: tensor
groups are the four cards under one PCIe switch, weights, activations and cache are MXINT8, messages
are FP16, all-reduces take the fastest order of levels with their chunks pipelined, norms are split
by token where that is cheaper, decode is steady at a context of 1,024 tokens. The last two were
chosen knowing what they do to both points (docs/validation.md).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType

import numpy as np

from cluster.perf_model.devices.dimc import PARTS, count_joules
from cluster.perf_model.devices.dimc.chiplet import chiplet_of, mode_of, product_work
from cluster.perf_model.devices.dimc.dvfs import lpddr_w
from cluster.perf_model.devices.dimc.op_counts import product_counts
from cluster.perf_model.devices.work import Product
from cluster.perf_model.prices import (
    PriceInputs,
    SteadyDecode,
    price_tables,
    steady_decode,
)
from cluster.perf_model.tables import PriceTables
from cluster.scenario.formats import Formats
from corsair_common.units import PS_PER_S
from topology.build import build_pod
from topology.catalog import Hardware, load_hardware
from topology.power import full_load_w
from topology.route import Routes, compile_routes
from workloads.formats import get_format
from workloads.model import load_model
from workloads.plan import Plan

BATCH = 60
CONTEXT_TOKENS = 1024

START_PS, SPAN_PS = 1_000_000, 1000
"""Where the search for a dispatch starts, and over what its slope is taken."""

Overrides = Mapping[str, float]
AS_CATALOGUED: Overrides = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A published point of steady decode, and its assumed plan."""

    model: str
    servers: int
    plan: Plan
    tpot_s: float = math.nan
    """NaN: not measured."""
    weights: str = "mxint8"
    max_tokens: int = BATCH
    """Most tokens of a step that are priced, and most sequences."""
    max_rows: int = BATCH


EIGHT_B = Point(
    model="llama-3.1-8b",
    servers=1,
    plan=Plan(tensor_parallel_size=4, pipeline_parallel_size=2),
    tpot_s=1e-3,
)
SEVENTY_B = Point(
    model="llama-3.1-70b",
    servers=8,
    plan=Plan(tensor_parallel_size=4, pipeline_parallel_size=16),
    tpot_s=2e-3,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """Parameters of the matrix of docs/calibration-matrix.md, in addition to the plans."""

    all_reduce: str = "auto"
    chunks: int | None = None
    """None: the fastest count of each all-reduce; 1 is unpipelined."""
    wire: str = "fp16"
    norms: str = "auto"
    overlap: str = "none"


AS_DESIGNED = Choices()


def point_tables(
    point: Point,
    dispatch_s: float | None = None,
    choices: Choices = AS_DESIGNED,
    overrides: Overrides = AS_CATALOGUED,
) -> PriceTables:
    """Price tables of the point on Corsair; ``dispatch_s`` None is the catalogue's."""
    hardware, routes = laid_out(point.servers, tuple(sorted(overrides.items())))
    figures = {name: hardware[name] for name in hardware.figures}
    if dispatch_s is not None:
        figures["card.dispatch_s"] = dispatch_s
    eight_bits = get_format("mxint8")
    plan = point.plan
    shape = (plan.replicas, plan.pipeline_parallel_size, plan.tensor_parallel_size)
    return price_tables(
        PriceInputs(
            hardware=figures,
            routes=routes,
            model=load_model(point.model),
            plan=plan,
            formats=Formats(
                weights=get_format(point.weights),
                activations=eight_bits,
                kv=eight_bits,
                wire=get_format(choices.wire),
            ),
            cards=np.arange(plan.cards).reshape(shape),
            max_tokens=point.max_tokens,
            max_rows=point.max_rows,
            max_context=2 * CONTEXT_TOKENS,
            all_reduce=choices.all_reduce,
            chunks=choices.chunks or "auto",
            norms=choices.norms,
            overlap=choices.overlap,
        )
    )


def predict(
    point: Point,
    dispatch_s: float | None = None,
    choices: Choices = AS_DESIGNED,
    overrides: Overrides = AS_CATALOGUED,
) -> SteadyDecode:
    """Steady decode of the point's 60 sequences."""
    tables = point_tables(point, dispatch_s, choices, overrides)
    return steady_decode(tables, batch=BATCH, context=CONTEXT_TOKENS)


def fit_dispatch_s(
    point: Point = EIGHT_B,
    choices: Choices = AS_DESIGNED,
    overrides: Overrides = AS_CATALOGUED,
) -> float | None:
    """Return the dispatch that brings the point to its published TPOT, in whole picoseconds.

    None where all else already takes longer. The cycle is a maximum of straight lines in the
    dispatch, so Newton's steps from above end on the root, and one from below leads above it.
    """

    def excess_ps(dispatch_ps: int) -> int:
        steady = predict(point, dispatch_ps * 1e-12, choices, overrides)
        return steady.cycle_ps - round(point.tpot_s * PS_PER_S)

    dispatch_ps, here_ps, slope = START_PS, excess_ps(START_PS), 0.0
    while abs(here_ps) > slope / 2:
        slope = (here_ps - excess_ps(dispatch_ps - SPAN_PS)) / SPAN_PS
        step = round(here_ps / slope)
        if step == 0:
            break
        dispatch_ps -= step
        if dispatch_ps < SPAN_PS:
            return None
        here_ps = excess_ps(dispatch_ps)
    return dispatch_ps * 1e-12


def full_load_parts_w(hardware: Hardware) -> dict[str, float]:
    """Watts by part of a card whose cores stream and multiply without pause: eight INT8 vectors.

    Without its static watts, and with LPDDR at full rate.
    """
    chiplets = hardware.count("card.packages") * hardware.count("package.chiplets")
    chiplet = chiplet_of(hardware)
    mode = mode_of(hardware, weight_width=8, activation_width=8, activation_bytes=65 / 64)
    product = Product(m=np.array([8]), k=64 * 4096, n=64 * 256)
    done = product_work(chiplet, mode, product)
    counts = product_counts(hardware, chiplet, chiplets, mode, product, done, np.zeros(1))
    watts = counts[0] @ count_joules(hardware) * chiplet.clock_hz / float(done.clocks[0])
    return dict(zip(PARTS, watts.tolist(), strict=True)) | {"lpddr": lpddr_w(hardware)}


def fit_static_w(overrides: Overrides = AS_CATALOGUED) -> float | None:
    """Return the static watts with which a card at full load draws what the power law says.

    At the clock at which the energies of the catalogue hold; None where the energies alone draw
    more.
    """
    clock_hz = load_hardware("corsair", overrides)["energy.clock_hz"]
    hardware = load_hardware("corsair", {**overrides, "card.clock_hz": clock_hz})
    left_w = full_load_w(hardware, clock_hz) - math.fsum(full_load_parts_w(hardware).values())
    return left_w if left_w > 0 else None


@lru_cache(maxsize=32)  # draws of thousands of machines would otherwise keep all their routes
def laid_out(servers: int, overrides: tuple[tuple[str, float], ...]) -> tuple[Hardware, Routes]:
    """Corsair with these figures (sorted by name), and the routes of so many servers."""
    hardware = load_hardware("corsair", dict(overrides))
    return hardware, compile_routes(build_pod(hardware, servers_per_rack=servers))
