"""``corsair-sim validate``: published or measured figures beside simulated ones, misses and all."""

from collections import Counter
from contextlib import contextmanager
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cluster.commands import terminal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from cluster.studies.best_plan import Best
    from cluster.studies.scoreboard import Board, Point
    from cluster.studies.scoreboard.changes import Change
    from cluster.studies.validate import Fitted, Row

app = typer.Typer()

HEADERS = ("figure", "published", "simulated", "unit", "off", "within", "verdict", "source")
VERDICTS = """ok       within the tolerance
miss     not within it
fitted   the published figure set a figure of the catalogue: no evidence
outside  reported beside it, without a tolerance"""


@app.command()
def validate(  # noqa: PLR0913 - options of a command
    *,
    data: Annotated[
        Path | None,
        typer.Option("--data", help="Measured points of real machines: a folder, or one file."),
    ] = None,
    models: Annotated[
        Path | None,
        typer.Option("--models", help="With --data: Hugging Face configs of other models."),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option("--only", help="With --data: only sets of this device, engine or model."),
    ] = None,
    kv: Annotated[
        str | None,
        typer.Option(
            "--kv", help="With --data: the number format of all KV, in place of the recipe's."
        ),
    ] = None,
    constants: Annotated[
        str | None,
        typer.Option(
            "--constants",
            help="With --data: predict devices with constants of others: others (all of them), "
            "data-sheet (all but products and the engine), other-log (the engine's alone).",
        ),
    ] = None,
    page: Annotated[
        Path | None, typer.Option("--page", help="With --data: write a Markdown page as well.")
    ] = None,
    as_json: terminal.Json = False,
    quiet: terminal.Quiet = False,
) -> None:
    """Set each published figure beside the simulated one; a miss is reported, not an error."""
    if data is not None:
        with _changed(kv, constants) as change:
            _measured(data, models, only or [], change, page, as_json=as_json, quiet=quiet)
        return
    options = {
        "--models": models, "--only": only, "--kv": kv, "--constants": constants, "--page": page,
    }  # fmt: skip
    if beside := [name for name, value in options.items() if value]:
        raise typer.BadParameter(f"{', '.join(beside)} goes with --data")
    from cluster.studies.best_plan import best_plans
    from cluster.studies.published import load_published
    from cluster.studies.validate import fitted_settings
    from cluster.studies.validate import validate as compare
    from topology.catalog import load_hardware

    rows, sources, best = compare(), load_published().sources, best_plans()
    dispatch_s = load_hardware("corsair")["card.dispatch_s"]
    counts = Counter(row.verdict for row in rows)
    payload = {
        "rows": [_plain(row) for row in rows],
        "ok": counts["ok"],
        "misses": counts["miss"],
        "fitted": counts["fitted"],
        "outside": counts["outside"],
        "dispatch_s": dispatch_s,
        "best_plans": [each.plain() for each in best],
        "settings": [asdict(each) | {"off": each.off} for each in fitted_settings()],
        "sources": sources,
    }
    own = sum(row.verdict == "ok" and row.claim.confidence == "derived" for row in rows)
    foot = (
        f"{counts['ok']} ok ({own} of them our own arithmetic on others), {counts['miss']} missed, "
        f"{counts['fitted']} fitted, {counts['outside']} outside\n"
        f"The one free constant, card.dispatch_s, is {dispatch_s * 1e6:.3f} us; "
        "docs/validation.md says how it was fitted"
    )
    parts = [_best_text(best), _settings(fitted_settings()), VERDICTS, _legend(rows, sources), foot]
    text = "\n\n".join([*_tables(rows), *parts])
    terminal.show(payload, text, as_json=as_json, quiet=quiet)


def _measured(
    data: Path,
    models: Path | None,
    only: list[str],
    change: "Change",
    page: Path | None,
    *,
    as_json: bool,
    quiet: bool,
) -> None:
    """The scoreboard of real machines."""
    from cluster.api.progress import Progress
    from cluster.studies.scoreboard import scoreboard
    from cluster.studies.scoreboard.operations import operations

    with Progress("points", shown=not (quiet or as_json)) as progress:
        board = scoreboard(
            data,
            models=models,
            only=_chosen(only),
            change=change,
            done=progress,
        )
    found = [row for row in operations(data) if all(word in row.values() for word in only)]
    if page is not None:
        from cluster.studies.scoreboard.page import page_of
        from corsair_common.files import write_text

        title = "Real machines: predicted against measured"
        write_text(page, page_of(board, title, operations=found))
    payload = {"sets": board.sets, "rows": board.rows, "operations": found}
    terminal.show(payload, _board_text(board, found), as_json=as_json, quiet=quiet)


@contextmanager
def _changed(kv: str | None, constants: str | None) -> "Iterator[Change]":
    """What is changed of every point; hardware files that it names are gone afterwards."""
    from cluster.studies.scoreboard.blind import CONSTANTS, write_blind
    from cluster.studies.scoreboard.changes import one_after_another, with_hardware, with_kv

    if constants is not None and constants not in CONSTANTS:
        raise typer.BadParameter(f"--constants {constants}: one of {', '.join(CONSTANTS)}")
    with TemporaryDirectory() as folder:
        changes = [with_kv(kv)] if kv else []
        if constants is not None:
            files = write_blind(CONSTANTS[constants], Path(folder))
            changes.append(with_hardware(files))
        yield one_after_another(changes)


