import subprocess
import sys

import pytest

from results.schema import TABLES, Table


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_every_column_has_one_name_and_a_meaning_in_words(table: Table) -> None:
    names = [column.name for column in table.columns]

    assert len(set(names)) == len(names)
    assert all(column.meaning.endswith(".") for column in table.columns)


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_a_name_that_ends_in_a_unit_has_that_unit(table: Table) -> None:
    endings = {"_per_s": "/s", "_ps": "ps", "_s": "s", "_ms": "ms", "_w": "W", "_tokens": "tokens"}
    for column in table.columns:
        ending = next((end for end in endings if column.name.endswith(end)), None)
        if ending is not None:
            assert column.unit.endswith(endings[ending]), column.name


def test_the_steps_are_whole_numbers_so_that_sums_are_exact() -> None:
    assert {column.type for column in TABLES["steps"].columns} == {"int64"}


def test_declaring_and_summarising_do_not_load_pyarrow() -> None:
    code = "import sys, results, results.schema, results.summary; print('pyarrow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "False"
