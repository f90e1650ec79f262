"""One progress bar: on a terminal, in a notebook, and as a few lines elsewhere."""

import io
import sys
from itertools import count
from types import SimpleNamespace

import pytest

from cluster.api import progress as module
from cluster.api.progress import Progress


class Terminal(io.StringIO):
    """A stderr that is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that is a second later at every look."""
    ticks = count()
    clock = SimpleNamespace(monotonic=lambda: float(next(ticks)))
    monkeypatch.setattr(module, "time", clock)


@pytest.mark.usefixtures("seconds")
def test_without_a_terminal_ten_minutes_are_six_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("shapes") as bar:
        for done in range(1, 601):
            bar(done, 600)
    lines = capsys.readouterr().err.splitlines()

    # After 10 s, and then after each doubling: 10, 20, 40, 80, 160 and 320 s.
    assert [int(line.split()[0]) for line in lines] == [10, 20, 40, 80, 160, 320]
    assert lines[0] == "10 of 600 shapes, about 10 min left"
    assert lines[-1] == "320 of 600 shapes, about 5 min left"


@pytest.mark.usefixtures("seconds")
def test_what_is_quick_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress() as bar:
        bar.started(3)
        bar.advanced(1_000_000_000_000, 3, 12)

    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("seconds")
def test_what_took_time_before_anything_was_done_says_nothing_about_the_rest(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with Progress("requests") as bar:
        for _ in range(15):  # compiling
            bar(0, 600)
        for done in range(1, 101):
            bar(done, 600)

    assert capsys.readouterr().err.splitlines() == [
        "0 of 600 requests",
        "5 of 600 requests, about 10 min left",
        "25 of 600 requests, about 10 min left",
        "65 of 600 requests, about 9 min left",
    ]


@pytest.mark.usefixtures("seconds")
def test_where_the_end_is_not_known_no_time_is_left(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("simulations") as bar:
        for _ in range(11):
            bar.reached(bar.done + 1, None, "64 cards fail")

    assert capsys.readouterr().err == "10 simulations; 64 cards fail\n"


def test_a_terminal_has_a_bar_and_it_is_gone_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    with Progress("requests") as bar:
        bar.started(10)
        bar.advanced(2_000_000_000_000, 5, 40)

    assert "requests" in screen.getvalue()
    assert "5/10" in screen.getvalue()
    assert screen.getvalue().endswith("\x1b[2K")  # the line is erased


def test_a_notebook_has_the_bar_of_tqdm(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shell = type("ZMQInteractiveShell", (), {"config": {}})()
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    with Progress("points") as bar:
        bar.started(4)
        bar.advanced({"status": "completed"})
        assert bar.done == 1

    assert "points" in capsys.readouterr().err


def test_a_bar_that_is_not_shown_writes_nothing_and_still_counts(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with Progress(shown=False, notes=False) as bar:
        bar.started(2, 1)
        bar.advanced({"status": "completed"})
        bar.noted("something")

    assert (bar.done, bar.total) == (2, 2)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("given", "said"), [(5, "5 s"), (600, "10 min"), (9000, "2.5 h")])
def test_durations_are_words(given: float, said: str) -> None:
    assert module.clock(given) == said
