"""What can be measured on a machine, and what the exact model says of it.

A case is one measurement with everything said but what belongs to the machine. Its times come from
the price tables and the closed forms of ``cluster.perf_model.prices``; nothing is priced here.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Literal, TypeAlias, get_args

import numpy as np

from cluster.perf_model.calibrate import AS_DESIGNED, Choices, Point, laid_out, point_tables
from cluster.perf_model.collectives import all_reduce, shared_costs
from cluster.perf_model.prices import prompt_stages_ps, sends_ps, steady_decode
from cluster.perf_model.tables import PriceTables
from corsair_common.units import PS_PER_S, Floats
from workloads.formats import get_format
from workloads.plan import Plan

Timed: TypeAlias = Literal["tpot", "output_throughput", "ttft", "prefill_throughput", "all_reduce"]
TIMED: tuple[Timed, ...] = get_args(Timed)
"""Metrics that are a time, or work over a time. ``ttft`` is of one prompt alone, read in one step;
``prefill_throughput`` of such prompts one after another through all stages. Any other metric is the
name of a figure of the hardware."""
RATES: tuple[Timed, ...] = ("output_throughput", "prefill_throughput")

SHARED: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "wire": ("fp16", "mxint8"),
        "norms": ("auto", "replicated"),
        "overlap": ("none", "chunked"),
    }
)
"""Settings that belong to the machine's software, the same for all rows that do not say them: two
values each (fields of ``Choices``, and of ``cluster.studies.machine_set.SETTINGS``)."""
AS_IS: Mapping[str, str] = MappingProxyType({name: values[0] for name, values in SHARED.items()})

CARDS_PER_SERVER = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One measurement."""

    metric: str
    """One of TIMED, or the name of a figure."""
    model: str = ""
    plan: Plan = field(default_factory=Plan)
    batch: int = 1
    """Sequences that decode on a replica."""
    context: int = 1
    """Tokens of each; of a prompt for ``ttft`` and ``prefill_throughput``."""
    weights: str = "mxint8"
    payload_bytes: int = 0
    """Of an all-reduce over the cards of a tensor group."""
    said: tuple[tuple[str, str], ...] = ()
    """Settings of SHARED that this measurement had, whatever others had."""

    def __post_init__(self) -> None:
        assert self.metric in TIMED or "." in self.metric, self.metric

    @property
    def of_a_figure(self) -> bool:
        return self.metric not in TIMED

    @property
    def tokens(self) -> int:
        """Most tokens of a step."""
        prompt = self.metric in ("ttft", "prefill_throughput")
        return self.context if prompt else self.batch

    @property
    def amount(self) -> float:
        """What a rate is the quotient of: tokens of all replicas; 1 for a time."""
        if self.metric == "output_throughput":
            return float(self.batch * self.plan.replicas)
        if self.metric == "prefill_throughput":
            return float(self.context * self.plan.replicas)
        return 1.0

    def value(self, seconds: Floats | float) -> Floats | float:
        """The measured quantity in SI from the time (or, of a figure, the figure) itself."""
        return self.amount / seconds if self.metric in RATES else seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Figures of Corsair that differ from the catalogue's, in SI, and its settings of SHARED."""

    figures: Mapping[str, float]
    settings: Mapping[str, str] = field(default_factory=lambda: AS_IS)


Parts: TypeAlias = Mapping[Case, tuple[int, ...]]
"""Picoseconds of which the longest is the time of the case: they are smooth where it has bends."""


def parts_of(cases: Iterable[Case], machine: Machine) -> Parts:
    """Price the cases on a machine; those that need the same tables share them.

    Raises
    ------
    PlanError, PriceError, TopologyError
        A plan that does not divide the model, layers that are not modelled, impossible figures.
    """
    groups: dict[tuple[Point, Choices], list[Case]] = {}
    found: dict[Case, tuple[int, ...]] = {}
    for case in cases:
        if case.metric == "all_reduce":
            found[case] = (_all_reduce_ps(case, machine),)
        elif not case.of_a_figure:
            groups.setdefault((_point(case), _choices(case, machine)), []).append(case)
    for (point, choices), those in groups.items():
        longest = max(case.tokens for case in those)
        rows = max((case.batch for case in those), default=1)
        wanted = replace(point, max_tokens=max(longest, rows), max_rows=rows)
        prices = point_tables(wanted, None, choices, machine.figures)
        found |= {case: _parts(case, prices) for case in those}
    return found


def times_of(cases: Iterable[Case], machine: Machine) -> dict[Case, float]:
    """The exact value of each case in SI, as ``Case.value`` has it; of a figure the figure."""
    cases = list(cases)
    parts = parts_of(cases, machine)
    figures = laid_out(1, _sorted(machine.figures))[0] if len(parts) < len(cases) else None
    found: dict[Case, float] = {}
    for case in cases:
        if case in parts:
            found[case] = float(case.value(max(parts[case]) / PS_PER_S))
        else:
            assert figures is not None
            found[case] = figures[case.metric]
    return found


def _parts(case: Case, prices: PriceTables) -> tuple[int, ...]:
    if case.metric in ("tpot", "output_throughput"):
        steady = steady_decode(prices, batch=case.batch, context=case.context)
        return steady.loop_ps, *steady.stage_ps.tolist()
    stages = prompt_stages_ps(prices, tokens=case.context)
    if case.metric == "ttft":
        return (int(stages.sum()) + sends_ps(prices, case.context),)
    return tuple(stages.tolist())


def _point(case: Case) -> Point:
    servers = -(-case.plan.cards // CARDS_PER_SERVER)
    return Point(model=case.model, servers=servers, plan=case.plan, weights=case.weights)


def _choices(case: Case, machine: Machine) -> Choices:
    said = {**machine.settings, **dict(case.said)}
    return replace(AS_DESIGNED, **{name: said[name] for name in SHARED})  # type: ignore[arg-type]


def _all_reduce_ps(case: Case, machine: Machine) -> int:
    """An all-reduce over the first cards of a server, as a tensor group of the plan has it."""
    servers = -(-case.plan.tensor_parallel_size // CARDS_PER_SERVER)
    hardware, routes = laid_out(servers, _sorted(machine.figures))
    figures = {name: hardware[name] for name in hardware.figures}
    wire = get_format(_choices(case, machine).wire)
    cards = np.arange(case.plan.tensor_parallel_size)
    group = shared_costs(figures, routes).group(cards, float(wire.bits_per_element))
    return int(all_reduce(group, np.array([case.payload_bytes])).ps[0])


def _sorted(figures: Mapping[str, float]) -> tuple[tuple[str, float], ...]:
    return tuple(sorted(figures.items()))
