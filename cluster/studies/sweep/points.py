"""From a definition to points: overrides, conditions, scenario, content, identity."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal, NoReturn, TypeAlias

import numpy as np
from pydantic import BaseModel

from cluster.scenario.load import keys_of, load_variant
from cluster.scenario.resolve import Resolved, ResolvedReplay, resolve
from cluster.scenario.schema import AUTO, PlanSettings, Scenario
from cluster.scenario.warmup import check_warmup
from cluster.studies.sweep.axes import leaves, nested
from cluster.studies.sweep.definition import Definition
from cluster.studies.sweep.errors import SweepError, nearest
from cluster.studies.sweep.hold import amount_of, held_value
from cluster.studies.sweep.input_cache import Library
from results.devices import Device, of_kinds
from results.schema import SPECIAL, NotRun, PointStatus, run_tables
from topology.catalog import Hardware, load_hardware
from workloads.requests import Requests

MACHINE: Mapping[str, Callable[[Hardware], float]] = {
    "machine.area_mm2": lambda hardware: 1e6 * amount_of("area", hardware),
    "machine.usd": lambda hardware: amount_of("usd", hardware),
    "machine.static_w": lambda hardware: hardware["card.static_w"],
}
"""Names in conditions: of a die, of a card from its parts, of a card."""
MOST_OPENED = 4096
"""Contents that are cached until their points are run, about 6 kB each."""
Kind: TypeAlias = Literal["summary", "replay"]
"""The table that a point's metrics come from: requests are served, operations replayed."""

NO_REQUESTS = Requests(
    arrival_ps=np.zeros(1, np.int64),
    prompt_tokens=np.ones(1, np.int64),
    output_tokens=np.ones(1, np.int64),
)
"""Stands in a content whose requests lie elsewhere: the shortest trace that there can be."""


@dataclass(slots=True, kw_only=True)
class Point:
    """One point before it is run; ``status`` is set if it will not run."""

    number: int
    run_id: str | None = None
    machine_id: str = ""
    """Points with the same one share layout and prices; empty: nothing is shared."""
    status: PointStatus | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """All points of a sweep, resolved."""

    points: Sequence[Point]
    kind: Kind
    device: Device
    """With all bounds and parts of energy that the points' devices have."""
    opened: dict[int, Resolved]
    """Contents of the first MOST_OPENED points by number, without their requests."""


def plan_points(
    definition: Definition, library: Library, looked_at: Callable[[int], None] = lambda _: None
) -> Planned:
    """Resolve every point: whether it is skipped, whether its input is valid, and its run_id.

    Raises
    ------
    SweepError
        A condition is invalid, or no point is valid; the first error is included.
    """
    look = _PointResolver(definition, library)
    points = []
    for number in range(len(definition.grid)):
        points.append(look.at(number))
        looked_at(number + 1)
    if look.kind is None:
        _refuse(definition, points)
    return Planned(points=points, kind=look.kind, device=of_kinds(look.devices), opened=look.opened)


def scenario_of(definition: Definition, number: int) -> Scenario:
    """The scenario of a point.

    Raises
    ------
    ScenarioError
        It is invalid.
    HoldError
        No size of the figure that follows keeps what is held.
    """
    hold = definition.hold
    if hold is not None and number not in definition.held:
        base = load_variant(definition.base, {}, origin="base", folders=definition.folders)
        definition.held[number] = held_value(hold, base, _variant(definition, number))
    return _variant(definition, number)


def _variant(definition: Definition, number: int) -> Scenario:
    return load_variant(
        definition.base,
        nested(definition.values(number)),
        origin=f"{definition.source.name}: point {number}",
        folders=definition.folders,
    )


def content_of(
    point: Point, definition: Definition, library: Library, opened: dict[int, Resolved]
) -> Resolved | Scenario:
    """The content of a point: requests resolved, operation traces by name.

    Taken out of ``opened`` if it is there.
    """
    known = opened.pop(point.number, None)
    if known is not None:
        requests, _ = library.openers.traffic(known.scenario.workload, known.scenario.seed)
        return known.carrying(requests)
    scenario = scenario_of(definition, point.number)
    return scenario if scenario.workload.is_replayed else resolve(scenario, library.openers)


def metric_names(definition: Definition, planned: Planned) -> list[str]:
    """The metrics to keep, in the order of the schema.

    Raises
    ------
    SweepError
        The file names an unknown one.
    """
    columns = run_tables(planned.device)[planned.kind].columns
    known = [column.name for column in columns if column.name not in SPECIAL]
    if not definition.metrics:
        return known
    for number, pattern in enumerate(definition.metrics):
        if not any(fnmatchcase(name, pattern) for name in known):
            where = definition.source.where(("metrics", number))
            raise SweepError(f"{where}: no metric {_near(pattern, known)}")
    return [
        name for name in known if any(fnmatchcase(name, pattern) for pattern in definition.metrics)
    ]


