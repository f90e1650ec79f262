"""Which of two plans is better, in how many draws: on plans whose answer is known."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from cluster import load
from cluster.commands.app import main
from cluster.scenario.schema import Scenario
from cluster.studies.decision import COST, decide
from cluster.studies.draws import SensitivityError

TINY: Mapping[str, Any] = {
    "name": "tiny",
    "model": "llama-3.1-8b",
    "plan": {"tensor_parallel_size": 4, "pipeline_parallel_size": 2},
    "workload": {
        "synthetic": {
            "requests": 3,
            "arrivals": {"constant": {"rate_per_s": 1.0}},
            "prompt_tokens": {"fixed": 64},
            "output_tokens": {"fixed": 4},
        }
    },
}


def plan(**changes: Any) -> Scenario:
    return load({**TINY, **changes})


def test_half_of_the_servers_at_the_same_rate_are_cheaper_in_every_draw(tmp_path: Path) -> None:
    two = {"servers_per_rack": 2}
    found = decide(plan(), plan(cluster=two), samples=6, figures=("cost.*",), out=tmp_path)

    assert found.overall.share == 1.0
    assert (found.overall.first, found.overall.second, found.overall.draws) == (6, 0, 6)
    assert found.metrics[COST].share == 1.0
    assert found.unlike == ()


def test_equal_plans_are_better_in_no_draw(tmp_path: Path) -> None:
    found = decide(plan(), plan(name="other"), samples=3, figures=("cost.*",), out=tmp_path)

    assert (found.overall.first, found.overall.second) == (0, 0)


def test_the_slo_comes_before_the_metric(tmp_path: Path) -> None:
    cheap, dear = plan(), plan(cluster={"servers_per_rack": 2})
    tight = {"ttft_s": 1e-6}  # no first token comes within a microsecond
    found = decide(
        plan(slo=tight), plan(cluster={"servers_per_rack": 2}, slo={"ttft_s": 1.0}), samples=2,
        figures=("cost.*",), out=tmp_path,
    )  # fmt: skip

    assert cheap.slo == dear.slo
    assert found.metrics[COST].share == 1.0
    assert found.overall.share == 0.0
    assert found.unlike == ("slo",)


def test_both_plans_see_the_same_machines(tmp_path: Path) -> None:
    found = decide(plan(), plan(cluster={"servers_per_rack": 2}), samples=4, out=tmp_path)
    drawn = [
        [row["hardware_set.cost.card_usd"] for row in each.drawn if row is not None]
        for each in (found.first, found.second)
    ]

    assert drawn[0] == drawn[1]


def test_a_metric_without_a_better_end_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SensitivityError, match=r"no better end of 'cards'.*p99_ttft_ms"):
        decide(plan(), plan(), by="cards", out=tmp_path)
    with pytest.raises(SensitivityError, match="at least one draw"):
        decide(plan(), plan(), samples=0, out=tmp_path)


def test_the_command_says_who_wins_and_writes_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("one.yaml").write_text(json.dumps({**TINY, "name": "one"}))
    Path("two.yaml").write_text(
        json.dumps({**TINY, "name": "two", "cluster": {"servers_per_rack": 2}})
    )
    words = ["sensitivity", "one.yaml", "--against", "two.yaml", "--samples", "2"]
    words += ["--figures", "cost.*"]

    assert main([*words, "--report", "page.html"]) == 0
    assert "one beats two in 100% of 2 draws" in capsys.readouterr().out
    assert "one beats two in 100% of 2 draws" in Path("page.html").read_text()
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["first_better"] == 1.0
