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


def claim_rows() -> Iterator[str]:
    page, table = script("gpu_claims_page"), script("gpu_claims_csv")
    study = page.Study(table.read_csv(ROOT / "docs" / "studies" / "gpu-claims.csv"))
    for rows in page.TABLES.values():
        yield from rows(study)


@pytest.mark.parametrize(
    ("page", "rows"),
    [("cost-of-parts", cost_rows), ("analog-imc", readout_rows), ("gpu-claims", claim_rows)],
)
def test_the_tables_of_a_page_are_those_of_its_script(page: str, rows: object) -> None:
    text = (ROOT / "docs" / "studies" / f"{page}.md").read_text("utf-8")
    assert callable(rows)
    missing = [row for row in rows() if row not in text]

    assert missing == []


def test_a_line_of_the_file_of_claims_is_what_plan_scores_today() -> None:
    claims, table = script("gpu_claims"), script("gpu_claims_csv")
    lines = table.read_csv(ROOT / "docs" / "studies" / "gpu-claims.csv")
    best = claims.best_of(claims.scored(*claims.question("llama-3.1-8b", "h200")))
    published = [
        (line, best[line["metric"], line["tpot_ms_bound"] or 0.0][0])
        for line in lines
        if (line["model"], line["device"]) == ("llama-3.1-8b", "h200")
    ]

    assert len(published) > 40
    for line, scored in published:
        assert line["value"] == pytest.approx(scored, rel=1e-3), line["metric"]
