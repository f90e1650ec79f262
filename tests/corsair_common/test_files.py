import fcntl
import os
from pathlib import Path

import pytest

from corsair_common.files import WriteError, replacing, write_text
from results.errors import ResultsError
from results.errors import replacing as replacing_results


def test_a_replaced_file_is_the_new_one_and_nothing_else_is_left(tmp_path: Path) -> None:
    target = tmp_path / "out.json"
    target.write_text("old")
    with replacing(target) as file:
        file.write(b"new")

    assert target.read_text() == "new"
    assert list(tmp_path.iterdir()) == [target]


def test_a_failure_half_way_keeps_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "out.json"
    target.write_text("old")

    def write_half() -> None:
        with replacing(target) as file:
            file.write(b"ne")
            raise KeyError

    with pytest.raises(KeyError):
        write_half()

    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("where", [".", "no/such/folder/out.json"])
def test_a_path_that_cannot_be_written_is_named_in_each_package_s_own_error(
    tmp_path: Path, where: str
) -> None:
    with (
        pytest.raises(ResultsError, match="cannot write") as caught,
        replacing_results(tmp_path / where),
    ):
        pass
    with pytest.raises(WriteError, match="cannot be written") as refused:
        write_text(tmp_path / where, "x")

    assert caught.value.exit_code == refused.value.exit_code == 2


def test_a_failed_write_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()

    with pytest.raises(WriteError, match="taken: cannot be written"):
        write_text(tmp_path / "taken", "x")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_a_temporary_file_has_no_name_that_a_link_could_wait_at(tmp_path: Path) -> None:
    names = set()
    for _ in range(2):
        with replacing(tmp_path / "out.json") as file:
            file.write(b"x")
            names |= {path.name for path in tmp_path.glob(".tmp-out.json-*")}

    assert len(names) == 2
    assert all(len(name) == len(".tmp-out.json-") + 16 for name in names)


def test_what_killed_writers_left_is_removed_once_it_is_old_and_free(tmp_path: Path) -> None:
    old, new, held, other = (
        tmp_path / f".tmp-{name}" for name in ("a.csv-1", "a.csv-2", "a.csv-3", "b.csv-1")
    )
    for path in (old, new, held, other):
        path.touch()
    for path in (old, held, other):
        os.utime(path, (1e9, 1e9))
    with held.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with replacing(tmp_path / "a.csv"):
            pass

    assert sorted(path.name for path in tmp_path.glob(".tmp-*")) == [
        ".tmp-a.csv-2",
        ".tmp-a.csv-3",
        ".tmp-b.csv-1",
    ]


def test_a_device_is_never_replaced_by_a_file() -> None:
    with pytest.raises(WriteError, match="a device or pipe"):
        write_text("/dev/null", "x")
    assert not Path("/dev/null").is_file()
