"""Compares runs: settings that differ, then metrics that differ."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeAlias

from results.api import Run
from results.errors import ResultsError
from results.schema import run_tables
from results.summary import flatten

Values: TypeAlias = tuple[object, ...]

BETTER: Mapping[str, int] = MappingProxyType(
    {
        "completed": 1,
        "rejected": -1,
        "preemptions": -1,
        "duration": 0,
        "request_throughput": 1,
        "output_throughput": 1,
        "output_tokens_per_s_per_card": 1,
        "output_tokens_per_s_per_user": 1,
        "goodput": 1,
        "slo_attainment": 1,
        "mean_ttft_ms": -1,
        "p99_ttft_ms": -1,
        "mean_tpot_ms": -1,
        "p99_tpot_ms": -1,
        "p99_itl_ms": -1,
        "mean_e2el_ms": -1,
        "p99_e2el_ms": -1,
        "mean_queue_ms": -1,
        "mean_kv_transfer_ms": -1,
        "mean_batch_size": 0,
        "peak_kv_fraction": 0,
        "mbu": 0,
        "mfu": 0,
        "prefix_hit_rate": 1,
        "later_turn_hit_rate": 1,
        "mean_later_turn_ttft_ms": -1,
        "mean_session_s": -1,
        "joules_per_output_token": -1,
        "mean_power_w": -1,
        "peak_power_w": -1,
        "cost_per_hour_usd": -1,
        "cost_per_million_output_tokens_usd": -1,
        "operations": 0,
        "makespan_s": -1,
        "mean_step_s": -1,
        "steady_step_s": -1,
        "compute_share": 0,
        "communication_share": 0,
        "overlap_share": 0,
        "bubble_share": -1,
    }
)
"""Metrics to compare, in order: 1 means higher is better, -1 lower is better, 0 neither."""
SHARES = (
    *("bound_share.", "critical_share.", "energy_share."),
    *("latency_share.", "p99_ttft_share."),
)
"""Families of keys that are also compared, as shares of a whole."""
SAME = 0.0005
"""Changes below it are neither better nor worse."""
NOT_SETTINGS = ("scenario.name", "scenario.hardware_set", "scenario.store")
"""Keys of the scenario that do not change results, or that are compared as figures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A setting that is not the same in all runs."""

    key: str
    """Dotted path in the scenario; ``hardware.`` and a figure's name; or ``input.`` and a use."""
    values: Values


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A number of every run, beside the change from the first to each of them."""

    key: str
    unit: str
    better: int
    values: Values
    changes: tuple[float | None, ...]
    """(value - first) / first; None for the first, and where that is undefined."""

    def verdict(self, run: int) -> str:
        """``better``, ``worse``, or "" if equal or neutral."""
        change = self.changes[run]
        if change is None or abs(change) < SAME or not self.better:
            return ""
        return "better" if change * self.better > 0 else "worse"


def differences(runs: Sequence[Run]) -> list[Difference]:
    """Settings, hardware figures and inputs that are not the same in all runs, by key.

    Of different hardware only the figures that all runs have are listed: those of one kind of
    device alone are no settings of another.

    Raises
    ------
    ResultsError
        There are fewer than two runs.
    """
    _check(runs)
    requested = [dict(_settings(run.manifest)) for run in runs]
    keys = sorted({key for each in requested for key in each})
    if len({each.get("scenario.hardware") for each in requested}) > 1:
        alone = {key for key in keys if not all(key in each for each in requested)}
        keys = [key for key in keys if not (key in alone and key.startswith("hardware."))]
    rows = [
        Difference(key=key, values=tuple(each.get(key) for each in requested))
        for key in keys
        if not key.startswith(NOT_SETTINGS)
    ]
    return [row for row in rows if any(value != row.values[0] for value in row.values)]


def metrics(runs: Sequence[Run], *, everything: bool = False) -> list[Metric]:
    """The metrics that any of the runs has, the first run as the base of all changes.

    ``everything`` takes all numbers of the summaries in the order of the schema.

    Raises
    ------
    ResultsError
        There are fewer than two runs.
    """
    _check(runs)
    rows = [flatten(run.summary) for run in runs]
    units = {name: unit for run in runs for name, unit in units_of(run).items()}
    keys = list(units) if everything else [*BETTER, *_shares(units)]
    found = []
    for key in keys:
        values = tuple(row.get(key) for row in rows)
        if any(_is_number(value) for value in values):
            found.append(
                Metric(
                    key=key,
                    unit=units.get(key, ""),
                    better=BETTER.get(key, 0),
                    values=values,
                    changes=(None, *(_change(values[0], value) for value in values[1:])),
                )
            )
    return found


def _check(runs: Sequence[Run]) -> None:
    if len(runs) < 2:
        raise ResultsError(f"runs are compared two or more at a time, got {len(runs)}")


def units_of(run: Run) -> dict[str, str]:
    """Units of the numbers of runs on the device of this one, by name, in the schema's order."""
    tables = run_tables(run.device)
    columns = (*tables["summary"].columns, *tables["replay"].columns)
    return {column.name: column.unit for column in columns}


def _shares(units: Mapping[str, str]) -> Iterator[str]:
    return (key for key in units if key.startswith(SHARES))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _change(base: object, value: object) -> float | None:
    if not (_is_number(base) and _is_number(value)) or not base:
        return None
    return float(value) / float(base) - 1  # type: ignore[arg-type]


def _settings(manifest: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    yield from _leaves(manifest["scenario"], "scenario")
    for name, figure in manifest["hardware"].items():
        yield f"hardware.{name}", figure["value"]
    for entry in manifest["inputs"]:
        yield f"input.{entry.get('use', 'file')}", f"{entry['name']} ({entry['sha256'][:8]})"
    yield "model_version", manifest["model_version"]


def _leaves(tree: object, above: str) -> Iterator[tuple[str, object]]:
    if isinstance(tree, Mapping) and tree:
        for key, value in tree.items():
            yield from _leaves(value, f"{above}.{key}")
    else:
        yield above, tree
