"""The packages are top-level, and no other distribution claims their names."""

import importlib
import resource
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("corsair_sim", "cluster", "corsair_common", "results", "topology", "workloads")


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_is_imported_from_this_tree(package: str) -> None:
    module = importlib.import_module(package)

    assert module.__file__ is not None
    assert Path(module.__file__).parent == ROOT / package
    assert (ROOT / package / "py.typed").is_file()


def test_no_other_distribution_claims_our_names() -> None:
    claims = metadata.packages_distributions()

    for package in PACKAGES:
        assert set(claims.get(package, ["corsair-sim"])) <= {"corsair-sim"}, package


def test_constraints_pin_every_direct_dependency_by_name_and_version_only() -> None:
    pins = dict(
        line.split("==")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if line and not line.startswith("#")
    )
    required = metadata.requires("corsair-sim") or []
    names = {
        requirement.split(">=")[0].strip().lower()
        for requirement in required
        if "extra == 'dev'" not in requirement and 'extra == "dev"' not in requirement
    }

    assert {_canonical(name.split(";")[0]) for name in names} <= {_canonical(pin) for pin in pins}
    assert all(version.strip().replace(".", "").isalnum() for version in pins.values())


def _canonical(name: str) -> str:
    return name.strip().lower().replace(".", "-").replace("_", "-")


def test_help_takes_less_than_a_second_of_processor_time_and_imports_nothing_heavy() -> None:
    code = (
        "import sys; from cluster.commands.app import main; main(['--help']);"
        "names = {'numpy', 'pyarrow', 'networkx', 'numba', 'ray', 'pydantic.main'};"
        "heavy = names & set(sys.modules);"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert answer.returncode == 0, answer.stderr
    assert "serve" in answer.stdout
    assert 0 < cpu_s < 1