def _chosen(words: list[str]) -> "Callable[[Point], bool]":
    """Points of whose set every word names the device, engine, model, precision or mode."""
    return lambda point: all(word in point.key for word in words)


def _board_text(board: "Board", operations: "Sequence[Mapping[str, Any]]") -> str:
    from cluster.studies.scoreboard.page import (
        LOG_HEADERS,
        OPERATION_HEADERS,
        SET_HEADERS,
        log_cells,
        operation_cells,
        set_cells,
    )

    reasons = Counter(str(row["refused"]) for row in board.rows if row["refused"])
    parts = [terminal.table(SET_HEADERS, [set_cells(one) for one in board.sets])]
    if logs := log_cells(board):
        parts.append(terminal.table(LOG_HEADERS, logs))
    if operations:
        cells = [operation_cells(row) for row in operations]
        parts.append(terminal.table(OPERATION_HEADERS, cells))
    if reasons:
        parts.append(terminal.table(("not run", "points"), reasons.most_common()))
    return "\n\n".join(parts)


def off(row: "Row") -> str:
    """Deviation in per cent, without a negative zero."""
    return f"{round(100 * row.deviation, 1) + 0.0:+.1f} %"


def _tables(rows: "Sequence[Row]") -> list[str]:
    """A titled table per section."""
    return [
        f"{section}\n{terminal.table(HEADERS, [_cells(row) for row in members])}"
        for section, members in groupby(rows, key=lambda row: row.claim.section)
    ]


BEST_HEADERS = (
    *("point", "best plan", "TPOT ms", "published", "ratio", "tokens/s", "published"),
    *("fitted there, us", "then the other", "on its plan, ms", "on its best, ms", "published"),
)


def _best_text(best: "Sequence[Best]") -> str:
    """Our best plan for each published point, and what a fit there predicts of the other."""
    from cluster.perf_model.calibrate import BATCH
    from cluster.studies.best_plan import cards_of, plan_words

    rows = [
        (
            f"{each.point.model}, {cards_of(each.point)} cards",
            plan_words(each.plan),
            each.tpot_s * 1e3,
            each.point.tpot_s * 1e3,
            each.ratio,
            each.tokens_per_s,
            BATCH / each.point.tpot_s,
            "-" if each.fitted_s is None else f"{each.fitted_s * 1e6:.3f}",
            each.other.model,
            each.other_tpot_s and each.other_tpot_s * 1e3,
            each.other_best_tpot_s and each.other_best_tpot_s * 1e3,
            each.other.tpot_s * 1e3,
        )
        for each in best
    ]
    return (
        "Our best plan for the published cards and model, 60 sequences at context 1,024\n"
        f"{terminal.table(BEST_HEADERS, rows)}"
    )


def _cells(row: "Row") -> list[object]:
    tolerance, bound = row.beside.tolerance, row.beside.bound
    within = "-" if tolerance is None else f"{100 * tolerance:g} %"
    return [
        row.beside.label,
        row.claim.value,
        row.simulated,
        row.claim.unit,
        off(row),
        bound.replace("_", " ") if bound else within,
        row.verdict,
        f"{row.claim.confidence}: {row.claim.source}",
    ]


def _settings(found: "Sequence[Fitted]") -> str:
    """Both published points of decode under each setting of collectives."""
    headers = ("collectives", "dispatch us", "8B ms, fitted", "70B ms, predicted", "off")

    def cells(each: "Fitted") -> list[object]:
        if each.dispatch_s is None or each.fitted_tpot_s is None or each.predicted_tpot_s is None:
            return [each.setting, "none", "", "", ""]
        return [
            each.setting,
            f"{each.dispatch_s * 1e6:.3f}",
            f"{each.fitted_tpot_s * 1e3:.3f}",
            f"{each.predicted_tpot_s * 1e3:.3f}",
            f"{each.off or 0.0:+.1%}",
        ]

    title = "The dispatch fitted on 8B and 70B predicted with it, under settings of collectives"
    return f"{title}\n{terminal.table(headers, [cells(each) for each in found])}"


def _legend(rows: "Sequence[Row]", sources: "Mapping[str, str]") -> str:
    used = {name for row in rows for name in row.claim.source.split(", ")}
    return "\n".join(f"{name:<5} {text}" for name, text in sources.items() if name in used)


def _plain(row: "Row") -> dict[str, object]:
    return {
        "name": row.name,
        "section": row.claim.section,
        "figure": row.beside.label,
        "unit": row.claim.unit,
        "published": row.claim.value,
        "simulated": row.simulated,
        "deviation": row.deviation,
        "tolerance": row.beside.tolerance,
        "bound": row.beside.bound,
        "verdict": row.verdict,
        "source": row.claim.source,
        "confidence": row.claim.confidence,
        "conditions": row.claim.conditions,
    }
