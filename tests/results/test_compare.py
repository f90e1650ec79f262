"""Two runs side by side."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from results import ResultsError, open_run
from results.compare import differences, metrics


@pytest.fixture
def pair(
    write_run: Callable[..., Path],
    tmp_path: Path,
    tables: dict[str, Any],
    make_manifest: Callable[..., dict[str, object]],
) -> tuple[Path, Path]:
    """The same run twice, but the second serves twice as much on a slower clock."""
    first = write_run(tmp_path, make_manifest("first1"), tables)
    other = make_manifest("second", "renamed")
    other["hardware"] = {"card.clock_hz": {"value": 8e8, "unit": "Hz", "confidence": "assumed"}}
    tables["cards"] = ()
    throughput = tables["summary"]["output_throughput"]
    assert isinstance(throughput, float)
    changed = {**tables["summary"], "output_throughput": 2 * throughput}
    second = write_run(tmp_path, other, {**tables, "summary": changed})
    return first, second


def test_settings_that_differ_are_named_and_a_name_is_not_a_difference(
    pair: tuple[Path, Path],
) -> None:
    rows = differences([open_run(path) for path in pair])

    assert [(row.key, row.values) for row in rows] == [("hardware.card.clock_hz", (1e9, 8e8))]


def test_a_change_is_counted_from_the_first_run(pair: tuple[Path, Path]) -> None:
    rows = {row.key: row for row in metrics([open_run(path) for path in pair])}

    assert rows["output_throughput"].changes[0] is None
    assert rows["output_throughput"].changes[1] == pytest.approx(1.0)
    assert rows["output_throughput"].verdict(1) == "better"
    assert rows["mean_ttft_ms"].changes == (None, 0.0)
    assert rows["mean_ttft_ms"].verdict(1) == ""
    assert "joules_per_output_token" not in rows, "what no run has is no row"


def test_less_of_a_latency_is_better(pair: tuple[Path, Path]) -> None:
    second, first = (open_run(path) for path in pair)
    rows = {row.key: row for row in metrics([first, second])}

    assert rows["output_throughput"].verdict(1) == "worse"


def test_one_run_is_nothing_to_compare(pair: tuple[Path, Path]) -> None:
    with pytest.raises(ResultsError, match="two or more at a time, got 1"):
        metrics([open_run(pair[0])])
