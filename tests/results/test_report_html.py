"""The page of a report: what stands in it, and that nothing in a run can break out of it."""

import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from results import ResultsError, open_run
from results.engine_columns import link_columns
from results.report import report_html, write_report
from results.report.html import Quantity, number, table


class Tags(HTMLParser):
    """Collects tags and what they refer to; void elements need no end."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.refers: list[str] = []
        self.astray: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "link", "br", "wbr"):
            self.open.append(tag)
        self.refers += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        if self.open.pop() != tag:
            self.astray.append(tag)


def test_a_page_is_well_formed_and_refers_to_nothing_outside(run_folder: Path) -> None:
    tags = Tags()
    tags.feed(report_html([open_run(run_folder)]))

    assert (tags.open, tags.astray) == ([], [])
    assert all(reference.startswith(("#", "data:")) for reference in tags.refers)


def test_it_says_first_what_limits_then_numbers_figures_assumptions_and_the_command(
    run_folder: Path,
) -> None:
    text = report_html([open_run(run_folder)])
    order = ['class="verdict"', "In numbers", "Figures", "Assumptions", "Reproduce"]

    assert [text.index(mark) for mark in order] == sorted(text.index(mark) for mark in order)
    assert "corsair-sim serve" in text


def test_words_of_a_run_cannot_become_tags(
    write_run: Callable[..., Path],
    tmp_path: Path,
    tables: dict[str, Any],
    make_manifest: Callable[..., dict[str, object]],
) -> None:
    evil = "</script><script>alert(1)</script>"
    run = open_run(write_run(tmp_path, make_manifest("evil", evil), tables))

    assert evil not in report_html([run])
    assert "&lt;/script&gt;" in report_html([run])


def test_two_runs_stand_side_by_side_with_their_changes(
    write_run: Callable[..., Path],
    tmp_path: Path,
    tables: dict[str, Any],
    make_manifest: Callable[..., dict[str, object]],
) -> None:
    parts = list(tables["cards"])
    folders = [
        write_run(tmp_path, make_manifest(name), {**tables, "cards": iter(parts)})
        for name in ("first1", "second")
    ]
    text = report_html([open_run(folder) for folder in folders])

    assert "Settings that differ" in text
    assert set(re.findall(r'href="#run-(\w+)"', text)) == {"first1", "second"}


def test_links_without_a_map_are_no_hindrance(
    write_run: Callable[..., Path],
    tmp_path: Path,
    tables: dict[str, Any],
    make_manifest: Callable[..., dict[str, object]],
) -> None:
    edges = np.array([0, 10**12])
    load = link_columns(edges, np.array([5]), np.array([10**11]))
    links = {"link": 0, "link_name": "0>1", "kind": "ring", **load}
    text = report_html([open_run(write_run(tmp_path, make_manifest(), {**tables, "links": links}))])

    assert "The busiest links" in text
    assert "Link utilisation" not in text


def test_no_run_makes_no_report(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match="at least one"):
        write_report([], tmp_path / "none.html")
    assert not list(tmp_path.iterdir())


def test_a_cell_keeps_the_number_that_it_sorts_by() -> None:
    text = table(("what", "value"), [("a", 12345.678), ("b", None)])

    assert 'data-value="12345.678">12,346<' in text
    assert 'data-value="">-<' in text


def test_long_names_may_be_broken_but_not_before_a_unit_of_one_letter() -> None:
    text = table(("mean_ttft_ms",), [("server.pcie_latency_s",)])

    assert "mean_<wbr>ttft_<wbr>ms" in text
    assert "server.<wbr>pcie_<wbr>latency_s<" in text


@pytest.mark.parametrize(
    ("value", "unit", "said"),
    [
        (4e-7, "s", "400 ns"),
        (1e-6, "s", "1 us"),
        (128e9, "B/s", "128 GB/s"),
        (0.0, "s", "0 s"),
        (4321.0, "s", "4,321 s"),
        (999.9e9, "B/s", "999.9 GB/s"),
        (1e21, "B/s", "1,000,000 PB/s"),
        (0.85, "fraction", "0.85 fraction"),
        (2.0, "", "2"),
    ],
)
def test_quantities_take_the_prefix_that_leaves_few_digits(
    value: float, unit: str, said: str
) -> None:
    assert str(Quantity(value, unit)) == said
    assert f'data-value="{value!r}">{said}<' in table(("x",), [(Quantity(value, unit),)])


@pytest.mark.parametrize(
    ("value", "said"),
    [(0.0, "0"), (3, "3"), (12345, "12,345"), (0.123456, "0.1235"), (1e5, "100,000")],
)
def test_numbers_have_four_figures(value: float, said: str) -> None:
    assert number(value) == said
