"""Reuses the rows of a sweep's folder that are still valid, by their run_id."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cluster.studies.sweep.errors import SweepError
from cluster.studies.sweep.point_rows import RowMaker
from cluster.studies.sweep.points import Point
from results.schema import Table
from results.sweep_store import SweepWriter, identities, loose_rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Adopted:
    """Stored points that are still valid."""

    done: frozenset[int]
    dropped: int = 0
    """Deleted rows."""


def adopt(
    writer: SweepWriter,
    points: Sequence[Point],
    maker: RowMaker,
    table: Table,
    *,
    drop: bool,
    retry_failed: bool,
) -> Adopted:
    """Find the stored points of the folder; renumber rows if the sweep has changed.

    Raises
    ------
    SweepError
        Rows of completed points would be lost, and ``drop`` does not allow it.
    ResultsError
        A part is damaged.
    """
    known = identities(writer.folder, table)
    if known is not None and _all_right(known, points, retry_failed=retry_failed):
        return Adopted(done=frozenset(known))
    rows = [
        row for row in loose_rows(writer.folder) if not (retry_failed and row["status"] == "failed")
    ]
    kept, lost = _matched(rows, points, maker)
    if lost and not drop:
        raise SweepError(
            f"{writer.folder}: holds {lost:,} computed points that are not in this sweep;"
            " choose another --out, or delete them with --drop"
        )
    writer.rewrite(kept)
    return Adopted(done=frozenset(int(row["point"]) for row in kept), dropped=lost)


def _all_right(
    known: Mapping[int, tuple[str | None, str]], points: Sequence[Point], *, retry_failed: bool
) -> bool:
    """Whether every row belongs to the point of its number."""
    return all(
        number < len(points)
        and points[number].run_id == run_id
        and (points[number].status in (None, status))
        and not (retry_failed and status == "failed")
        for number, (run_id, status) in known.items()
    )


def _matched(
    rows: Iterable[Mapping[str, Any]], points: Sequence[Point], maker: RowMaker
) -> tuple[list[dict[str, Any]], int]:
    """Rows of these points, made from those of the same run; how many computed runs are left."""
    by_run = {row["run_id"]: row for row in rows if row["run_id"] and row["status"] != "skipped"}
    used: Counter[str] = Counter()
    kept = []
    for point in points:
        row = by_run.get(point.run_id) if point.status is None else None
        if row is None or not set(maker.metrics) <= row.keys():
            continue
        used[row["run_id"]] += 1
        first = {"seconds": row.get("seconds"), "host": row.get("host")}
        kept.append({**maker.twin(point, row), **(first if used[row["run_id"]] == 1 else {})})
    wanted = {point.run_id for point in points}
    lost = [run for run, row in by_run.items() if run not in wanted and _is_costly(row)]
    return kept, len(lost)


def _is_costly(row: Mapping[str, Any]) -> bool:
    return bool(row["status"] == "completed")
