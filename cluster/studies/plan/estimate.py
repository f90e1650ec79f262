"""Estimate of a scenario from prices alone: the score of its own choices.

The only estimator of traffic: ``plan`` scores candidates with it, ``check`` prints it. The closed
form ``perf_model.prices.steady_decode`` has another purpose: the cycle of equal sequences without
arrivals and ends, equal to the engine's to the picosecond.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from cluster.perf_model.energy.coefficients import Joules
from cluster.perf_model.prices import PriceInputs
from cluster.perf_model.tables import PriceTables
from cluster.scenario.resolve import Resolved
from cluster.serving.admission_limits import refused
from cluster.serving.arrivals import arrivals_of
from cluster.serving.run import Layout, priced, without_drafts
from cluster.studies.plan import batch_scores
from cluster.studies.plan.chance import FULLEST
from cluster.studies.plan.context import Demand, StudyContext, inputs_of, study_context_of
from cluster.studies.plan.demand import demand_of, rate_of
from cluster.studies.plan.ranking import columns_of, plain
from cluster.studies.plan.score import REASONS, Part, joined, score_placed
from cluster.studies.plan.space import Choices, Shape, Space
from cluster.studies.plan.traffic import NO_TABLES, Near
from cluster.studies.plan.weight_placement import Placed
from corsair_common.names import Status
from corsair_common.units import PS_PER_S

FIGURES = (
    "request_rate_per_s",
    "ttft_ms",
    "tpot_ms",
    "output_throughput",
    "capacity_output_throughput",
    "output_tokens_per_s_per_user",
    "joules_per_output_token",
    "mean_requests",
)
"""Columns of a candidate that an estimate has as well."""

VARIED = 0.5
"""Coefficient of variation of output tokens above which means are known to be too low."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Means of all requests that are not refused; ``figures`` are those of a plan's candidate."""

    figures: Mapping[str, float | None]
    """FIGURES at the scenario's load; at full concurrency if the load exceeds the capacity, or all
    requests arrive at once. Empty if nothing is known."""
    offered_per_s: float | None
    """Arrivals a second; None in a closed loop, or if all arrive at once."""
    capacity_per_s: float | None
    """Requests a second at full concurrency."""
    refused: int
    """Requests that are refused."""
    unknown: str = ""
    """Reason for empty figures."""
    notes: tuple[str, ...] = ()
    """Known errors of the estimate."""

    @property
    def load(self) -> float | None:
        """Offered load over capacity; None without an arrival rate."""
        if self.offered_per_s is None or self.capacity_per_s is None:
            return None
        return self.offered_per_s / self.capacity_per_s

    @property
    def overloaded(self) -> bool:
        return self.load is not None and self.load > FULLEST


def estimate(resolved: Resolved, layout: Layout) -> Estimate:
    """Score a scenario, or one pool of it, as ``plan`` scores a candidate of the same choices.

    Of speculative decoding it knows nothing: the estimate is of a run without drafts.

    Raises
    ------
    PriceError, TooSlowError
        A step that is not modelled or would last for hours; both carry ``exit_code`` 3.
    """
    resolved, layout = without_drafts(resolved, layout)
    rows = refused(arrivals_of(resolved), layout.limits) == Status.COMPLETED
    lost, reason = int(np.count_nonzero(~rows)), ""
    if not rows.any():
        reason = "every request would be refused"
    elif layout.fit.residency.kv != "sram":
        reason = "KV in LPDDR (memory.pin.kv) is simulated, but not scored"
    if reason:
        priced(layout)
        return _nothing(lost, reason)
    served = _with(resolved, rows)
    scorer, rate = _Scorer(served, layout), rate_of(served)
    slots = served.scenario.scheduler.max_num_seqs * served.plan.replicas
    full = batch_scores.USERS, float(min(slots, len(served.requests)))
    at_once = rate is None and not served.concurrency
    part = scorer.scored(full if at_once else demand_of(served, "offered"))
    status = int(part.status[0])
    if status not in (batch_scores.FITS, batch_scores.RATE):
        return _nothing(lost, REASONS[status])
    capacity = float(part.columns[0, batch_scores.CAPACITY_PER_PS]) * PS_PER_S
    if status == batch_scores.RATE:
        part = scorer.scored(full)
    return Estimate(
        figures=scorer.figures(part),
        offered_per_s=rate,
        capacity_per_s=capacity,
        refused=lost,
        notes=tuple(_notes(served)),
    )


