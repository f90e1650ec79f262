"""Reads rows of measurements: CSV files of our columns, and JSON of ``vllm bench serve``."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from cluster.scenario.resolve import resolve
from cluster.scenario.schema import Scenario
from cluster.studies.calibration.cases import RATES, SHARED, TIMED, Case
from cluster.studies.calibration.measurements import BATCHES, ERROR, Measurement, plans_of
from cluster.studies.calibration.priors import CalibrationError
from cluster.studies.draws import says
from cluster.studies.machine_set import SETTINGS
from results.bench import read_bench
from topology.catalog import load_hardware
from topology.catalog.figures import nearest
from topology.units import UNITS, to_si
from workloads.formats import FormatError, get_format
from workloads.measured import Column, Layout, Measured, read_measured
from workloads.model import ModelError, load_model
from workloads.plan import Plan, PlanError, check_plan

Value = TypeVar("Value")
UNITS_OF = {True: {"tok/s": 1.0}, False: {"s": 1.0, "ms": 1e-3, "us": 1e-6}}
"""By whether the metric is a rate."""
OF_BENCH = (
    "completed",
    "max_concurrency",
    "total_input_tokens",
    "total_output_tokens",
    "mean_tpot_ms",
)
"""What a point of decode needs of ``vllm bench serve``."""

LAYOUT = Layout(
    name="measured points",
    about="measured points of Corsair, a row each; a row without a value is a question",
    columns=(
        Column("metric", f"{', '.join(TIMED)}, or the name of a hardware figure.", type="word"),
        Column("value", "What was measured.", sparse=True),
        Column("unit", "s, ms, us; tok/s; of a figure its unit.", type="word"),
        Column("error", "Relative standard error.", optional=True),
        Column("label", "Name of the row.", type="word", optional=True),
        Column("model", "Of all but all_reduce and figures.", type="word", optional=True),
        Column("cards", "Of all replicas, unless the plan says it.", type="count", optional=True),
        Column("plan", "TP x PP as 4x2, or TP x PP x replicas.", type="word", optional=True),
        Column("batch", "Sequences of a replica that decode.", type="word", optional=True),
        Column("context", "Tokens of each; of a prompt.", type="word", optional=True),
        Column("weights", "Format of weights [mxint8].", type="word", optional=True),
        Column("bytes", "Payload of an all_reduce.", type="count", optional=True),
        *(
            Column(name, "Setting.", type="word", optional=True, allowed=values)
            for name, values in SHARED.items()
        ),
    ),
)
"""Cells of plan, batch and context may hold several values with ``|`` between them, one of which
holds."""


def read_rows(path: str | Path, error: float = ERROR) -> tuple[Measurement, ...]:
    """The rows of a CSV file; ``error`` is that of rows that do not say theirs.

    Raises
    ------
    TraceError
        No readable table; a cell that is no number or no such word: with its line and column.
    CalibrationError
        A row that makes no sense: with its line and column, and what is allowed.
    """
    found = read_measured(path, LAYOUT)
    known = [column.name for column in LAYOUT.columns]
    if strange := [name for name in found.others if name not in known]:
        raise CalibrationError(
            f"{path}:1: unknown column {nearest(strange[0], tuple(known))} "
            f"(allowed: {', '.join(known)})"
        )
    return tuple(_Row(found, number).measurement(error) for number in range(len(found)))


class _Row:
    """One row, and its errors."""

    def __init__(self, found: Measured, number: int) -> None:
        self._where = found.where(number)
        self._cells = found.row(number)

    def measurement(self, usual: float) -> Measurement:
        metric = str(self._cells["metric"])
        value, error = self._cells["value"], self._cells["error"]
        if value is not None and value <= 0:
            raise self._wrong("value", "a number above 0, or nothing in a question")
        said = tuple((name, self._cells[name]) for name in SHARED if self._cells[name])
        case = replace(Case(metric="tpot"), said=said)
        return Measurement(
            label=str(self._cells["label"] or f"{metric} of {Path(self._where).name}"),
            cases=self._cases(metric, case),
            value=None if value is None else value * self._factor(metric),
            error=usual if error is None else self._error(float(error)),
        )

    def _cases(self, metric: str, case: Case) -> tuple[Case, ...]:
        if metric not in TIMED:
            figures = load_hardware("corsair").figures
            if metric not in figures:
                near = nearest(metric, (*TIMED, *figures))
                raise CalibrationError(
                    f"{self._where}: column 'metric': unknown {near} (allowed: "
                    f"{', '.join(TIMED)}, or a figure of corsair-sim hardware show corsair)"
                )
            return (replace(case, metric=metric),)
        case = replace(case, metric=metric)
        if metric == "all_reduce":
            cards, payload = (int(self._needed(name)) for name in ("cards", "bytes"))
            return (replace(case, plan=Plan(tensor_parallel_size=cards), payload_bytes=payload),)
        weights = str(self._cells["weights"] or "mxint8")
        self._tried("weights", lambda: get_format(weights))
        model = str(self._needed("model"))
        self._tried("model", lambda: load_model(model))
        contexts = self._counts("context", ())
        prompt = metric in ("ttft", "prefill_throughput")
        batches = (1,) if prompt else self._counts("batch", BATCHES)
        return tuple(
            replace(case, model=model, plan=plan, batch=batch, context=context, weights=weights)
            for batch in batches
            for plan in self._plans(model, None if prompt else batch)
            for context in contexts
        )

    def _plans(self, model: str, batch: int | None) -> Sequence[Plan]:
        if not self._cells["plan"]:
            return plans_of(model, int(self._needed("cards")), batch)
        plans = []
        for text in str(self._cells["plan"]).split("|"):
            parts = text.strip().split("x")
            if len(parts) not in (2, 3) or not all(part.isdigit() for part in parts):
                raise self._wrong("plan", "TP x PP as 4x2, or TP x PP x replicas, is needed")
            names = ("tensor_parallel_size", "pipeline_parallel_size", "replicas")
            sizes = dict(zip(names, map(int, parts), strict=False))
            plans.append(self._tried("plan", partial(_plan, sizes, model)))
        return plans

    def _counts(self, name: str, default: tuple[int, ...]) -> tuple[int, ...]:
        text = str(self._cells[name] or "")
        if not text and default:
            return default
        parts = [part.strip() for part in text.split("|")]
        if not all(part.isdigit() and int(part) for part in parts):
            raise self._wrong(name, "whole numbers of at least 1 with | between them are needed")
        return tuple(map(int, parts))

    def _factor(self, metric: str) -> float:
        """What the value is multiplied with, in SI."""
        unit = str(self._cells["unit"])
        if metric in TIMED:
            allowed: Mapping[str, float] = UNITS_OF[metric in RATES]
        else:
            si = load_hardware("corsair").figures[metric].unit
            allowed = {name: to_si(1.0, name) for name, each in UNITS.items() if each.si == si}
        if unit not in allowed:
            raise self._wrong("unit", f"one of {', '.join(allowed)} is needed for {metric}")
        return allowed[unit]

    def _error(self, error: float) -> float:
        if not 0 < error < 1:
            raise self._wrong("error", "a part of 1, as 0.05 for 5 %, is needed")
        return error

    def _needed(self, name: str) -> Any:
        if not self._cells[name]:
            raise self._wrong(name, f"it is needed for {self._cells['metric']}")
        return self._cells[name]

    def _tried(self, column: str, make: Callable[[], Value]) -> Value:
        try:
            return make()
        except (PlanError, ModelError, FormatError) as error:
            raise self._wrong(column, str(error)) from None

    def _wrong(self, column: str, needed: str) -> CalibrationError:
        found = self._cells[column]
        shown = repr(found) if found not in (None, "", 0) else "an empty value"
        return CalibrationError(f"{self._where}: column {column!r}: found {shown}; {needed}")


def _plan(sizes: Mapping[str, int], model: str) -> Plan:
    plan = Plan(**sizes)
    check_plan(plan, load_model(model))
    return plan


def _setting(scenario: Scenario, key: str) -> str:
    section, _, name = key.partition(".")
    return str(getattr(getattr(scenario, section), name))


def read_vllm(path: str | Path, scenario: Scenario) -> tuple[Measurement, ...]:
    """The mean TPOT of ``vllm bench serve`` in a closed loop, on a scenario's model and plan.

    Sequences are those of ``--max-concurrency``, each with the mean prompt and half of the mean
    output as its context. Settings of SHARED that the scenario does not give itself are open.

    Raises
    ------
    ResultsError
        The file is no such JSON.
    CalibrationError
        It lacks what a point needs; the scenario's hardware is another.
    """
    bench, resolved = read_bench(Path(path)), resolve(scenario)
    plan, formats = resolved.plan, resolved.formats
    if missing := [name for name in OF_BENCH if not bench.get(name)]:
        raise CalibrationError(
            f"{path}: misses {', '.join(missing)}: a point of decode needs the users of a closed "
            "loop (--max-concurrency) and the tokens of its requests"
        )
    completed, users, prompts, outputs, tpot_ms = (bench[name] for name in OF_BENCH)
    case = Case(
        metric="tpot",
        model=str(scenario.model),
        plan=plan,
        batch=max(1, round(users / plan.replicas)),
        context=max(1, round((prompts + outputs / 2) / completed)),
        weights=formats.weights.name,
        said=tuple(
            (name, value)
            for name, key in SETTINGS.items()
            if says(scenario, key) and (value := _setting(scenario, key)) in SHARED[name]
        ),
    )
    return (Measurement(label=Path(path).name, cases=(case,), value=tpot_ms * 1e-3),)
