"""What the first screen of README.md says is what its script makes."""

import json
from pathlib import Path

import pytest

from benchmarks import readme, readme_tables
from benchmarks.readme_question import SIDES, Side

DATA = Path(__file__).parents[2] / "shared" / "data"
TRACE = DATA / "traces" / "AzureLLMInferenceTrace_conv.csv"
RECORD = json.loads(readme.RECORD.read_text("utf-8"))


@pytest.mark.parametrize("name", readme_tables.TABLES)
def test_a_block_of_the_first_screen_is_what_its_script_writes(name: str) -> None:
    wanted = "\n".join(readme_tables.TABLES[name](RECORD))

    assert f"<!-- table {name} -->\n{wanted}\n<!-- end -->" in readme.README.read_text("utf-8")


@pytest.mark.slow
@pytest.mark.soak
@pytest.mark.data
@pytest.mark.skipif(not TRACE.is_file(), reason="Azure's hour of conversations is not here")
@pytest.mark.parametrize("side", SIDES, ids=[side.title for side in SIDES])
def test_the_question_has_the_answer_of_the_first_screen(side: Side) -> None:
    found = json.loads(json.dumps(readme.answer(side, str(TRACE))))

    assert found == RECORD[side.title]
