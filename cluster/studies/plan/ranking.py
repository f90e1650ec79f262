"""Filters candidates by SLO, ranks them, and finds the Pareto front."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from cluster.scenario.load import ScenarioError
from cluster.scenario.resolve import Resolved
from cluster.studies.formats import sqnr_of
from cluster.studies.plan import batch_scores
from cluster.studies.plan.cost import cost_columns, power_of
from cluster.studies.plan.score import Scored
from cluster.studies.plan.space import FEW_BITS, Shape
from corsair_common.names import SLOS
from corsair_common.units import PS_PER_S, Floats, Integers

Truths: TypeAlias = npt.NDArray[np.bool_]

OBJECTIVES: Mapping[str, tuple[str, int]] = {
    "tokens_per_s": ("output_throughput", -1),
    "tokens_per_s_per_card": ("output_tokens_per_s_per_card", -1),
    "tokens_per_s_per_user": ("output_tokens_per_s_per_user", -1),
    "ttft": ("ttft_ms", 1),
    "tpot": ("tpot_ms", 1),
    "joules": ("joules_per_output_token", 1),
    "cost": ("cost_per_million_output_tokens_usd", 1),
}
"""Objectives: the column, and 1 if less is better."""


def columns_of(
    scored: Scored, resolved: Resolved, slo: Mapping[str, float | None]
) -> dict[str, Any]:
    """The columns of the table ``candidates``, a row for each scored candidate."""
    shapes, column = scored.shapes, scored.columns

    def of_shape(value: Callable[[Shape], int]) -> Integers:
        values = np.array([value(shape) for shape in shapes], np.int64)
        return values[scored.shape]

    def word(value: Callable[[Shape], str]) -> npt.NDArray[Any]:
        return np.array([value(shape) for shape in shapes] or [""])[scored.shape]

    cards = scored.replicas * of_shape(lambda shape: shape.plan.cards_per_replica)
    rate = column[:, batch_scores.RATE_PER_PS] * PS_PER_S
    throughput = rate * scored.output_tokens
    tpot_s = column[:, batch_scores.TPOT_PS] / PS_PER_S
    joules = column[:, batch_scores.JOULES] / scored.output_tokens
    if scored.decodes == 0:
        tpot_s = np.full(len(tpot_s), np.nan)
    return {
        "tensor_parallel_size": of_shape(lambda shape: shape.plan.tensor_parallel_size),
        "pipeline_parallel_size": of_shape(lambda shape: shape.plan.pipeline_parallel_size),
        "expert_parallel_size": of_shape(lambda shape: shape.plan.expert_parallel_size),
        "replicas": scored.replicas,
        "memory_mode": word(lambda shape: shape.memory_mode),
        "weights": word(lambda shape: shape.formats.weights.name),
        "activations": word(lambda shape: shape.formats.activations.name),
        "kv": word(lambda shape: shape.formats.kv.name),
        **_accuracy(scored),
        "max_num_seqs": scored.max_num_seqs,
        "max_num_batched_tokens": scored.max_num_batched_tokens,
        "cards": cards,
        "request_rate_per_s": rate,
        "ttft_ms": column[:, batch_scores.TTFT_PS] / PS_PER_S * 1e3,
        "tpot_ms": tpot_s * 1e3,
        "output_throughput": throughput,
        "capacity_output_throughput": column[:, batch_scores.CAPACITY_PER_PS]
        * PS_PER_S
        * scored.output_tokens,
        "output_tokens_per_s_per_card": throughput / cards,
        "output_tokens_per_s_per_user": 1.0 / tpot_s,
        "joules_per_output_token": joules,
        **_costs(scored, resolved, cards, (joules, throughput)),
        "mean_requests": column[:, batch_scores.INSIDE],
        "kv_blocks": column[:, batch_scores.BLOCKS].astype(np.int64),
        "headroom_bytes": column[:, batch_scores.HEADROOM].astype(np.int64),
        **_judged(scored, tpot_s, throughput / cards, slo),
    }


def _accuracy(scored: Scored) -> dict[str, Floats]:
    """SQNR of the coarsest format of each candidate that stores something in few bits."""
    found = np.full((len(scored.shapes) or 1, 2), np.nan)
    for number, shape in enumerate(scored.shapes):
        stored = (shape.formats.weights, shape.formats.activations, shape.formats.kv)
        few = [sqnr_of(each) for each in stored if each.element_bits <= FEW_BITS]
        found[number] = min(few, default=(np.nan, np.nan))
    normal, heavy = found[scored.shape].T
    return {"sqnr_db": normal, "sqnr_heavy_tailed_db": heavy}


def plain(value: Any) -> Any:
    """A NumPy value as a Python value; NaN as None."""
    own = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(own, float) and not np.isfinite(own) else own


def _costs(
    scored: Scored, resolved: Resolved, cards: Integers, made: tuple[Floats, Floats]
) -> dict[str, Floats]:
    """Power and cost columns; idle cards in a candidate's servers count."""
    hardware, per_server = resolved.hardware, resolved.scenario.cluster.cards_per_server
    joules, throughput = made
    idle = scored.site[:, 0] * per_server - cards
    power_w = power_of(hardware, scored.site, idle, joules * throughput)
    costs = cost_columns(hardware, scored.site, per_server, power_w, throughput)
    return {"power_w": power_w, **costs}


