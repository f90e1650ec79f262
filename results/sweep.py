"""Read a sweep: ``open_sweep("results/sweeps/<name>").best("output_throughput")``."""

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, cast

import pyarrow as pa

from results import display
from results.causes import bounds_of
from results.compare import BETTER
from results.default_dirs import SWEEPS
from results.devices import described
from results.engine_columns import names_in
from results.errors import ResultsError
from results.optional_deps import optional
from results.schema import (
    LATENCY_SHARES,
    OTHER_CAUSES,
    POINT_STATUSES,
    Column,
    Table,
    TypeName,
    run_tables,
    sweep_table,
)
from results.stats import quantile_975
from results.sweep_store import SWEEP, read_points, read_sweep_manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """A sweep as of the first access to its points; it may still be running."""

    path: Path
    manifest: Mapping[str, Any]
    _read: dict[str, pa.Table] = field(default_factory=dict, repr=False, compare=False)

    def __repr__(self) -> str:
        facts = {"name": self.name, "path": str(self.path), "points": self.total}
        return display.line("Sweep", {**facts, "axes": len(self.axes)})

    def _repr_html_(self) -> str:
        facts = {
            "name": self.name,
            "path": str(self.path),
            "kind": self.manifest["kind"],
            "points": self.total,
            "axes": ", ".join(self.axes),
        }
        try:
            return display.table("Sweep", {**facts, **self._counts()})
        except ResultsError as error:  # shown, since a notebook would hide it
            return display.table("Sweep", {**facts, "error": error})

    def _counts(self) -> dict[str, int]:
        """Points by status as of now; ``points`` may be read later and differ."""
        now = Sweep(path=self.path, manifest=self.manifest, _read=dict(self._read))
        return {status: count for status, count in now.status_counts.items() if count}

    @property
    def name(self) -> str:
        """The name in its definition; the folder may have another name."""
        return str(self.manifest["name"])

    @property
    def total(self) -> int:
        """Number of points of the sweep, done or not."""
        return int(self.manifest["points"])

    @property
    def axes(self) -> tuple[str, ...]:
        """Dotted paths of the scenario that differ from point to point."""
        return tuple(self.manifest["axes"])

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the numbers that every completed point has."""
        return tuple(self.manifest["metrics"])

    @property
    def table(self) -> Table:
        """Columns with units and meanings; ``status`` beside them comes from the folders."""
        return table_of(self.manifest)

    @property
    def points(self) -> pa.Table:
        """A row per finished point, in the order of their numbers, ``status`` included.

        Raises
        ------
        ResultsError
            A part is damaged, cut short, or of another sweep.
        """
        if "points" not in self._read:
            self._read["points"] = read_points(self.path, self.table)
        return self._read["points"]

    @property
    def status_counts(self) -> dict[str, int]:
        """Points by status; points not yet computed are ``pending``."""
        counts = Counter(self.points.column("status").to_pylist())
        done: dict[str, int] = {status: counts[status] for status in POINT_STATUSES}
        return {**done, "pending": max(0, self.total - self.points.num_rows)}

    def best(self, metric: str, count: int = 1, *, lowest: bool | None = None) -> list[Any]:
        """Rows of the completed points with the best values of ``metric``, best first.

        ``lowest`` selects the better end, for metrics without a known direction.

        Raises
        ------
        ResultsError
            There is no such metric, or its direction is unknown and ``lowest`` is missing.
        """
        self._check(metric)
        direction = BETTER.get(metric, _direction(metric))
        if lowest is None and not direction:
            raise ResultsError(
                f"{metric} has no known direction: choose whether the lowest or the highest"
                " is wanted"
            )
        rows = [
            row
            for row in self.points.to_pylist()
            if row["status"] == "completed" and row[metric] is not None
        ]
        falling = direction > 0 if lowest is None else not lowest
        rows.sort(key=lambda row: (-row[metric] if falling else row[metric], row["point"]))
        return rows[:count]

    def intervals(self, metric: str) -> list[dict[str, Any]]:
        """Mean of ``metric`` over the seeds of each setting, with its 95 % confidence interval.

        A row per setting of the axes other than ``seed``: these axes, ``count``, ``mean``, ``low``
        and ``high`` (None for a single seed). Student's t.
        """
        self._check(metric)
        axes = [axis for axis in self.axes if axis != "seed"]
        samples: defaultdict[tuple[Any, ...], list[float]] = defaultdict(list)
        for row in self.points.to_pylist():
            if row["status"] == "completed" and row[metric] is not None:
                samples[tuple(row[axis] for axis in axes)].append(float(row[metric]))
        return [
            {**dict(zip(axes, setting, strict=True)), **_interval(values)}
            for setting, values in samples.items()
        ]

    def pandas(self) -> Any:
        """The points as a ``pandas.DataFrame``."""
        optional("pandas", "pandas")
        return self.points.to_pandas()

    def polars(self) -> Any:
        """The points as a ``polars.DataFrame``."""
        return optional("polars", "polars").from_arrow(self.points)

    def _check(self, metric: str) -> None:
        if metric not in self.metrics:
            near = get_close_matches(metric, self.metrics, n=1)
            hint = f"nearest: {near[0]}" if near else f"it has {', '.join(self.metrics[:8])}, ..."
            raise ResultsError(f"{self.path}: this sweep has no metric {metric!r}; {hint}")


def open_sweep(path: str | Path) -> Sweep:
    """Open a sweep by its folder, or by its name in ``results/sweeps``; it may be running.

    Returns
    -------
    The sweep. Its points are read at the first use, as an Arrow table with a row per point.

    Raises
    ------
    ResultsError
        There is no such sweep, or its manifest is damaged or of a newer version.

    Examples
    --------
    >>> from corsair_sim import open_sweep, sweep
    >>> done = sweep({"name": "load", "axes": [{"grid": {"workload.synthetic.requests": [5, 9]}}]})
    >>> same = open_sweep("load")
    >>> same.best("completed")[0]["workload.synthetic.requests"]
    9
    """
    folder = Path(path)
    if not (folder / SWEEP).is_file() and (SWEEPS / folder / SWEEP).is_file():
        folder = SWEEPS / folder
    if not folder.is_dir():
        known = sorted(file.parent.name for file in SWEEPS.glob(f"*/{SWEEP}"))
        near = get_close_matches(folder.name, known, n=1)
        listed = ", ".join(known[:5]) or "no sweeps"
        hint = f"nearest: {near[0]}" if near else f"{SWEEPS} holds {listed}"
        raise ResultsError(f"{path}: no such sweep; {hint}")
    return Sweep(path=folder, manifest=read_sweep_manifest(folder))


def table_of(manifest: Mapping[str, Any]) -> Table:
    """The table of the points that a manifest declares."""
    axes = {path: cast(TypeName, type_) for path, type_ in manifest["axes"].items()}
    return sweep_table(axes, metric_columns(str(manifest["kind"]), manifest["metrics"]))


def metric_columns(kind: str, names: Sequence[str]) -> list[Column]:
    """Columns of the table ``kind`` (``summary`` or ``replay``) that have these names.

    Raises
    ------
    ResultsError
        It has no such column, as when the sweep is of another version.
    """
    causes = (*names_in(names, "bound_share."), *names_in(names, "critical_share."))
    bounds = [name for name in causes if name not in OTHER_CAUSES]
    for family in LATENCY_SHARES:
        bounds += bounds_of(names_in(names, f"{family}."))
    device = described(tuple(dict.fromkeys(bounds)), names_in(names, "energy_share."))
    known = {column.name: column for column in run_tables(device)[kind].columns}
    strange = [name for name in names if name not in known]
    if strange:
        raise ResultsError(f"this version has no metric {strange[0]!r}: another version wrote it")
    return [known[name] for name in names]


def _direction(metric: str) -> int:
    """The better end of a metric, by the words of its name; 0 if they do not determine it."""
    if metric.startswith(("cost_", "energy_j", "joules_")) or metric.endswith(("_ms", "_power_w")):
        return -1
    if "throughput" in metric or metric.endswith(("_per_s", "_per_w", "_per_user", "_per_card")):
        return 1
    return 0


def _interval(values: Sequence[float]) -> dict[str, Any]:
    count, mean = len(values), fmean(values)
    if count < 2:
        return {"count": count, "mean": mean, "low": None, "high": None}
    half = quantile_975(count - 1) * stdev(values) / math.sqrt(count)
    return {"count": count, "mean": mean, "low": mean - half, "high": mean + half}
