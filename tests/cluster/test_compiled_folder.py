"""Machine code is loaded only from folders that only this user can change."""

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.compiled import cache

WAYS = ("CORSAIR_SIM_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA", "HOME")
owned = pytest.mark.skipif(not hasattr(os, "getuid"), reason="folders have no owner here")


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """A folder of our own that no variable names; temporary ones are made beside it."""
    cache.packaged.cache_clear()
    cache.cache_folder.cache_clear()
    for variable in WAYS:
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", "/dev/null/nowhere")
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "place").mkdir()
    yield tmp_path / "place"
    cache.packaged.cache_clear()
    cache.cache_folder.cache_clear()


def kept_in(place: Path, way: str) -> Path:
    """The folder of code where ``place`` is what a variable names."""
    below = {"CORSAIR_SIM_CACHE": "", "HOME": ".cache/corsair-sim"}.get(way, "corsair-sim")
    if way == "HOME" and sys.platform == "darwin":
        below = "Library/Caches/corsair-sim"
    return place / below / cache.source_digest()


@pytest.mark.parametrize("way", WAYS)
def test_a_folder_of_our_own_is_used_whatever_names_it(
    way: str, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(way, str(place))

    assert cache.cache_folder() == kept_in(place, way)
    assert capsys.readouterr().err == ""


@owned
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("mode", [0o777, 0o775])
def test_a_folder_that_others_can_write_is_passed_over_with_one_notice(
    way: str,
    mode: int,
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(way, str(place))
    kept_in(place, way).parent.mkdir(parents=True, exist_ok=True)
    kept_in(place, way).parent.chmod(mode)

    used = cache.cache_folder()

    assert used is not None
    assert used.is_relative_to(place.parent / "temporary")
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert f"others can write {kept_in(place, way).parent} (mode {mode:o};" in said[0]
    assert f"{used.parent} is used" in said[0]


@owned
@pytest.mark.parametrize("way", WAYS)
def test_a_folder_that_others_can_rename_is_passed_over(
    way: str, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "mine").mkdir()
    monkeypatch.setenv(way, str(place / "mine"))
    place.chmod(0o777)

    used = cache.cache_folder()

    assert used is not None
    assert not used.is_relative_to(place)
    assert f"others can write {place} (mode 777" in capsys.readouterr().err


@owned
@pytest.mark.parametrize("way", WAYS)
def test_under_a_folder_as_sticky_as_tmp_our_own_is_used(
    way: str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(way, str(place / "mine"))
    place.chmod(0o1777)

    assert cache.cache_folder() == kept_in(place / "mine", way)
    assert (place / "mine").stat().st_mode & 0o777 == 0o700


@owned
def test_a_sticky_folder_that_all_can_write_is_not_itself_the_cache(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CORSAIR_SIM_CACHE", str(place))
    place.chmod(0o1777)

    used = cache.cache_folder()

    assert used is not None
    assert not used.is_relative_to(place)


@owned
@pytest.mark.parametrize("way", WAYS)
def test_a_folder_of_another_user_is_never_used(
    way: str, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(way, str(place))
    kept_in(place, way).parent.mkdir(parents=True, exist_ok=True)
    owner = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: owner + 12345)

    assert cache.cache_folder() is None
    said = capsys.readouterr().err
    assert f"belongs to user {owner}, not to {owner + 12345}" in said
    assert said.count("no folder for compiled code can be used") == 1
    assert not kept_in(place, way).exists()


@owned
@pytest.mark.parametrize(("mode", "used"), [(0o777, False), (0o755, True)])
def test_a_symbolic_link_is_judged_by_where_it_leads(
    mode: int, used: bool, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place / "target").mkdir()
    (place / "target").chmod(mode)
    (place / "link").symlink_to("target")
    monkeypatch.setenv("CORSAIR_SIM_CACHE", str(place / "link"))

    found = cache.cache_folder()

    assert found is not None
    assert (found == place / "target" / cache.source_digest()) is used


@owned
def test_what_is_made_inside_the_folder_is_out_of_reach_of_others(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CORSAIR_SIM_CACHE", str(place))
    kept_in(place, "CORSAIR_SIM_CACHE").mkdir(mode=0o755)

    found = cache.cache_folder()

    assert found is not None
    assert found.stat().st_mode & 0o777 == 0o700
