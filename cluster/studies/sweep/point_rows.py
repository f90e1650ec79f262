"""Rows of the dataset, made and collected; parts are written every few seconds."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cluster.studies.sweep.axes import cell
from cluster.studies.sweep.definition import Definition
from cluster.studies.sweep.observer import SweepObserver
from cluster.studies.sweep.points import Point
from cluster.studies.sweep.run_point import Result
from results.errors import ResultsError
from results.schema import TypeName
from results.sweep_store import SweepWriter

FLUSH_S = 3.0
"""Seconds between parts: the loss of a kill, besides the running points."""
FLUSH_ROWS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class RowMaker:
    """Rows of one sweep."""

    definition: Definition
    types: Mapping[str, TypeName]
    metrics: Sequence[str]

    def of(self, point: Point, result: Result) -> dict[str, Any]:
        """The row of a point that was run."""
        return {
            **self.identity(point),
            "status": result.status,
            "reason": result.reason,
            "seconds": result.seconds,
            "host": result.host,
            **result.metrics,
        }

    def twin(self, point: Point, row: Mapping[str, Any]) -> dict[str, Any]:
        """The row of a duplicate, copied from the point with the same run."""
        copied = {name: row.get(name) for name in ("status", "reason", *self.metrics)}
        return {**self.identity(point), **copied}

    def unrun(self, point: Point) -> dict[str, Any]:
        """The row of a point that is skipped, or has invalid input."""
        return {**self.identity(point), "status": point.status, "reason": point.reason}

    def identity(self, point: Point) -> dict[str, Any]:
        """Number, run_id and axes."""
        values = self.definition.values(point.number)
        axes = {path: cell(values.get(path), type_) for path, type_ in self.types.items()}
        return {"point": point.number, "run_id": point.run_id, **axes}


class Collector:
    """Passes rows to the writer, a part every few seconds; the rest at the end."""

    def __init__(self, writer: SweepWriter, watcher: SweepObserver) -> None:
        self._writer = writer
        self._watcher = watcher
        self._rows: list[dict[str, Any]] = []
        self._flushed_s = time.monotonic()

    def add(self, row: dict[str, Any]) -> None:
        """Add a row, and write a part if one is due."""
        self._rows.append(row)
        late = time.monotonic() - self._flushed_s > FLUSH_S
        if late or len(self._rows) >= FLUSH_ROWS:
            self.flush()
        self._watcher.advanced(row)

    def flush(self) -> None:
        """Write what has been collected.

        Raises
        ------
        ResultsError
            It cannot be written (a full disk, for example); earlier parts are intact.
        """
        self._flushed_s = time.monotonic()
        if not self._rows:
            return
        try:
            self._writer.append(self._rows)
        except ResultsError as error:
            self._rows = []
            raise ResultsError(
                f"{error}; parts written before are intact: once writing works again, continue"
                f" with `corsair-sim sweep resume {self._writer.folder}`"
            ) from error
        self._rows = []  # not earlier: after a Ctrl-C the last flush writes them
