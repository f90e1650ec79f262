"""Rows of predicted beside measured, and the errors of each set of them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cluster.studies.scoreboard.changes import Change, unchanged
from cluster.studies.scoreboard.point import Point, SetKey
from cluster.studies.scoreboard.points import points_of
from cluster.studies.scoreboard.predict import Predict, attempted, predictor

METRICS = ("tpot", "ttft")


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """Every point with its prediction, and the errors by set."""

    rows: Sequence[Mapping[str, Any]]
    """The columns of each point's own row; ``set`` (device, engine, model, precision, mode),
    ``predicted_*`` and ``measured_*`` (ms; J of ``j_per_output_token``), None where there is none,
    ``refused`` (why it was not run, None if it was), ``scores_ttft`` and ``fitted`` (it set figures
    of the hardware, so it is in no set)."""
    sets: Sequence[Mapping[str, Any]]
    """Errors as fractions of rows that are not fitted, which ``n`` counts (``refused`` ones
    too); ``bias`` is the median of signed ones; ``fitted`` counts the rows left out."""


def scoreboard(
    folder: str | Path,
    *,
    models: str | Path | None = None,
    only: Callable[[Point], bool] = lambda _: True,
    change: Change = unchanged,
    predict: Predict | None = None,
    done: Callable[[int, int], None] = lambda _, __: None,
) -> Board:
    """Run every end-to-end point below a folder and set it beside what was measured.

    Parameters
    ----------
    folder
        Files of the layouts of ``workloads.measured``; a single file will do.
    models
        Hugging Face configs by name, for models that are not bundled; a folder ``models`` beside
        the data is found by itself.
    only
        Which points to run.
    change
        What is changed of a point before it is run.
    predict
        What runs a point, in place of the simulator.
    done
        Called after each point with how many are done, of how many.

    Raises
    ------
    TraceError, ScoreError
        A file is wrong, or nothing can be scored.
    """
    configs = Path(models) if models is not None else Path(folder).resolve().parent / "models"
    points = [change(point) for point in points_of(folder, configs) if only(point)]
    predict = predict or predictor()
    rows = []
    for number, point in enumerate(points, 1):
        rows.append(_row(point, *attempted(point, predict)))
        done(number, len(points))
    return Board(rows=rows, sets=sets_of(rows))


def _row(point: Point, predicted: Mapping[str, float | None], refused: str) -> dict[str, Any]:
    names = dict.fromkeys((*point.measured, "j_per_output_token"))
    return {
        **point.row,
        "set": point.key._asdict(),
        **{f"predicted_{name}": predicted.get(name) for name in names},
        **{f"measured_{name}": value for name, value in point.measured.items()},
        "refused": refused or None,
        "scores_ttft": point.scores_ttft,
        "fitted": point.fitted,
    }


def sets_of(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One entry a set, in the order in which they first appear."""
    members: dict[SetKey, list[Mapping[str, Any]]] = {}
    for row in rows:
        members.setdefault(SetKey(**row["set"]), []).append(row)
    evidence = {key: [row for row in found if not row["fitted"]] for key, found in members.items()}
    return [
        {
            **key._asdict(),
            "n": len(found),
            "refused": sum(row["refused"] is not None for row in found),
            "fitted": len(members[key]) - len(found),
            **_errors(found, "tpot"),
            **_errors([row for row in found if row["scores_ttft"]], "ttft"),
        }
        for key, found in evidence.items()
    ]


def _errors(rows: Iterable[Mapping[str, Any]], metric: str) -> dict[str, float | None]:
    """Median and 90th percentile of the sizes of errors, median of the signed ones."""
    found = [error for row in rows if (error := error_of(row, metric)) is not None]
    sizes = np.abs(found)
    return {
        f"{metric}_median": float(np.median(sizes)) if found else None,
        f"{metric}_p90": float(np.percentile(sizes, 90)) if found else None,
        f"{metric}_bias": float(np.median(found)) if found else None,
    }


def error_of(row: Mapping[str, Any], metric: str) -> float | None:
    """Predicted over measured, less one; None where either is missing."""
    predicted, measured = row.get(f"predicted_{metric}_ms"), row.get(f"measured_{metric}_ms")
    if predicted is None or not measured:
        return None
    return float(predicted) / float(measured) - 1
