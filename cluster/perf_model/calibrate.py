"""Calibration: card.dispatch_s fitted on one published point, tested on the other.

d-Matrix publishes Llama-3-8B at 60,000 tok/s and 1 ms a token on 8 cards, and Llama-3-70B at
30,000 tok/s and 2 ms on 64: 60 sequences each. Everything else is fixed before the fit: tensor
groups are the four cards under one PCIe switch, weights, activations and cache are MXINT8, messages
are FP16, all-reduces are hierarchical with their chunks pipelined, decode is steady at a
context of 1,024 tokens.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType

import numpy as np

from cluster.perf_model.prices import (
    PriceInputs,
    SteadyDecode,
    price_tables,
    steady_decode,
)
from cluster.perf_model.tables import PriceTables
from cluster.scenario.formats import Formats
from topology.build import build_pod
from topology.catalog import Hardware, load_hardware
from topology.route import Routes, compile_routes
from workloads.formats import get_format
from workloads.model import load_model
from workloads.plan import Plan

BATCH = 60
CONTEXT_TOKENS = 1024

Overrides = Mapping[str, float]
AS_CATALOGUED: Overrides = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A published point of steady decode, and its assumed plan."""

    model: str
    servers: int
    plan: Plan
    tpot_s: float


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


AS_DESIGNED = Choices()


def point_tables(
    point: Point,
    dispatch_s: float | None = None,
    choices: Choices = AS_DESIGNED,
    overrides: Overrides = AS_CATALOGUED,
) -> PriceTables:
    """Price tables of the point on Corsair; ``dispatch_s`` None is the catalogue's."""
    hardware, routes = _laid_out(point.servers, tuple(sorted(overrides.items())))
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
                weights=eight_bits,
                activations=eight_bits,
                kv=eight_bits,
                wire=get_format(choices.wire),
            ),
            cards=np.arange(plan.cards).reshape(shape),
            max_tokens=BATCH,
            max_rows=BATCH,
            max_context=2 * CONTEXT_TOKENS,
            all_reduce=choices.all_reduce,
            chunks=choices.chunks or "auto",
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


@cache
def _laid_out(servers: int, overrides: tuple[tuple[str, float], ...]) -> tuple[Hardware, Routes]:
    hardware = load_hardware("corsair", dict(overrides))
    return hardware, compile_routes(build_pod(hardware, servers_per_rack=servers))
