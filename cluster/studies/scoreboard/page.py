"""The scoreboard as a page of the documentation."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cluster.studies.scoreboard.board import METRICS, Board, error_of, sets_of
from cluster.studies.scoreboard.operations import KINDS
from cluster.studies.scoreboard.recipe import MAX_NUM_SEQS, ROUNDS, SHORTEST


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A table of a page."""

    title: str
    headers: Sequence[str]
    rows: Sequence[Sequence[str]]
    text: str = ""


MISS = 0.2
"""Errors beyond this are listed one by one."""
SET_COLUMNS = ("device", "engine", "model", "precision", "n", "refused", "fitted")
SET_HEADERS = (
    "device", "engine", "model", "precision", "n", "not run", "fitted",
    "TPOT median", "p90", "bias", "TTFT median", "p90", "bias",
)  # fmt: skip


LOG_HEADERS = ("log", "requests", "TTFT mean", "p99", "TPOT mean", "end to end mean", "p99")
OPERATION_HEADERS = ("operation", "device", "precision", "shapes", "median", "p90", "bias")


def page_of(
    board: Board,
    title: str,
    *,
    operations: Sequence[Mapping[str, Any]] = (),
    sections: Sequence[Section] = (),
) -> str:
    """Markdown: sets, the same by tensor parallelism, logs, operations, misses, what was not run.

    ``sections`` come after the sets.
    """
    return "\n".join([*_page(board, title, operations, sections), ""])


def _page(
    board: Board,
    title: str,
    operations: Sequence[Mapping[str, Any]],
    sections: Sequence[Section],
) -> Iterator[str]:
    yield f"# {title}"
    yield ""
    yield (
        "Predicted over measured, less one. Users of a closed loop start at once and send "
        f"{ROUNDS} requests each, lengths uniform from {SHORTEST:g} of the nominal ones; where a "
        "client's protocol is not known its time to the first token is not scored. "
        f"`max_num_seqs` is in no file: {MAX_NUM_SEQS}, vLLM's default. Engines other than vLLM "
        "run by vLLM's rules with vLLM's host costs, so their errors are of another engine as "
        "well. Median and p90 are of the sizes of errors, bias is the median of signed ones. Rows "
        "that a hardware file was fitted on are counted as fitted and are in no median."
    )
    yield from table_of("Sets", SET_HEADERS, [set_cells(one) for one in board.sets])
    for section in sections:
        yield from table_of(section.title, section.headers, section.rows, section.text)
    by_tp = [[*set_cells(one)[:4], str(tp), *set_cells(one)[4:]] for tp, one in _by_tp(board)]
    headers = [*SET_HEADERS[:4], "TP", *SET_HEADERS[4:]]
    yield from table_of("By tensor parallelism", headers, by_tp)
    yield from table_of("Logs", LOG_HEADERS, log_cells(board), _LOGS)
    cells = [operation_cells(row) for row in operations]
    yield from table_of("Operations", OPERATION_HEADERS, cells, _operations_text())
    misses = [_miss_cells(row) for row in board.rows if _is_miss(row)]
    headers = ["point", "device", "engine", "model", "TP", "prompt", "output", "users", "fitted"]
    yield from table_of(f"Misses beyond {MISS:.0%}", [*headers, "TPOT", "TTFT"], misses)
    reasons = Counter(str(row["refused"]) for row in board.rows if row["refused"])
    counted = [[why, str(count)] for why, count in reasons.most_common()]
    yield from table_of("Not run", ["reason", "points"], counted)


_LOGS = "Signed errors over the requests that nothing was fitted on."


def _operations_text() -> str:
    """What of each kind is scored."""
    kinds = "; ".join(f"{kind.name}: {kind.about}" for kind in KINDS)
    return (
        "Tables of vLLM's kernels beside the device model's price of the same shape, the fastest "
        f"kernel of each shape. {kinds}."
    )


def log_cells(board: Board) -> list[list[str]]:
    """Rows of LOG_HEADERS."""
    logs = [row for row in board.rows if row["set"]["mode"] == "log"]
    names = ("ttft", "ttft_p99", "tpot", "e2e", "e2e_p99")
    return [
        [str(row["run"]), str(row["scored_requests"])]
        + [percent(error_of(row, name)) for name in names]
        for row in logs
    ]


def operation_cells(row: Mapping[str, Any]) -> list[str]:
    """A row of OPERATION_HEADERS."""
    words = (str(row[name]) for name in ("kind", "device", "precision", "n"))
    sizes = (percent(row[name], ".1%") for name in ("median", "p90"))
    return [*words, *sizes, percent(row["bias"])]


def set_cells(one: Mapping[str, Any]) -> list[str]:
    """A set as the cells of SET_HEADERS."""
    signs = {"bias": "+.1%"}
    return [
        *(str(one[name]) for name in SET_COLUMNS),
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
        *(str(row.get(name) or "-") for name in ("tp_size", "isl", "osl")), str(users),
        "yes" if row["fitted"] else "", percent(errors["tpot"]), percent(errors.get("ttft")),
    ]  # fmt: skip


def table_of(
    title: str, headers: Sequence[str], rows: Sequence[Sequence[str]], text: str = ""
) -> Iterator[str]:
    """Lines of a section with one table."""
    yield from ("", f"## {title}", "")
    if text:
        yield from (text, "")
    if not rows:
        yield "None."
        return
    for cells in (headers, ["---"] * len(headers), *rows):
        yield f"| {' | '.join(cells)} |"
