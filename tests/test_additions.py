"""What CONTRIBUTING.md says of additions: the name of an addition stands in so many files."""

import ast
from collections import defaultdict
from functools import cache
from pathlib import Path

import pytest

from cluster.perf_model.collectives import ALGORITHMS
from cluster.perf_model.devices import MODULES
from cluster.scenario.routers import ROUTERS, STATELESS
from cluster.serving.reference.router import Router
from topology.catalog.kinds import KINDS

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("cluster", "topology", "workloads", "results", "corsair_sim", "corsair_common")


@cache
def files_by_word() -> dict[str, set[str]]:
    """The product files in which a string constant stands."""
    found = defaultdict(set)
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found[node.value].add(str(path.relative_to(ROOT)))
    return found


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("burstgpt", {"workloads/readers/published_formats.py"}),
        ("mxfp8_e5m2", {"workloads/formats/registry.py"}),
        ("least_kv", {"cluster/scenario/routers.py", "cluster/serving/reference/router.py"}),
        ("kv_transfer_s", {"results/schema/serving.py", "results/engine_columns.py"}),
        ("max_output_tokens_per_s", {"results/schema/serving.py", "results/summary.py"}),
    ],
)
def test_a_name_stands_where_an_addition_would_and_nowhere_else(name: str, files: set[str]) -> None:
    assert files_by_word()[name] == files


def test_every_algorithm_is_a_file_and_every_file_an_algorithm() -> None:
    folder = ROOT / "cluster/perf_model/collectives/algorithms"

    assert {path.stem for path in folder.glob("*.py")} - {"__init__", "rounds"} == set(ALGORITHMS)


def test_every_kind_of_device_is_a_folder() -> None:
    folder = ROOT / "cluster/perf_model/devices"

    assert tuple(MODULES) == KINDS
    assert {path.parent.name for path in folder.glob("*/__init__.py")} == set(MODULES.values())


def test_a_router_without_a_rule_in_the_reference_is_refused_there() -> None:
    assert set(STATELESS) < set(ROUTERS)
    with pytest.raises(ValueError, match="the reference has no rule for the router 'nearest'"):
        Router("nearest", [])._choose(None)  # type: ignore[arg-type]
