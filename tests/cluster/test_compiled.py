"""Machine code is kept between processes, and never outlives the source it was made from."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.compiled import cache, compiled
from corsair_common.private_folders import CACHE_VARIABLE, private_temporary

KERNEL = """\
from cluster.compiled import announced, compiled
from cluster.helper import NUMBER

@compiled
def answer(times):
    return NUMBER * times

if __name__ == "__main__":
    with announced():
        print(answer(2))
"""


@pytest.fixture
def small_package(tmp_path: Path) -> Path:
    """A package of the same name with the real decorator, kernel, helper and other module."""
    package = tmp_path / "cluster"
    package.mkdir()
    ignored = shutil.ignore_patterns("__pycache__", "code")
    shutil.copytree(Path(cache.__file__).parent, package / "compiled", ignore=ignored)
    (package / "__init__.py").touch()
    (package / "kernel.py").write_text(KERNEL)
    (package / "helper.py").write_text("NUMBER = 21\n")
    (package / "unrelated.py").write_text("OTHER = 1\n")
    return package


@pytest.fixture
def fresh_folder() -> Iterator[None]:
    """Forget the folder that was found before, and afterwards the one found in the test."""
    cache.packaged.cache_clear()
    cache.cache_folder.cache_clear()
    yield
    cache.packaged.cache_clear()
    cache.cache_folder.cache_clear()


def run_kernel(package: Path, **environment: str) -> tuple[str, str]:
    """Run the kernel in a process of its own; what it printed on stdout and stderr.

    Without bytecode files: Python takes one for current if its source was edited within a second
    and kept its length.
    """
    kept = {key: value for key, value in os.environ.items() if not key.startswith("NUMBA")}
    done = subprocess.run(
        [sys.executable, "-B", "-m", "cluster.kernel"],
        cwd=package.parent,
        env=kept | {"CORSAIR_SIM_CACHE": str(package.parent / "kept")} | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout, done.stderr


def test_an_edited_helper_is_compiled_anew_though_the_kernel_file_is_the_same(
    small_package: Path,
) -> None:
    first = run_kernel(small_package)
    again = run_kernel(small_package)
    (small_package / "helper.py").write_text("NUMBER = 50\n")
    edited = run_kernel(small_package)

    assert first == ("42\n", "compiling the engine, once, about 20 seconds\n")
    assert again == ("42\n", "")
    assert edited == ("100\n", "compiling the engine, once, about 20 seconds\n")


def test_a_second_checkout_elsewhere_with_newer_files_finds_the_code_of_the_first(
    small_package: Path, tmp_path: Path
) -> None:
    kept = str(tmp_path / "kept")
    run_kernel(small_package, CORSAIR_SIM_CACHE=kept)
    second = tmp_path / "elsewhere" / "cluster"
    shutil.copytree(small_package, second, ignore=shutil.ignore_patterns("__pycache__"))
    for path in second.iterdir():
        os.utime(path, (1e9, 1e9))

    assert run_kernel(second, CORSAIR_SIM_CACHE=kept) == ("42\n", "")


def test_damaged_code_is_compiled_anew(small_package: Path, tmp_path: Path) -> None:
    first = run_kernel(small_package)
    (kept,) = (tmp_path / "kept").glob("*/answer-*.bin")
    whole = kept.read_bytes()
    kept.write_bytes(whole[: len(whole) // 2])

    assert run_kernel(small_package) == first
    assert run_kernel(small_package) == ("42\n", "")


def test_without_a_home_the_code_is_kept_in_a_private_temporary_folder(
    small_package: Path,
) -> None:
    nowhere = "/dev/null/nowhere"
    temporary = small_package.parent / "temporary"
    temporary.mkdir()

    said = run_kernel(
        small_package,
        CORSAIR_SIM_CACHE="",
        HOME=nowhere,
        XDG_CACHE_HOME=nowhere,
        TMPDIR=str(temporary),
    )

    assert said[0] == "42\n"
    assert list(temporary.glob("corsair-sim-*/*/*.bin"))


def test_the_same_source_runs_uncompiled(small_package: Path) -> None:
    assert run_kernel(small_package, NUMBA_DISABLE_JIT="1") == ("42\n", "")


def test_the_digest_covers_kernels_and_what_they_import_but_no_other_module(
    small_package: Path,
) -> None:
    (small_package / "other.py").write_text("from cluster import (\n    compiled, second\n)\n")
    (small_package / "second.py").write_text("OTHER = 2\n")

    assert set(cache._kernel_sources(small_package)) == {
        "cluster",
        "cluster.compiled",
        "cluster.compiled.cache",
        "cluster.compiled.compiler",
        "cluster.compiled.kernel",
        "cluster.compiled.loader",
        "cluster.compiled.signature",
        "cluster.helper",
        "cluster.kernel",
        "cluster.other",
        "cluster.second",
    }


def test_the_digest_covers_constants_that_all_packages_share(small_package: Path) -> None:
    shared = small_package.parent / "corsair_common"
    shared.mkdir()
    (shared / "units.py").write_text("PS_PER_S = 1e12\n")
    (shared / "files.py").write_text("")
    (small_package / "helper.py").write_text("from corsair_common.units import PS_PER_S\n")

    found = cache._kernel_sources(small_package)

    assert {name for name in found if not name.startswith("cluster")} == {"corsair_common.units"}


def test_bounds_checking_has_machine_code_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(cache.BOUNDS_VARIABLE, "0")
    without = cache.source_digest()
    monkeypatch.setenv(cache.BOUNDS_VARIABLE, "1")

    assert cache.source_digest() != without


@pytest.mark.usefixtures("fresh_folder")
def test_the_chosen_folder_is_taken_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "mine"))

    assert cache.cache_folder() == tmp_path / "mine" / cache.source_digest()


@pytest.mark.usefixtures("fresh_folder")
def test_where_nothing_can_be_written_there_is_one_notice_and_no_failure(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(cache, "_roots", lambda: iter([tmp_path / "file"]))

    @compiled
    def doubled(value: int) -> int:
        return 2 * value

    assert doubled(4) == 8
    assert cache.cache_folder() is None
    assert capsys.readouterr().err.count("no folder for compiled code") == 1


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="folders have no owner here")
def test_a_temporary_folder_that_others_can_write_is_not_trusted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    private = private_temporary()
    assert private is not None
    private.chmod(0o777)

    assert private_temporary() is None
