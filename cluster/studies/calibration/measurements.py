"""Measured rows, questions and possible measurements: cases with what they leave unsaid."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from cluster.perf_model.calibrate import EIGHT_B, SEVENTY_B, Point
from cluster.studies.calibration.cases import CARDS_PER_SERVER, Case
from cluster.studies.calibration.priors import CalibrationError
from workloads.model import load_model
from workloads.plan import Plan, PlanError, check_plan

ERROR = 0.05
"""Relative standard error of a measurement that does not say its own."""
MODEL_ERROR = 0.05
"""Relative standard error of the model where its figures are right: what it leaves out."""
DECODE = ("tpot", "output_throughput")
BATCHES = (1, 8, 16, 32, 48, 64)
"""Sequences, where a row of decoding does not say."""
CONTEXTS = (512, 1024, 1536)
"""Of the published points, whose context is not public; 1,536 is the longest for which the SRAM of
a server holds 60 sequences of the 8B model in whole blocks beside its weights."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One measured value, or a question if there is none."""

    label: str
    cases: tuple[Case, ...]
    """What it may have been, each equally likely: one where all is said."""
    value: float | None = None
    """In SI."""
    error: float = ERROR
    """Relative standard error."""

    def __post_init__(self) -> None:
        """Refuse a row without a possible case.

        Raises
        ------
        CalibrationError
            No case.
        """
        if not self.cases:
            raise CalibrationError(f"{self.label}: no plan of these cards divides the model")


def measured(rows: Sequence[Measurement]) -> list[Measurement]:
    """Those with a value; the others are questions."""
    return [row for row in rows if row.value is not None]


def plans_of(model: str, cards: int, batch: int | None = None) -> tuple[Plan, ...]:
    """Plans of one replica that a vendor may have measured.

    Tensor groups stay inside a server, and each stage has a sequence (``batch`` of them).
    """
    shape = load_model(model)
    sizes = [size for size in range(1, min(cards, CARDS_PER_SERVER) + 1) if cards % size == 0]
    plans = [
        Plan(tensor_parallel_size=size, pipeline_parallel_size=cards // size) for size in sizes
    ]
    return tuple(
        plan
        for plan in plans
        if (batch is None or plan.pipeline_parallel_size <= batch) and not _breach(plan, shape)
    )


def _breach(plan: Plan, model: object) -> bool:
    try:
        check_plan(plan, model)  # type: ignore[arg-type]
    except PlanError:
        return True
    return False


def published() -> tuple[Measurement, ...]:
    """The two points of decode that d-Matrix published; neither says its plan or context.

    60 sequences follow from the published rate times the published TPOT.
    """
    return tuple(_published(point) for point in (EIGHT_B, SEVENTY_B))


def _published(point: Point) -> Measurement:
    own = Case(metric="tpot", model=point.model, batch=point.max_rows)
    return Measurement(
        label=f"{point.model} on {point.plan.cards} cards, published",
        cases=tuple(
            replace(own, plan=plan, context=context)
            for plan in plans_of(point.model, point.plan.cards, own.batch)
            for context in CONTEXTS
        ),
        value=point.tpot_s,
    )


def questions() -> tuple[Measurement, ...]:
    """What the calibration answers unless other questions are put."""
    eight = Case(metric="ttft", model=EIGHT_B.model, plan=EIGHT_B.plan, context=4096)
    seventy = Case(
        metric="prefill_throughput", model=SEVENTY_B.model, plan=SEVENTY_B.plan, context=4096
    )
    moe = Case(
        metric="tpot",
        model="gpt-oss-120b",
        plan=Plan(tensor_parallel_size=4, pipeline_parallel_size=12),
        batch=60,
        context=1024,
        weights="mxint4",
    )
    alone = Case(
        metric="tpot",
        model=SEVENTY_B.model,
        plan=Plan(tensor_parallel_size=8, pipeline_parallel_size=8),
        context=1024,
    )
    labels = {
        "TTFT of a prompt of 4,096": eight,
        "prefill rate at 4,096": seventy,
        "TPOT of 60": moe,
        "TPOT of one sequence": alone,
    }
    return tuple(
        Measurement(label=f"{label}, {_named(case)}", cases=(case,))
        for label, case in labels.items()
    )


def candidates(rows: Sequence[Measurement], names: Sequence[str]) -> tuple[Measurement, ...]:
    """Measurements that could be made next on the machines of the rows.

    Of each model: TPOT at every plan; of the first: the prefill rate; all-reduces over a tensor
    group; and, of the figures that are fitted (``names``), those that a small benchmark measures.
    """
    return tuple({each.label: each for each in _candidates(rows, names)}.values())


def _candidates(rows: Sequence[Measurement], names: Sequence[str]) -> Iterator[Measurement]:
    middle = [row.cases[len(row.cases) // 2] for row in measured(rows)]
    decodes = [case for case in middle if case.metric in DECODE]
    for case in decodes:
        for plan in plans_of(case.model, case.plan.cards_per_replica, case.batch):
            own = replace(case, metric="tpot", plan=plan, said=())
            yield Measurement(label=f"TPOT of {case.batch}, {_named(own)}", cases=(own,))
    for case in decodes[:1]:
        for tokens in (512, 4096):
            own = replace(case, metric="prefill_throughput", batch=1, context=tokens, said=())
            own = replace(own, plan=_usual(case))
            yield Measurement(label=f"prefill rate at {tokens:,}, {_named(own)}", cases=(own,))
    for payload, size in ((4096, "4 KB"), (491_520, "480 KB")):
        group = Plan(tensor_parallel_size=4)
        case = Case(metric="all_reduce", plan=group, payload_bytes=payload)
        yield Measurement(label=f"all-reduce of {size} over 4 cards", cases=(case,))
    for name, how in BENCHES.items():
        if name in names:
            yield Measurement(label=f"{how} ({name})", cases=(Case(metric=name),))


def _usual(case: Case) -> Plan:
    """The four cards of one switch as a tensor group, where there are so many."""
    plans = plans_of(case.model, case.plan.cards_per_replica)
    return min(plans, key=lambda plan: abs(plan.tensor_parallel_size - 4), default=case.plan)


BENCHES = {
    "card.dispatch_s": "dispatch of empty operations on one card",
    "links.efficiency": "bandwidth of a long copy over a link",
    "card.package_link_latency_s": "ping between two packages",
}
"""Figures that a benchmark of one card can measure alone."""


def plan_text(plan: Plan) -> str:
    """``TP 4 x PP 2``."""
    return f"TP {plan.tensor_parallel_size} x PP {plan.pipeline_parallel_size}"


def _named(case: Case) -> str:
    return f"{case.model} at {plan_text(case.plan)}"
