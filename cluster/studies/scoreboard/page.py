"""The scoreboard as a page of the documentation."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cluster.studies.scoreboard.board import METRICS, Board, error_of, sets_of
from cluster.studies.scoreboard.recipe import MAX_NUM_SEQS, ROUNDS, SHORTEST

MISS = 0.2
"""Errors beyond this are listed one by one."""
SET_HEADERS = (
    "device", "engine", "model", "precision", "n", "not run",
    "TPOT median", "p90", "bias", "TTFT median", "p90", "bias",
)  # fmt: skip


def page_of(board: Board, title: str) -> str:
    """Markdown: sets, the same by tensor parallelism, every miss, and what was not run."""
    return "\n".join([*_page(board, title), ""])


def _page(board: Board, title: str) -> Iterator[str]:
    yield f"# {title}"
    yield ""
    yield (
        "Predicted over measured, less one. Users of a closed loop start at once and send "
        f"{ROUNDS} requests each, lengths uniform from {SHORTEST:g} of the nominal ones; where a "
        "client's protocol is not known its time to the first token is not scored. "
        f"`max_num_seqs` is in no file: {MAX_NUM_SEQS}, vLLM's default. Bias is the median of "
        "signed errors."
    )
    yield from _section("Sets", SET_HEADERS, [set_cells(one) for one in board.sets])
    by_tp = [[*set_cells(one)[:3], str(tp), *set_cells(one)[4:]] for tp, one in _by_tp(board)]
    headers = [*SET_HEADERS[:3], "TP", *SET_HEADERS[4:]]
    yield from _section("By tensor parallelism", headers, by_tp)
    misses = [_miss_cells(row) for row in board.rows if _is_miss(row)]
    headers = ["point", "device", "engine", "model", "users", "TPOT", "TTFT"]
    yield from _section(f"Misses beyond {MISS:.0%}", headers, misses)
    reasons = Counter(str(row["refused"]) for row in board.rows if row["refused"])
    counted = [[why, str(count)] for why, count in reasons.most_common()]
    yield from _section("Not run", ["reason", "points"], counted)


def set_cells(one: Mapping[str, Any]) -> list[str]:
    """A set as the cells of SET_HEADERS."""
    signs = {"bias": "+.1%"}
    return [
        *(str(one[name]) for name in ("device", "engine", "model", "precision", "n", "refused")),
        *(
            percent(one[f"{metric}_{name}"], signs.get(name, ".1%"))
            for metric in METRICS
            for name in ("median", "p90", "bias")
        ),
    ]


def percent(value: float | None, form: str = "+.1%") -> str:
    """A fraction in per cent, - where there is none."""
    return "-" if value is None else format(value, form).replace("%", " %")


def _by_tp(board: Board) -> list[tuple[int, Mapping[str, Any]]]:
    """Sets of one device, engine and model by ``tp_size``."""
    widths = sorted({int(row.get("tp_size") or 0) for row in board.rows} - {0})
    return [
        (width, one)
        for width in widths
        for one in sets_of([row for row in board.rows if row.get("tp_size") == width])
    ]


def _is_miss(row: Mapping[str, Any]) -> bool:
    return any(abs(error_of(row, metric) or 0.0) > MISS for metric in _scored(row))


def _scored(row: Mapping[str, Any]) -> Sequence[str]:
    return METRICS if row["scores_ttft"] else METRICS[:1]


def _miss_cells(row: Mapping[str, Any]) -> list[str]:
    errors = {metric: error_of(row, metric) for metric in _scored(row)}
    point = row["set"]
    users = row.get("concurrency") or row.get("batch_size") or "-"
    return [
        str(row.get("id") or row.get("run")), point["device"], point["engine"], point["model"],
        str(users), percent(errors["tpot"]), percent(errors.get("ttft")),
    ]  # fmt: skip


def _section(title: str, headers: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield from ("", f"## {title}", "")
    if not rows:
        yield "None."
        return
    for cells in (headers, ["---"] * len(headers), *rows):
        yield f"| {' | '.join(cells)} |"
