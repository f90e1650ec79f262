"""Exports a run for other tools: vLLM's bench-serve JSON, and CSV."""

import json
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from results.api import Run
from results.errors import ResultsError, replacing

FORMATS = ("vllm", "csv")

_TEXT = pa.string()
ITLS_OMITTED = (
    "inter-token latencies are stored as a histogram, not per token; their mean, median, std and"
    " percentiles are included"
)


def export(run: Run, out: Path, *, form: str, table: str = "requests") -> int:
    """Write ``run`` to ``out`` in one of FORMATS and return the number of rows.

    The file is written atomically. ``table`` applies to CSV only.

    Raises
    ------
    ResultsError
        An unknown format or table, or a path that cannot be written.
    """
    if form == "vllm":
        write_vllm(run, out)
        return int(run.requests.num_rows)
    if form == "csv":
        return write_csv(run, out, table)
    raise ResultsError(f"unknown format {form!r}, allowed are {', '.join(FORMATS)}")


def write_vllm(run: Run, out: Path) -> None:
    """The JSON object of ``vllm bench serve --save-result --save-detailed``.

    Refused requests are recorded like vLLM's failed ones: no output, times of 0, the reason in
    ``errors``. ``itls`` is left out and ``itls_omitted`` says why; ``request_rate`` is the measured
    rate of arrivals. Our own summary keys are included beside vLLM's.
    """
    text = json.dumps(vllm_result(run), allow_nan=False)
    with replacing(out) as file:
        file.write(text.encode())


def vllm_result(run: Run) -> dict[str, object]:
    """The object that ``write_vllm`` writes."""
    requests, scenario = run.requests, run.manifest["scenario"]
    completed = pc.equal(requests["status"].cast(pa.string()), "completed")
    finished = datetime.fromisoformat(run.manifest["finished_utc"])
    return {
        "date": finished.strftime("%Y%m%d-%H%M%S"),
        "endpoint_type": "corsair-sim",
        "backend": "corsair-sim",
        "label": scenario.get("name"),
        "model_id": _model_id(scenario.get("model")),
        "tokenizer_id": None,
        "num_prompts": requests.num_rows,
        "request_rate": _offered_rate(requests),
        "burstiness": None,
        "max_concurrency": None,
        **run.summary,
        "input_lens": requests["prompt_tokens"].to_pylist(),
        "output_lens": pc.if_else(completed, requests["output_tokens"], 0).to_pylist(),
        "ttfts": requests["ttft_s"].fill_null(0.0).to_pylist(),
        "itls_omitted": ITLS_OMITTED,
        "latencies": requests["e2e_s"].fill_null(0.0).to_pylist(),
        "start_times": requests["arrival_s"].to_pylist(),
        "generated_texts": [""] * requests.num_rows,
        "errors": pc.if_else(completed, "", requests["status"].cast(pa.string())).to_pylist(),
    }


def write_csv(run: Run, out: Path, table: str = "requests") -> int:
    """Write a table as CSV with a header, nulls empty; return the number of rows."""
    content = run.table(table)
    plain = pa.table(
        [_spelled(content[name]) for name in content.column_names], names=content.column_names
    )
    options = pa_csv.WriteOptions(include_header=False)
    with replacing(out) as file:
        file.write((",".join(plain.column_names) + "\n").encode())
        pa_csv.write_csv(plain, file, options)
    return int(plain.num_rows)


def _spelled(column: Any) -> Any:
    """A column that CSV can hold: words as text, lists joined by ``; ``."""
    if pa.types.is_list(column.type):
        return pa.array([defused("; ".join(_words(each))) for each in column.to_pylist()], _TEXT)
    if pa.types.is_dictionary(column.type) or pa.types.is_string(column.type):
        words = pc.unique(column.cast(_TEXT)).to_pylist()
        if any(word and defused(word) != word for word in words):
            return pa.array([word and defused(word) for word in column.to_pylist()], _TEXT)
        return column.cast(_TEXT)
    return column


def defused(word: str) -> str:
    """Put an apostrophe before a word that a spreadsheet would run as a formula."""
    return f"'{word}" if word.startswith(("=", "+", "-", "@", "\t", "\r")) else word


def _words(value: Iterable[object] | None) -> list[str]:
    return [str(each) for each in value or ()]


def _model_id(model: object) -> str | None:
    """The model's name, whether the manifest has the name or the whole shape."""
    name = model.get("name") if isinstance(model, dict) else model
    return None if name is None else str(name)


def _offered_rate(requests: Any) -> float | None:
    """Arrivals per second, as measured; None where they all arrive at once."""
    arrivals = requests["arrival_s"]
    if requests.num_rows < 2:
        return None
    span_s = pc.max(arrivals).as_py() - pc.min(arrivals).as_py()
    return (requests.num_rows - 1) / span_s if span_s > 0 else None
