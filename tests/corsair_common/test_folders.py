import os
import subprocess
import sys
from pathlib import Path

import pytest

from corsair_common import folders
from corsair_common.folders import hidden_folder, publish, standing, sweep


def finished(root: Path, name: str, content: str) -> Path:
    folder, lock = hidden_folder(root, name)
    (folder / "file").write_text(content)
    os.close(lock)
    return folder


def crashed(root: Path, name: str) -> Path:
    """A folder left behind by a process that died while it wrote."""
    code = (
        "import os, pathlib, sys\n"
        "from corsair_common.folders import hidden_folder\n"
        "folder, _ = hidden_folder(pathlib.Path(sys.argv[1]), sys.argv[2])\n"
        "print(folder, flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(root), name], capture_output=True, text=True, check=False
    )
    return Path(done.stdout.strip())


def test_publishing_replaces_what_stood_there(tmp_path: Path) -> None:
    publish(finished(tmp_path, "run", "old"), "run")
    target = publish(finished(tmp_path, "run", "new"), "run")

    assert (target / "file").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_two_writers_of_one_process_have_folders_of_their_own(tmp_path: Path) -> None:
    first, second = finished(tmp_path, "run", "a"), finished(tmp_path, "run", "b")
    publish(first, "run")
    target = publish(second, "run")

    assert (target / "file").read_text() == "b"


def test_a_crash_between_the_renames_leaves_the_old_folder_to_be_found(tmp_path: Path) -> None:
    old = finished(tmp_path, "run", "old")
    old.rename(tmp_path / ".old-run-4194305")

    found = standing(tmp_path, "run")
    assert found is not None
    assert (found / "file").read_text() == "old"

    sweep(tmp_path)
    assert (tmp_path / "run" / "file").read_text() == "old"


def test_sweeping_removes_the_old_folder_once_the_new_one_exists(tmp_path: Path) -> None:
    finished(tmp_path, "run", "old").rename(tmp_path / ".old-run-4194305")
    publish(finished(tmp_path, "run", "new"), "run")
    sweep(tmp_path)

    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert (tmp_path / "run" / "file").read_text() == "new"


def test_sweeping_removes_dead_writers_and_keeps_living_ones_and_foreign_files(
    tmp_path: Path,
) -> None:
    dead = crashed(tmp_path, "run")
    alive, lock = hidden_folder(tmp_path, "run")
    foreign = tmp_path / ".tmp-notes"
    foreign.mkdir()
    assert dead.is_dir()

    sweep(tmp_path)
    os.close(lock)

    assert sorted(tmp_path.iterdir()) == sorted([alive, foreign])


def test_a_missing_folder_has_no_standing_run(tmp_path: Path) -> None:
    assert standing(tmp_path / "nowhere", "run") is None


def test_an_interrupt_before_the_lock_leaves_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_path: Path) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(folders, "_lock_of", interrupted)
    with pytest.raises(KeyboardInterrupt):
        hidden_folder(tmp_path, "run")

    assert list(tmp_path.iterdir()) == []
