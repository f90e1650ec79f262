"""Reports of plans and of sensitivity studies: the answer first, then load, cost, limits."""

import json
from pathlib import Path

import pytest

from cluster.commands.app import main
from results.errors import ResultsError
from results.report.answers import answer_of, find_answer

PLAN = """\
name: small
model: llama-3.1-8b
plan: {tensor_parallel_size: 4, pipeline_parallel_size: 2}
slo: {tpot_s: 0.01}
workload:
  synthetic:
    requests: 20
    arrivals: {poisson: {rate_per_s: 5}}
    prompt_tokens: {fixed: 128}
    output_tokens: {fixed: 16}
"""
FEW = ("--tp", "4", "--pp", "1,2", "--max-num-seqs", "8,9", "--max-num-batched-tokens", "256")


@pytest.fixture(autouse=True)
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("small.yaml").write_text(PLAN)


def in_order(text: str, *words: str) -> bool:
    places = [text.find(word) for word in words]
    return -1 not in places and places == sorted(places)


def test_a_plan_is_headed_by_the_answer_then_load_cost_and_limits(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["plan", "small.yaml", *FEW, "--report", "plan.html"]) == 0
    said = capsys.readouterr().out
    page = Path("plan.html").read_text("utf-8")

    assert "wrote plan.html" in said
    order = (
        "In simulation the SLO is met",
        "Load against capacity",
        "Cost",
        "What limits",
        "Left out",
    )
    assert in_order(page, *order)
    assert "kW for the servers of" in page


def test_the_table_has_cards_power_and_the_bill_and_folds_what_is_alike(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["plan", "small.yaml", *FEW, "--top", "1"]) == 0
    said = capsys.readouterr().out
    assert main(["plan", "small.yaml", *FEW, "--top", "1", "--json"]) == 0
    best = json.loads(capsys.readouterr().out)["candidates"][0]

    assert in_order(said, "cards", "kW", "USD/M tokens", "USD/month")
    month = [f"{730 * best[f'cost_per_hour_usd{end}']:,.0f}" for end in ("", "_low", "_high")]
    assert f"{month[0]} ({month[1]}-{month[2]})" in said
    if best["alike"]:
        assert f"and {best['alike']} like it" in said
    assert best["power_w"] > 1000  # a host draws 1.5 kW


def test_a_study_that_was_printed_as_json_can_be_made_a_page_later(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["sensitivity", "small.yaml", "--samples", "2", "--figures", "cost.c*", "--json"]
    assert main(words) == 0
    Path("sure.json").write_text(capsys.readouterr().out)

    assert main(["report", "sure.json", "-o", "sure.html"]) == 0
    assert "The SLO is met" in capsys.readouterr().out
    page = Path("sure.html").read_text("utf-8")
    order = ("The SLO is met", "Load against capacity", "Cost", "What limits", "What it hangs on")
    assert in_order(page, *order)
    assert "of 2 draws" in page


def test_where_no_plan_meets_the_slo_the_page_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "small.yaml", *FEW, "--slo", "tpot_s=1e-9", "--report", "no.html"]) == 0
    capsys.readouterr()

    assert "No plan on 8 cards meets the SLO" in Path("no.html").read_text("utf-8")


@pytest.mark.parametrize("text", ["{", '{"kind": "other"}', "[]"])
def test_a_file_that_holds_no_study_is_refused(text: str) -> None:
    Path("other.json").write_text(text)

    with pytest.raises(ResultsError, match=r"other\.json"):
        find_answer(["other.json"])


def test_an_unknown_kind_names_those_there_are() -> None:
    with pytest.raises(ResultsError, match="plan, sensitivity, decision"):
        answer_of({"kind": "sweep"})
