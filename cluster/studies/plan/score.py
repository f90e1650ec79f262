"""Scores of all candidates, and counts of infeasible ones by reason."""

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from cluster.compiled import announced
from cluster.perf_model.devices import device_words
from cluster.perf_model.energy.coefficients import Joules
from cluster.perf_model.prices import PriceInputs
from cluster.perf_model.tables import PriceTables
from cluster.scenario.load import ScenarioError
from cluster.scenario.resolve import Resolved
from cluster.serving.run import map_of
from cluster.serving.state import levels_of
from cluster.studies.plan import batch_scores
from cluster.studies.plan.context import (
    Demand,
    StudyContext,
    cards_of,
    inputs_of,
    priced,
    settings_of,
    site_of,
    study_context_of,
)
from cluster.studies.plan.memory import stage_rows
from cluster.studies.plan.prices import of_replicas, price_arrays, score_inputs
from cluster.studies.plan.space import Choices, Shape, Space, shapes_of
from cluster.studies.plan.weight_placement import Placed, placed
from corsair_common.units import Floats, Integers

Pricing: TypeAlias = Callable[[StudyContext, PriceInputs], tuple[PriceTables, Joules] | None]
"""``priced`` or a substitute."""

TOO_FEW_SEQUENCES, UNPRICED = -1, -2
REASONS = {
    TOO_FEW_SEQUENCES: "fewer seats than stages",
    UNPRICED: "not modelled, or steps too long",
    batch_scores.SRAM: "{near} too small",
    batch_scores.LPDDR: "{far} too small",
    batch_scores.KV: "KV pool smaller than the longest request",
    batch_scores.RATE: "slower than requests come",
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scored:
    """All candidates that were scored, as columns."""

    shapes: tuple[Shape, ...]
    shape: Integers
    """[n] index into ``shapes``."""
    replicas: Integers
    site: Integers
    """[n, 2] number of servers and racks of the cards."""
    max_num_seqs: Integers
    max_num_batched_tokens: Integers
    columns: Floats
    """[n, 10] as named in ``fill``."""
    infeasible: dict[str, int]
    """Candidates without a score, by reason."""
    cards: int
    """Of the cluster."""
    output_tokens: float
    """Mean of a request."""
    decodes: float
    """Mean of a request's steps after its first token."""
    pricing_s: float
    scoring_s: float
    scoring_cpu_s: float


def score(
    resolved: Resolved,
    choices: Choices,
    demand: Demand,
    progress: Callable[[int, int], None] = lambda _done, _of: None,
) -> Scored:
    """Score every legal candidate on the scenario's cluster, for the lengths of its requests."""
    if resolved.scenario.memory.pin.kv != "sram":
        near = device_words(resolved.hardware).memory_label(0)
        raise ScenarioError(f"plan scores candidates whose KV lies in {near}; memory.pin.kv is set")
    _, routes = map_of(resolved.scenario, resolved.racks)
    routes = levels_of(resolved, routes)
    cards = len(routes.card_id if resolved.cards is None else resolved.cards)
    study = study_context_of(resolved, routes, choices, demand)
    space = shapes_of(resolved.scenario, resolved.hardware, resolved.model, cards, choices)
    parts: list[Part] = []
    pricing_s = scoring_s = cpu_s = 0.0
    with announced():
        for number, shape in enumerate(space.shapes):
            progress(number, len(space.shapes))
            began = time.perf_counter()
            grids = list(score_shape(study, shape, number))
            took = time.perf_counter() - began
            spent = math.fsum(part.seconds for part in grids)
            pricing_s, scoring_s = pricing_s + took - spent, scoring_s + spent
            cpu_s += math.fsum(part.cpu_seconds for part in grids)
            parts += grids
    progress(len(space.shapes), len(space.shapes))
    return joined(study, space, parts, (cards, pricing_s, scoring_s, cpu_s))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Part:
    """The candidates of one shape and one number of replicas."""

    shape: int
    replicas: int
    site: tuple[int, int]
    """Number of servers and racks of their cards."""
    max_num_seqs: Integers
    budgets: Integers
    status: Integers
    columns: Floats
    seconds: float
    """Wall time of scoring."""
    cpu_seconds: float


def score_shape(study: StudyContext, shape: Shape, number: int) -> Iterator[Part]:
    """All candidates of a shape, grouped by equal placement of weights."""
    cards = cards_of(study, shape.plan)
    inputs = inputs_of(study, shape, cards)
    for batches in placed(study, shape, inputs):
        here = replace(inputs, residency=batches.residency)
        yield from score_placed(study, (number, shape), batches, (here, cards))


def score_placed(
    study: StudyContext,
    numbered: tuple[int, Shape],
    batches: Placed,
    laid_out: tuple[PriceInputs, Integers],
    pricing: Pricing = priced,
) -> Iterator[Part]:
    """Check the memory of these batches, price the shape if any fits, and score those that fit."""
    (number, shape), (inputs, all_cards) = numbered, laid_out
    max_num_seqs, budgets = batches.max_num_seqs, batches.budgets
    settings = settings_of(study, shape)
    memory = stage_rows(inputs.model, shape.plan, inputs.hardware, settings, batches.residency)
    began, worked = time.perf_counter(), time.process_time()
    status, columns = (
        np.zeros(len(max_num_seqs), np.int64),
        np.zeros((len(max_num_seqs), batch_scores.COLUMNS)),
    )
    batch_scores.check(
        memory, study.mean_blocks, study.most_blocks(budgets), max_num_seqs, status, columns
    )
    status[max_num_seqs < shape.plan.pipeline_parallel_size] = TOO_FEW_SEQUENCES
    fits = np.flatnonzero(status == batch_scores.FITS)
    max_num_seqs, budgets, columns = max_num_seqs[fits], budgets[fits], columns[fits]
    seconds, cpu_s = time.perf_counter() - began, time.process_time() - worked
    prices = pricing(study, inputs) if len(fits) else None
    began, worked = time.perf_counter(), time.process_time()
    choices, places = np.unique(budgets, return_inverse=True)
    if prices is not None:
        of_shape = price_arrays(*prices, study.traffic, shape.plan.tensor_parallel_size)
        tables = score_inputs(of_shape, study.traffic.bursts, choices, int(max_num_seqs.max()))
    for replicas in batches.replicas:
        here, found = status.copy(), columns.copy()
        if prices is None:
            here[fits] = UNPRICED
            max_num_seqs, budgets, found = max_num_seqs[:0], budgets[:0], found[:0]
        else:
            scored, arrays = here[fits], of_replicas(tables, replicas)
            batch_scores.fill(arrays, study.demand, max_num_seqs, places, scored, found)
            here[fits] = scored
        seconds += time.perf_counter() - began
        cpu_s += time.process_time() - worked
        yield Part(
            shape=number,
            replicas=replicas,
            site=site_of(study, all_cards[:replicas]),
            max_num_seqs=max_num_seqs,
            budgets=budgets,
            status=here,
            columns=found,
            seconds=seconds,
            cpu_seconds=cpu_s,
        )
        seconds = cpu_s = 0.0
        began, worked = time.perf_counter(), time.process_time()


def joined(
    study: StudyContext, space: Space, parts: list[Part], sums: tuple[int, float, float, float]
) -> Scored:
    """Merge the parts; count infeasible candidates by reason."""
    counts: Counter[str] = Counter(space.illegal)
    memories = device_words(study.resolved.hardware).memories
    near, far = memories[0].upper(), memories[-1].upper()
    scored_parts: list[Part] = []
    for part in parts:
        for status, times in zip(*np.unique(part.status, return_counts=True), strict=True):
            if status != batch_scores.FITS:
                counts[REASONS[int(status)].format(near=near, far=far)] += int(times)
        tried = part.status[np.isin(part.status, (batch_scores.FITS, batch_scores.RATE))]
        if len(tried) == len(part.max_num_seqs):
            scored_parts.append(replace_rows(part, tried == batch_scores.FITS))
    sizes = [len(part.max_num_seqs) for part in scored_parts]

    def stacked(columns: list[Integers]) -> Integers:
        return np.concatenate([np.zeros(0, np.int64), *columns])

    cards, pricing_s, scoring_s, cpu_s = sums
    return Scored(
        shapes=tuple(space.shapes),
        shape=np.repeat(np.array([part.shape for part in scored_parts], np.int64), sizes),
        replicas=np.repeat(np.array([part.replicas for part in scored_parts], np.int64), sizes),
        site=np.repeat(
            np.array([part.site for part in scored_parts], np.int64).reshape(-1, 2), sizes, 0
        ),
        max_num_seqs=stacked([part.max_num_seqs for part in scored_parts]),
        max_num_batched_tokens=stacked([part.budgets for part in scored_parts]),
        columns=np.concatenate(
            [np.zeros((0, batch_scores.COLUMNS)), *(part.columns for part in scored_parts)]
        ),
        infeasible=dict(counts),
        cards=cards,
        output_tokens=study.traffic.output_tokens,
        decodes=study.traffic.decodes,
        pricing_s=pricing_s,
        scoring_s=scoring_s,
        scoring_cpu_s=cpu_s,
    )


def replace_rows(part: Part, chosen: npt.NDArray[np.bool_]) -> Part:
    """The same part with the chosen candidates only."""
    return replace(
        part,
        max_num_seqs=part.max_num_seqs[chosen],
        budgets=part.budgets[chosen],
        columns=part.columns[chosen],
    )
