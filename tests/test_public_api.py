"""What users import: ``corsair_sim`` shows its names, is cheap, and finds our own packages."""

import inspect
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import corsair_sim
from cluster import replay_trace
from cluster.commands.app import COMMANDS
from cluster.studies.plan.ranking import OBJECTIVES

ROOT = Path(__file__).resolve().parents[1]
FUNCTIONS = (
    *("load", "simulate", "replay", "sweep", "plan", "sensitivity", "decide", "compare_tco"),
    *("open_run", "open_sweep"),
)
IMPORT = ("-c", "from corsair_sim import load")


def python(*words: str, cwd: Path, first: Path | None = None) -> "subprocess.CompletedProcess[str]":
    """Run Python in ``cwd`` with ``first`` on its path before our root."""
    path = os.pathsep.join(str(folder) for folder in (first, ROOT) if folder)
    return subprocess.run(
        [sys.executable, *words],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def foreign_results(tmp_path: Path) -> Path:
    """A folder in which a user keeps a script called results.py."""
    (tmp_path / "results.py").write_text("raise SystemExit('imported a file of the user')\n")
    return tmp_path


def test_dir_shows_the_public_names_and_nothing_else() -> None:
    shown = dir(corsair_sim)

    assert set(FUNCTIONS) <= set(shown)
    assert shown == sorted(corsair_sim.__all__)


@pytest.mark.parametrize("name", corsair_sim.__all__)
def test_every_public_name_can_be_had_and_has_a_docstring(name: str) -> None:
    assert inspect.getdoc(getattr(corsair_sim, name))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_function_says_what_it_returns_and_raises_and_has_an_example(name: str) -> None:
    text = inspect.getdoc(getattr(corsair_sim, name)) or ""

    assert all(f"{section}\n---" in text for section in ("Returns", "Raises", "Examples"))
    assert f"from corsair_sim import {name}" in text or f", {name}" in text


def test_every_parameter_of_a_function_is_described_where_there_are_several() -> None:
    for name in ("load", "simulate", "replay", "sweep", "plan", "sensitivity", "decide"):
        function = getattr(corsair_sim, name)
        described = (inspect.getdoc(function) or "").replace(", ", "\n").splitlines()
        assert set(inspect.signature(function).parameters) <= set(described), name


def test_plan_names_every_objective() -> None:
    text = inspect.getdoc(corsair_sim.plan) or ""

    assert all(f"``{name}``" in text for name in OBJECTIVES)


def test_replay_is_the_same_function_under_its_public_name() -> None:
    assert corsair_sim.replay is replay_trace


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(AttributeError, match="no attribute 'simulat'; nearest: simulate"):
        _ = corsair_sim.simulat  # type: ignore[attr-defined]


def test_importing_corsair_sim_imports_nothing_heavy_and_none_of_the_other_packages(
    tmp_path: Path,
) -> None:
    code = (
        "import sys, corsair_sim; dir(corsair_sim);"
        "heavy = {'numpy', 'numba', 'ray', 'pyarrow', 'networkx', 'pydantic'};"
        "ours = {'cluster', 'topology', 'workloads', 'results'};"
        "print(*sorted((heavy | ours) & set(sys.modules)))"
    )
    done = python("-c", code, cwd=tmp_path)

    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "", "")


def test_a_script_called_results_in_the_current_folder_is_named_with_the_remedy(
    foreign_results: Path,
) -> None:
    done = python(*IMPORT, cwd=foreign_results)
    last = done.stderr.splitlines()[-1]

    assert done.returncode == 1
    assert last.startswith("corsair_sim.import_check.PackageConflictError: corsair-sim needs its")
    assert f"first: {foreign_results / 'results.py'}. Rename it" in last
    assert issubclass(corsair_sim.PackageConflictError, ImportError)


def test_the_command_ends_with_2_where_a_foreign_package_comes_first(foreign_results: Path) -> None:
    done = python("-m", "corsair_sim", "serve", "--json", cwd=foreign_results)
    answer = json.loads(done.stdout)

    assert (done.returncode, answer["exit_code"]) == (2, 2)
    assert done.stderr == f"corsair-sim: error: {answer['error']}\n"
    assert str(foreign_results / "results.py") in answer["error"]


def test_another_distribution_is_named_with_the_command_that_removes_it(tmp_path: Path) -> None:
    site = tmp_path / "site-packages"
    info = site / "clusterer-1.4.dist-info"
    for folder in (site / "cluster", info):
        folder.mkdir(parents=True)
    (site / "cluster" / "__init__.py").write_text("")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: clusterer\nVersion: 1.4\n")
    (info / "top_level.txt").write_text("cluster\n")

    done = python("-m", "corsair_sim", "--help", cwd=tmp_path, first=site)

    assert done.returncode == 2
    assert str(site / "cluster" / "__init__.py") in done.stderr
    assert (
        "pip uninstall clusterer, then reinstall corsair-sim (pip install --force-reinstall)"
        in done.stderr
    )


def test_packages_that_were_overwritten_or_are_missing_are_all_named(tmp_path: Path) -> None:
    mark = "# A package of corsair-sim\n"
    for name, text in (("cluster", "print('another')\n"), ("topology", mark), ("workloads", mark)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(text)
    (tmp_path / "corsair_sim").symlink_to(ROOT / "corsair_sim")
    code = (
        f"import sys, pathlib; sys.path.insert(0, {str(tmp_path)!r});"
        "from corsair_sim.import_check import check_packages;"
        f"check_packages(pathlib.Path({str(tmp_path)!r}))"
    )
    done = python("-I", "-S", "-c", code, cwd=tmp_path)  # no site-packages

    first, second = done.stderr.splitlines()[-2:]
    assert f"'cluster' of corsair-sim was overwritten by another one: {tmp_path}" in first
    assert second.startswith(f"package 'results' of corsair-sim is missing from {tmp_path}")


def test_a_folder_of_results_beside_the_user_is_no_conflict(tmp_path: Path) -> None:
    (tmp_path / "results" / "runs").mkdir(parents=True)  # where runs land by default
    done = python("-m", "corsair_sim", "--help", cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Usage: corsair-sim ")
    assert all(f"\n  {name} " in done.stdout for name in COMMANDS)


def test_the_installed_command_starts_where_packages_are_checked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))

    assert project["project"]["scripts"] == {"corsair-sim": "corsair_sim.cli:command"}
    assert "corsair_sim" in project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
