"""The report in a real Chromium, without a network; where there is none, the skip says so."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from results import open_run
from results.report import write_report

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
QUIET = (
    *("--no-sandbox", "--disable-gpu", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--no-first-run"),
)
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None,
    reason="NO CHROMIUM HERE: that a report draws, sorts and fits a phone is NOT tested",
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as tools:
        opened = tools.chromium.launch(executable_path=CHROMIUM, args=list(QUIET))
        yield opened
        opened.close()


@needs_chromium
@pytest.mark.parametrize("width", [1280, 390])
def test_it_draws_offline_without_a_word_on_the_console_and_fits_the_screen(
    browser: Any, run_folder: Path, tmp_path: Path, width: int
) -> None:
    page, said = opened(browser, write_report([open_run(run_folder)], tmp_path / "r.html"), width)
    for figure in page.query_selector_all(".figure"):
        figure.scroll_into_view_if_needed()
    page.wait_for_function("!document.querySelector('.figure:not([data-drawn])')", timeout=20_000)

    assert page.locator(".figure[data-drawn=yes] svg").count() >= 4
    assert page.locator(".figure[data-drawn=no]").count() == 0
    assert said == []
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    ends = "[...document.querySelectorAll('svg')].map(e => e.getBoundingClientRect().right)"
    assert max(page.evaluate(ends)) <= width, "no chart is cut off, nor its legend"


@needs_chromium
def test_a_table_sorts_by_keyboard_and_a_chart_tells_values_on_hover(
    browser: Any, run_folder: Path, tmp_path: Path
) -> None:
    page, said = opened(browser, write_report([open_run(run_folder)], tmp_path / "r.html"), 1280)
    column = (
        "[...document.querySelector('table').tBodies[0].rows].map(r => r.cells[1].dataset.value)"
    )
    button = page.locator("table").first.locator("th button").nth(1)
    button.focus()
    page.keyboard.press("Enter")
    ascending = [float(value) for value in page.evaluate(column) if value]
    page.keyboard.press("Enter")
    descending = [float(value) for value in page.evaluate(column) if value]
    page.locator(".figure").nth(3).scroll_into_view_if_needed()
    bar = page.locator(".figure[data-drawn=yes] .mark-rect path").first
    bar.hover(timeout=20_000)
    page.wait_for_selector("#vg-tooltip-element.visible", timeout=20_000)

    assert ascending == sorted(ascending)
    assert descending == ascending[::-1]
    assert said == []


def opened(browser: Any, path: Path, width: int) -> tuple[Any, list[str]]:
    """The page in a window of that width that has no network, and what it says on the console."""
    context = browser.new_context(viewport={"width": width, "height": 900}, offline=True)
    page, said = context.new_page(), list[str]()
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(f"file://{os.fspath(path.resolve())}")
    return page, said


@needs_chromium
def test_a_figure_of_a_notebook_shows_without_a_network(
    browser: Any, run_folder: Path, tmp_path: Path
) -> None:
    source = f"from results import open_run\nopen_run({str(run_folder)!r}).draw('latency_cdf')"
    v4: Any = nbformat.v4  # without types
    notebook = v4.new_notebook(cells=[v4.new_code_cell(source)])
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    (output,) = notebook.cells[0].outputs
    html = tmp_path / "cell.html"
    html.write_text(output["data"]["image/svg+xml"])

    page, said = opened(browser, html, 1280)
    box = page.locator("svg").first.bounding_box()

    assert "text/html" not in output["data"], "Altair's own form loads scripts from a server"
    assert any(kind.startswith("application/vnd.vegalite") for kind in output["data"])
    assert box["width"] > 300
    assert page.locator("svg .mark-line path").count() >= 1
    assert said == []
