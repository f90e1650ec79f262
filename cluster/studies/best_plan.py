"""The best plan for the published cards and model, and results that beat a published figure.

The calibration fixes a plan by a rule. A vendor that publishes a speed has looked for a good plan,
so what our best one predicts beside that speed is a check of its own.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from cluster.perf_model.calibrate import (
    BATCH,
    EIGHT_B,
    SEVENTY_B,
    Point,
    fit_dispatch_s,
    predict,
)
from cluster.scenario.resolve import Resolved
from topology.catalog import load_hardware
from workloads.model import load_model
from workloads.plan import Plan

HARDWARE = "corsair"
POINTS: Mapping[str, Point] = {"8b": EIGHT_B, "70b": SEVENTY_B}
ROUNDING = 0.005
"""Of published figures, in relative terms: a fit beats its own point by no more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Best:
    """The fastest plan of a published point, and what a fit there predicts of the other point."""

    point: Point
    plan: Plan
    tpot_s: float
    tokens_per_s: float
    fitted_s: float | None
    """The dispatch with which this plan takes the published time; None: there is none."""
    other: Point
    other_tpot_s: float | None
    """Of the other point's plan of the rule, with that dispatch,"""
    other_best: Plan | None
    other_best_tpot_s: float | None
    """and of the fastest plan there."""

    @property
    def ratio(self) -> float:
        """Predicted over published time of a token."""
        return self.tpot_s / self.point.tpot_s

    def plain(self) -> dict[str, object]:
        """As JSON."""
        return {
            "model": self.point.model,
            "cards": cards_of(self.point),
            "plan": plan_words(self.plan),
            "tpot_ms": self.tpot_s * 1e3,
            "published_tpot_ms": self.point.tpot_s * 1e3,
            "output_throughput": self.tokens_per_s,
            "published_output_throughput": BATCH / self.point.tpot_s,
            "ratio": self.ratio,
            "refitted_dispatch_s": self.fitted_s,
            "other_model": self.other.model,
            "other_published_tpot_ms": self.other.tpot_s * 1e3,
            "other_tpot_ms": self.other_tpot_s and self.other_tpot_s * 1e3,
            "other_best_plan": self.other_best and plan_words(self.other_best),
            "other_best_tpot_ms": self.other_best_tpot_s and self.other_best_tpot_s * 1e3,
        }


def cards_of(point: Point) -> int:
    """Cards of the published machine."""
    return point.servers * load_hardware(HARDWARE).count("server.cards")


def plan_words(plan: Plan) -> str:
    """``TP 4 x PP 2``."""
    return f"TP {plan.tensor_parallel_size} x PP {plan.pipeline_parallel_size}"


def best_plans() -> tuple[Best, ...]:
    """For each published point; takes some seconds."""
    return tuple(
        _best(point, other)
        for name, point in POINTS.items()
        for other_name, other in POINTS.items()
        if name != other_name
    )


def _best(point: Point, other: Point) -> Best:
    fastest = _fastest(point, None)
    steady = predict(fastest)
    fitted_s = fit_dispatch_s(fastest)
    there = None if fitted_s is None else _fastest(other, fitted_s)
    return Best(
        point=point,
        plan=fastest.plan,
        tpot_s=steady.tpot_s,
        tokens_per_s=steady.tokens_per_s,
        fitted_s=fitted_s,
        other=other,
        other_tpot_s=None if fitted_s is None else predict(other, fitted_s).tpot_s,
        other_best=None if there is None else there.plan,
        other_best_tpot_s=None if there is None else predict(there, fitted_s).tpot_s,
    )


def _fastest(point: Point, dispatch_s: float | None) -> Point:
    """The point on its fastest plan; the larger tensor group where two are equal."""
    return min(_plans_of(point), key=lambda each: predict(each, dispatch_s).tpot_s)


def _plans_of(point: Point) -> Iterator[Point]:
    """One replica on all cards: tensor groups of a power of two, largest first."""
    cards, layers = cards_of(point), len(load_model(point.model).layers)
    for power in reversed(range(cards.bit_length())):
        tensor, left = 2**power, cards % 2**power
        if left == 0 and cards // tensor <= layers:
            plan = Plan(tensor_parallel_size=tensor, pipeline_parallel_size=cards // tensor)
            yield replace(point, plan=plan)


def beaten(
    resolved: Resolved, cards: int, tpot_ms: float | None, tokens_per_s: float | None
) -> str:
    """Which published point a result beats in both TPOT and tokens/s; empty: none.

    Both, since fewer users see a shorter TPOT, and more users together more tokens. Hardware with
    figures of the scenario's own is another machine.
    """
    hardware, model = resolved.hardware.name, resolved.model.name
    if hardware != HARDWARE or resolved.scenario.hardware_set or not tpot_ms or not tokens_per_s:
        return ""
    for point in POINTS.values():
        rate, published_ms = BATCH / point.tpot_s, point.tpot_s * 1e3
        faster = tpot_ms < published_ms * (1 - ROUNDING) and tokens_per_s > rate * (1 + ROUNDING)
        if model == point.model and cards <= cards_of(point) and faster:
            return (
                f"faster than the vendor's published {published_ms:.1f} ms and {rate:,.0f} tokens/s"
                f" for {model} on {cards_of(point)} cards: treat as optimistic"
            )
    return ""