def _near(name: str, known: list[str]) -> str:
    found = nearest(name, known)
    return found if "did you mean" in found else f"{name!r}; see `corsair-sim serve --json`"


class _PointResolver:
    """Resolves one point after the other; the first valid one decides the kind of all."""

    def __init__(self, definition: Definition, library: Library) -> None:
        self._definition = definition
        self._library = library
        self.kind: Kind | None = None
        self.devices: dict[str, None] = {}
        """Kinds of the points' devices, each once, as they come."""
        self.opened: dict[int, Resolved] = {}

    def at(self, number: int) -> Point:
        values = self._definition.grid[number]
        for condition in self._definition.skip:
            if condition.holds(lambda name: _look(self._definition, values, name)):
                reason = f"skip: {condition.text}"
                return Point(number=number, status="skipped", reason=reason)
        kind = self.kind
        try:
            scenario = scenario_of(self._definition, number)
            kind = "replay" if scenario.workload.is_replayed else "summary"
            if kind != (self.kind or kind):
                raise SweepError("a sweep cannot mix requests and operation traces")
            point = self._named(scenario, number)
        except Exception as error:
            code = 2 if isinstance(error, OSError) else getattr(error, "exit_code", None)
            if code not in (2, 3):
                raise
            status: NotRun = "failed" if code == 2 else "infeasible"
            point = Point(number=number, status=status, reason=str(error))
        if point.status != "failed":
            self.kind = kind
        return point

    def _named(self, scenario: Scenario, number: int) -> Point:
        """A point that is right, with the identity of its run."""
        resolved = resolve(scenario, self._library.openers, wanted="either")
        if resolved.hardware is not None:
            self.devices[resolved.hardware.kind] = None
        if isinstance(resolved, ResolvedReplay):
            return Point(number=number, run_id=resolved.run_id)
        check_warmup(resolved)
        if len(self.opened) < MOST_OPENED:
            self.opened[number] = resolved.carrying(NO_REQUESTS)
        return Point(number=number, run_id=resolved.run_id, machine_id=resolved.machine_id)


def _refuse(definition: Definition, points: Sequence[Point]) -> NoReturn:
    failed = [point for point in points if point.status == "failed"]
    name = definition.source.name
    if not failed:
        raise SweepError(f"{name}: every one of the {len(points):,} points is skipped")
    raise SweepError(
        f"{name}: none of the {len(points):,} points is valid; the first:\n  {failed[0].reason}"
    )


def _look(definition: Definition, values: dict[str, Any], name: str) -> Any:
    """A value of the point: of its axes, of its machine, of the base, or what it is by default."""
    if name in values:
        return values[name]
    if name in MACHINE:
        return _of_machine(definition, values, name)
    here: Any = definition.base.data
    for key in keys_of(name):
        here = here.get(key, _ABSENT) if isinstance(here, dict) else _ABSENT
    if here is not _ABSENT:
        return here
    default: Any = Scenario
    for key in keys_of(name):
        default = _default(_plan_of(definition, values, name) if default == AUTO else default, key)
    if default is _ABSENT or isinstance(default, type):
        known = [*values, *(path for path, _ in leaves(definition.base.data))]
        raise SweepError(f"unknown name {nearest(name, known)}")
    return default


def _of_machine(definition: Definition, values: dict[str, Any], name: str) -> float:
    """An amount of a point's hardware that its figures give."""
    origin, folders = definition.source.name, definition.folders
    scenario = load_variant(definition.base, nested(values), origin=origin, folders=folders)
    return MACHINE[name](load_hardware(scenario.hardware, scenario.hardware_set))


def _plan_of(definition: Definition, values: dict[str, Any], name: str) -> type[PlanSettings]:
    """The defaults of a plan of which the point names a part."""
    named = any(each.startswith("plan.") for each in values)
    if not named and definition.base.data.get("plan", AUTO) == AUTO:
        raise SweepError(f"{name} is not known: the plan of the point is auto, chosen when it runs")
    return PlanSettings


_ABSENT = object()


def _default(owner: Any, key: str) -> Any:
    """The default of a field of a model, or of a model's value."""
    fields = getattr(owner, "model_fields", None) if isinstance(owner, type) else None
    if isinstance(owner, BaseModel):
        named = {field.alias or name: name for name, field in type(owner).model_fields.items()}
        return getattr(owner, named.get(key, key), _ABSENT)
    if not fields or key not in fields or fields[key].is_required():
        return _ABSENT
    return fields[key].get_default(call_default_factory=True)
