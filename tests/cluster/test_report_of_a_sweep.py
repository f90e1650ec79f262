"""The report of a sweep says what is best, what did not run and why."""

from pathlib import Path
from typing import Any

import pytest

from cluster import sweep
from cluster.commands.app import main
from results.report.sweeps import find_sweep, sweep_html

TINY: dict[str, Any] = {
    "name": "seats",
    "base": {
        "model": "llama-3.1-8b",
        "plan": {"tensor_parallel_size": 4, "pipeline_parallel_size": 2},
        "workload": {
            "synthetic": {
                "requests": 6,
                "arrivals": {"concurrency": 4},
                "prompt_tokens": {"fixed": 64},
                "output_tokens": {"fixed": 4},
            }
        },
    },
    "axes": {
        "scheduler.max_num_seqs": [1, 4],
        "model": ["llama-3.1-8b", "llama-3.1-70b"],
    },
}


def test_the_best_point_is_first_and_infeasible_points_are_listed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = sweep(TINY, out=tmp_path / "seats")
    best = done.best("output_throughput")[0]

    assert main(["report", str(tmp_path / "seats"), "-o", str(tmp_path / "out.html")]) == 0
    said = capsys.readouterr().out
    text = (tmp_path / "out.html").read_text()

    assert best["scheduler.max_num_seqs"] == 4, "four users at once are quicker than one by one"
    assert "scheduler.max_num_seqs 4" in said
    assert "2 infeasible: llama-3.1-70b" in text, "reasons that differ in numbers alone are one"
    assert "does not fit" in text
    assert text.index("Not run") < text.index("Figures") < text.index("Points")
    assert text.count('<div class="figure"') == 2  # the Pareto front, and by max_num_seqs


def test_a_run_is_no_sweep(tmp_path: Path) -> None:
    assert find_sweep([str(tmp_path)]) is None
    assert find_sweep(["one", "two"]) is None


def test_a_sweep_of_which_nothing_is_done_has_a_page_too(tmp_path: Path) -> None:
    stopped = sweep(TINY, out=tmp_path / "none", limit=1)

    assert "pending" in sweep_html(stopped)
