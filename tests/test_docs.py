"""The pages say what is true: every command runs, and the site builds without a warning.

In a page's ```sh blocks a line that begins with ``corsair-sim`` is run, in order, in a folder with
the examples in it; RUN stands for the newest run and OTHER_RUN for the one before it. What follows
``<!-- slow -->`` takes longer than a few seconds and is run with ``-m soak``.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.commands.app import main

ROOT = Path(__file__).resolve().parents[1]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
DATA = ROOT / ".." / "shared" / "data"
FENCE = re.compile(r"(?P<slow><!-- slow -->\s*)?^ *```sh\n(?P<body>.*?)^ *```", re.M | re.S)
REAL = re.compile(r"[A-Za-z0-9_]+\.(?:csv|jsonl)")
"""Names of traces; those in the data folder are set beside the scenario."""
OURS = re.compile(r" *from (corsair_sim|cluster|results|topology|workloads)[. ]")
"""A line that imports from a package of ours."""
FUNCTIONS = ("load", "simulate", "replay", "sweep", "plan", "open_run", "open_sweep")
PRIVATE = re.compile(r"from (cluster|results) import|from cluster\.")
"""A line that takes from elsewhere what ``corsair_sim`` has."""


def commands(page: Path, *, slow: bool) -> Iterator[tuple[str, list[str]]]:
    """Each command of a page, as it stands and in words, without ``corsair-sim``."""
    for fence in FENCE.finditer(page.read_text("utf-8")):
        if bool(fence["slow"]) is not slow:
            continue
        for line in fence["body"].replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words and words[0] == "corsair-sim":
                yield line.strip(), words[1:]


def pages_with(*, slow: bool) -> list[Path]:
    return [page for page in PAGES if any(commands(page, slow=slow))]


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", pages_with(slow=False), ids=named)
def test_every_command_of_the_page_runs(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert list(failures(page, capsys, slow=False)) == []


@pytest.mark.soak
@pytest.mark.parametrize("page", pages_with(slow=True), ids=named)
def test_every_slow_command_of_the_page_runs(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert list(failures(page, capsys, slow=True)) == []


def failures(page: Path, capsys: pytest.CaptureFixture[str], *, slow: bool) -> Iterator[str]:
    """Run a page's commands in this folder; those that end as the page does not say, and why."""
    shutil.copytree(ROOT / "examples", "examples")
    for line, words in commands(page, slow=slow):
        for name in REAL.findall(line):
            bring(Path(name))
        code = main([standing_for(word) for word in words])
        if code != (3 if "# refused" in line else 0):
            yield f"{line}\n{code}: {capsys.readouterr().err}"


def test_every_question_of_the_duckdb_page_is_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import duckdb

    monkeypatch.chdir(tmp_path)
    page = ROOT / "docs/how-to/ask-duckdb.md"
    assert list(failures(page, capsys, slow=False)) == []

    questions = re.findall(r"```sql\n(.*?)```", page.read_text("utf-8"), re.S)
    assert len(questions) == 10
    for question in questions:
        assert duckdb.execute(question).fetchall(), question


def bring(place: Path) -> None:
    """Set a real trace beside the scenario, where the page speaks of one."""
    if place.exists():
        return
    found = list(DATA.rglob(place.name))
    if found:
        place.symlink_to(found[0].resolve())
    elif not DATA.is_dir() and place.name.startswith(("Azure", "mooncake")):
        pytest.skip("../shared/data is not there")


def standing_for(word: str) -> str:
    """A run of the folder that we are in, where a page says RUN or OTHER_RUN."""
    if word not in ("RUN", "OTHER_RUN"):
        return word
    runs = sorted(Path("results/runs").iterdir(), key=lambda run: run.stat().st_mtime)
    return str(runs[-1 if word == "RUN" else -2])


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    build = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert build.returncode == 0, build.stderr
    assert "WARNING" not in build.stderr
    reference = (tmp_path / "site" / "reference" / "scenario" / "index.html").read_text("utf-8")
    assert "max_num_batched_tokens" in reference
    python = (tmp_path / "site" / "reference" / "python" / "index.html").read_text("utf-8")
    assert all(f'<h2 id="{name}">' in python for name in FUNCTIONS)
    assert "(<code>mean_ttft_ms</code> in ms" in python  # from a docstring


def test_every_page_is_in_the_navigation(tmp_path: Path) -> None:
    from mkdocs.config import load_config

    sys.path.insert(0, str(ROOT / "docs"))
    try:
        config = load_config(str(ROOT / "mkdocs.yml"), site_dir=str(tmp_path))
        config = config.plugins.on_config(config)
    finally:
        sys.path.remove(str(ROOT / "docs"))
    shown = set(leaves(config.nav))

    for page in (ROOT / "docs").rglob("*.md"):
        assert str(page.relative_to(ROOT / "docs")) in shown, page


def leaves(nav: object) -> Iterator[str]:
    if isinstance(nav, dict):
        nav = list(nav.values())
    if isinstance(nav, list):
        for item in nav:
            yield from leaves(item)
    elif isinstance(nav, str):
        yield nav


def test_pages_and_notebooks_import_public_names_and_only_what_there_is() -> None:
    lines = [line for page in PAGES for line in page.read_text("utf-8").splitlines()]
    for notebook in sorted((ROOT / "results" / "notebooks").glob("*.ipynb")):
        cells = json.loads(notebook.read_text("utf-8"))["cells"]
        lines += [line for cell in cells for line in "".join(cell["source"]).splitlines()]
    imports = {line.strip() for line in lines if OURS.match(line)}

    assert any(line.startswith("from corsair_sim import") for line in imports)
    for line in sorted(imports):
        assert not PRIVATE.match(line), line
        names: dict[str, object] = {}
        exec(line, names)
        assert len(names) > 1, line