def _nothing(lost: int, reason: str) -> Estimate:
    return Estimate(
        figures={}, offered_per_s=None, capacity_per_s=None, refused=lost, unknown=reason
    )


def _with(resolved: Resolved, rows: npt.NDArray[np.bool_]) -> Resolved:
    """The same with these requests only, and without prompt hashes and sessions if some are left
    out: scores do not read them."""
    own = resolved.requests
    if rows.all():
        return resolved
    requests = replace(
        own,
        arrival_ps=own.arrival_ps[rows],
        prompt_tokens=own.prompt_tokens[rows],
        output_tokens=own.output_tokens[rows],
        hash_offsets=None,
        hash_ids=None,
        hash_block_tokens=0,
        session=None,
        previous=None,
        delay_ps=None,
        common_tokens=0,
    )
    return resolved.carrying(requests)


def _notes(served: Resolved) -> Iterator[str]:
    """Known errors, as measured in docs/plans.md."""
    outputs, several = served.requests.output_tokens, served.plan.pipeline_parallel_size > 1
    if several and outputs.min() == outputs.max() > 1:
        yield (
            "answers of one length end together, and their successors' prompts are read together: "
            "more can be served than the score says (1.1 to 2.6 times, measured)"
        )
    if outputs.std() > VARIED * outputs.mean():
        yield "answers of very different lengths: means of TTFT and TPOT come out short"
    if served.prefix_caching:
        yield "hits of the prefix cache are not counted"


class _Scorer:
    """Scores one batch of one shape for several demands; it is priced once."""

    def __init__(self, resolved: Resolved, layout: Layout) -> None:
        scheduler, plan = resolved.scenario.scheduler, resolved.plan
        choices = Choices(
            replicas=(plan.replicas,),
            max_num_seqs=(scheduler.max_num_seqs,),
            max_num_batched_tokens=(scheduler.max_num_batched_tokens,),
        )
        mode = layout.fit.residency.mode
        self._layout = layout
        self._shape = Shape(plan=plan, memory_mode=mode, formats=resolved.formats)
        self._resolved, self._choices = resolved, choices
        self._study = self._study_near(NO_TABLES)
        self._prices: tuple[PriceTables, Joules] | None = None

    def scored(self, demand: Demand) -> Part:
        """Status and columns of the batch, in one row.

        Tables of bursts take longer than all else, so they are made only where the batch reads
        them: at its load and its slots, which a score without bursts has found.
        """
        part = self._scored(demand)
        kind, much = demand
        if kind != batch_scores.OFFERED or part.status[0] != batch_scores.FITS:
            return part
        row, plan = part.columns[0], self._shape.plan
        most = part.budgets[0] * plan.pipeline_parallel_size
        slots = min(float(part.max_num_seqs[0]), float(row[batch_scores.SEQUENCES]), float(most))
        load = much / float(row[batch_scores.CAPACITY_PER_PS])
        self._study = self._study_near((load, slots * plan.replicas))
        return self._scored(demand)

    def _study_near(self, near: Near) -> StudyContext:
        anything = batch_scores.OFFERED, 1.0
        return study_context_of(self._resolved, self._layout.routes, self._choices, anything, near)

    def _scored(self, demand: Demand) -> Part:
        kind, much = demand
        study = replace(self._study, demand=np.array([much, kind], np.float64))
        shape, residency = self._shape, self._layout.fit.residency
        cards = self._layout.cards
        inputs = replace(inputs_of(study, shape, cards), residency=residency)
        batch = Placed(
            residency=residency,
            max_num_seqs=study.choices.batch_sizes,
            budgets=study.choices.budgets,
            replicas=[shape.plan.replicas],
        )
        (part,) = score_placed(study, (0, shape), batch, (inputs, cards), self._priced)
        return part

    def figures(self, part: Part) -> dict[str, Any]:
        """Its row of the table ``candidates``."""
        space = Space(shapes=[self._shape])
        scored = joined(self._study, space, [part], (0, 0.0, 0.0, 0.0))
        columns = columns_of(scored, self._study.resolved, {})
        return {name: plain(columns[name][0]) for name in FIGURES}

    def _priced(self, _: StudyContext, inputs: PriceInputs) -> tuple[PriceTables, Joules]:
        if self._prices is None:
            machine = priced(replace(self._layout, inputs=inputs))
            self._prices = machine.prices, machine.joules
        return self._prices
