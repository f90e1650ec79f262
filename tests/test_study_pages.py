"""Tables of study pages that need no run are those that their scripts print."""

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def cost_rows() -> Iterator[str]:
    cost = script("cost_of_parts")
    yield from cost.bill_rows()
    yield from cost.size_rows()
    for card in ("corsair", "h100", "b200"):
        yield from cost.swing_rows(card)


def readout_rows() -> Iterator[str]:
    yield from script("analog_imc").readout_rows()


@pytest.mark.parametrize(
    ("page", "rows"), [("cost-of-parts", cost_rows), ("analog-imc", readout_rows)]
)
def test_the_tables_of_a_page_are_those_of_its_script(page: str, rows: object) -> None:
    text = (ROOT / "docs" / "studies" / f"{page}.md").read_text("utf-8")
    assert callable(rows)
    missing = [row for row in rows() if row not in text]

    assert missing == []