def _judged(
    scored: Scored, tpot_s: Floats, per_card: Floats, slo: Mapping[str, float | None]
) -> dict[str, Truths]:
    ttft_s = scored.columns[:, batch_scores.TTFT_PS] / PS_PER_S
    means = means_of(ttft_s, tpot_s, scored.decodes)
    within = np.ones(len(ttft_s), np.bool_)
    for name, limit in slo.items():
        if limit is not None:
            within &= means[name] <= limit
    user = np.nan_to_num(1.0 / tpot_s, nan=0.0)
    return {"meets_slo": within, "pareto": front(user, per_card, within)}


def means_of(ttft_s: Floats, tpot_s: Floats, decodes: float) -> dict[str, Floats]:
    """[n] scored means in seconds of what an SLO bounds; no TPOT counts as 0."""
    steps_s = np.nan_to_num(tpot_s)
    return {"ttft_s": ttft_s, "tpot_s": steps_s, "e2e_s": ttft_s + steps_s * decodes}


def front(first: Floats, second: Floats, among: Truths) -> Truths:
    """The Pareto front of ``among``, for two columns of which more is better.

    Of equal rows only the first counts.
    """
    chosen = np.zeros(len(first), np.bool_)
    rows = np.flatnonzero(among)
    order = rows[np.lexsort((rows, -second[rows], -first[rows]))]
    best = np.maximum.accumulate(np.concatenate([[-np.inf], second[order]]))[:-1]
    chosen[order[second[order] > best]] = True
    return chosen


def ranked(
    columns: Mapping[str, Any], objective: str, groups: Sequence[npt.NDArray[Any]] = ()
) -> Integers:
    """Rows that satisfy the SLO, best first; of each group (equal in all of ``groups``) its best.

    Raises
    ------
    ScenarioError
        No such objective.
    """
    column_of(objective)
    rows = np.flatnonzero(columns["meets_slo"])
    order = rows[in_order(columns, objective, rows)]
    if not groups or not len(order):
        return order
    key = np.zeros(len(order), np.int64)
    for each in groups:
        key = key * (int(each.max()) + 1) + each[order]
    _, first = np.unique(key, return_index=True)
    return order[np.sort(first)]


def column_of(objective: str) -> tuple[str, int]:
    """Column of an objective, and 1 if less is better.

    Raises
    ------
    ScenarioError
        No such objective.
    """
    if objective not in OBJECTIVES:
        raise ScenarioError(f"unknown objective {objective!r}, one of {', '.join(OBJECTIVES)}")
    return OBJECTIVES[objective]


def in_order(columns: Mapping[str, Any], objective: str, rows: Integers) -> Integers:
    """Places in ``rows``, the best first; ties go to fewer cards, then to lower max_num_seqs, then
    to the smaller budget."""
    name, sign = column_of(objective)
    value = sign * np.nan_to_num(columns[name][rows], nan=np.inf if sign > 0 else 0.0)
    ties = ("max_num_batched_tokens", "max_num_seqs", "cards")
    order: Integers = np.lexsort((*(columns[tie][rows] for tie in ties), value))
    return order


def slo_of(words: str) -> dict[str, float]:
    """Read ``tpot_s=0.01,ttft_s=0.2``.

    Raises
    ------
    ScenarioError
        An unknown objective, or a bound that is no positive number.
    """
    found: dict[str, float] = {}
    for word in words.split(","):
        name, _, text = word.strip().partition("=")
        if name not in SLOS:
            raise ScenarioError(f"--slo {word.strip()}: one of {', '.join(SLOS)} and a number")
        try:
            limit = float(text)
        except ValueError:
            limit = float("nan")
        if not 0 < limit < float("inf"):
            raise ScenarioError(f"--slo {name}: a number of seconds above zero, got {text!r}")
        found[name] = limit
    return found
