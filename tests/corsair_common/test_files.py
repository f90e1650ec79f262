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
