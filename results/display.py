"""Reprs of runs, sweeps and plans: one line of text, and a small table in a notebook."""

from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path
from types import MappingProxyType
from typing import Any

from results.schema import CANDIDATES, Column, every_metric

Facts = Mapping[str, Any]
"""Values by label; those that are None are left out."""

LONGEST = 200
"""Most characters of a value in one line: a path fits, a name of a thousand letters does not."""
SERVING = (
    "completed",
    "rejected",
    "duration",
    "mean_ttft_ms",
    "p99_ttft_ms",
    "mean_tpot_ms",
    "p99_tpot_ms",
    "output_throughput",
    "goodput",
    "joules_per_output_token",
    "cost_per_million_output_tokens_usd",
)
REPLAYED = (
    "operations",
    "ranks",
    "steps",
    "makespan_s",
    "mean_step_s",
    "compute_share",
    "communication_share",
    "bubble_share",
    "joules_per_output_token",
)
PLANNED = (
    "tensor_parallel_size",
    "pipeline_parallel_size",
    "replicas",
    "memory_mode",
    "weights",
    "kv",
    "max_num_seqs",
    "max_num_batched_tokens",
    "cards",
    "ttft_ms",
    "tpot_ms",
    "output_throughput",
    "joules_per_output_token",
    "cost_per_million_output_tokens_usd",
)
"""Key figures of a serving run, of a replay, and of a plan's best candidate: names of columns."""
BRIEF = frozenset(
    {
        "completed",
        "mean_ttft_ms",
        "mean_tpot_ms",
        "output_throughput",
        "operations",
        "makespan_s",
        "mean_step_s",
        "tensor_parallel_size",
        "pipeline_parallel_size",
        "replicas",
        "ttft_ms",
        "tpot_ms",
    }
)
"""Those that the one-line form also shows."""


def line(kind: str, facts: Facts, figures: Facts = MappingProxyType({})) -> str:
    """One line, as ``Run(name='chat', completed=20)``, with the brief ones among the figures.

    >>> line("Run", {"name": "chat", "path": None}, {"completed": 20, "duration": 3.1})
    "Run(name='chat', completed=20)"
    """
    shown = {**facts, **{name: value for name, value in figures.items() if name in BRIEF}}
    words = (f"{name}={_short(value)}" for name, value in shown.items() if value is not None)
    return f"{kind}({', '.join(words)})"


def table(kind: str, facts: Facts, figures: Facts = MappingProxyType({})) -> str:
    """An HTML table for notebooks: a row per fact; figures with their meanings beside them."""
    rows = [_row(name, value, "") for name, value in facts.items() if value is not None]
    rows += [
        _row(name, value, _MEANINGS.get(name, ""))
        for name, value in figures.items()
        if value is not None
    ]
    return f"<table><caption>{escape(kind)}</caption>{''.join(rows)}</table>"


def run_figures(summary: Facts) -> dict[str, Any]:
    """Key figures out of the summary of a serving run or of a replay."""
    return _chosen(summary, REPLAYED if "makespan_s" in summary else SERVING)


def run_facts(name: str, summary: Facts, run_dir: Path | None) -> dict[str, Any]:
    """Name and id of a run; ``run_dir`` is None before it is saved."""
    return {"name": name, "run_id": summary["run_id"], "run_dir": _text(run_dir)}


def plan_figures(best: Facts) -> dict[str, Any]:
    """Key figures of a row of the table ``candidates``; none where no candidate serves."""
    return _chosen(best, PLANNED)


def _chosen(values: Facts, names: Iterable[str]) -> dict[str, Any]:
    return {name: values[name] for name in names if values.get(name) is not None}


def _meanings(columns: Iterable[Column]) -> dict[str, str]:
    return {
        column.name: f"{column.unit}: {column.meaning}" if column.unit else column.meaning
        for column in columns
    }


_MEANINGS = _meanings([*CANDIDATES.columns, *every_metric()])


def _row(name: str, value: object, meaning: str) -> str:
    cells = (_text(value) or "", meaning)
    rest = "".join(f'<td style="text-align: left">{escape(cell)}</td>' for cell in cells)
    return f'<tr><th style="text-align: left">{escape(name)}</th>{rest}</tr>'


def _short(value: object) -> str:
    text = repr(value) if isinstance(value, str) else _text(value) or ""
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


def _text(value: object) -> str | None:
    """A value as text: four digits of a fraction, integers in full."""
    if value is None:
        return None
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1e4 else f"{value:.0f}"
    return str(value)
