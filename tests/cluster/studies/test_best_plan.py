"""Our best plan beside the published points, and results that beat one."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from cluster import load
from cluster.commands.app import main
from cluster.perf_model.calibrate import EIGHT_B, SEVENTY_B, predict
from cluster.scenario.resolve import Resolved, resolve
from cluster.studies.best_plan import Best, beaten, best_plans, plan_words
from workloads.plan import Plan

PAGE = Path(__file__).resolve().parents[3] / "docs" / "validation.md"
USERS = {
    "requests": 120,
    "arrivals": {"concurrency": 60},
    "prompt_tokens": {"fixed": 32},
    "output_tokens": {"fixed": 1000},
}


@pytest.fixture(scope="module")
def best() -> tuple[Best, ...]:
    return best_plans()


def served(**changes: object) -> Resolved:
    """60 users of the 8B on 8 cards."""
    plan = {"tensor_parallel_size": 1, "pipeline_parallel_size": 8}
    scenario = {"model": "llama-3.1-8b", "plan": plan, "workload": {"synthetic": USERS}}
    return resolve(load({**scenario, **changes}))


def test_no_plan_of_the_published_cards_is_faster_than_the_best(best: tuple[Best, ...]) -> None:
    for each in best:
        cards = each.plan.cards
        assert (cards, each.point) in ((8, EIGHT_B), (64, SEVENTY_B))
        for tensor in (1, 2, 4, 8):
            plan = Plan(tensor_parallel_size=tensor, pipeline_parallel_size=cards // tensor)
            assert predict(replace(each.point, plan=plan)).tpot_s >= each.tpot_s


def test_with_the_dispatch_fitted_there_the_best_plan_takes_the_published_time(
    best: tuple[Best, ...],
) -> None:
    for each in best:
        assert each.fitted_s is not None
        there = predict(replace(each.point, plan=each.plan), each.fitted_s)
        assert there.tpot_s == pytest.approx(each.point.tpot_s, rel=1e-6)
        assert each.other_tpot_s == predict(each.other, each.fitted_s).tpot_s
        assert each.other_best_tpot_s is not None
        assert each.other_best_tpot_s <= each.other_tpot_s


def test_the_page_shows_the_best_plans_as_they_are_computed(best: tuple[Best, ...]) -> None:
    expected = []
    for each in best:
        assert each.fitted_s is not None
        assert each.other_tpot_s is not None
        assert each.other_best_tpot_s is not None
        assert each.other_best is not None
        expected.append(
            f"| {each.point.model}, {each.plan.cards} cards | {plan_words(each.plan)}"
            f" | {each.tpot_s * 1e3:.3f} | {each.point.tpot_s * 1e3:.1f} | {each.ratio:.2f}"
            f" | {each.tokens_per_s:,.0f} | {60 / each.point.tpot_s:,.0f}"
            f" | {each.fitted_s * 1e6:.3f} | {each.other_tpot_s * 1e3:.2f}"
            f" | {each.other_best_tpot_s * 1e3:.2f} ({plan_words(each.other_best)}) |"
        )
    shown = [line for line in PAGE.read_text("utf-8").splitlines() if " cards | TP " in line]

    assert shown == expected


@pytest.mark.parametrize(
    ("cards", "tpot_ms", "tokens_per_s", "flagged"),
    [
        (8, 0.99, 60_500.0, True),
        (4, 0.99, 60_500.0, True),  # with fewer cards all the more
        (8, 0.999, 60_100.0, False),  # the published figures are rounded
        (8, 0.5, 30_000.0, False),  # fewer users
        (8, 2.0, 90_000.0, False),  # more users
        (16, 0.5, 120_000.0, False),  # more cards
        (8, None, 90_000.0, False),
    ],
)
def test_a_result_is_optimistic_if_it_beats_a_published_point_in_both_tpot_and_tokens(
    cards: int, tpot_ms: float | None, tokens_per_s: float, flagged: bool
) -> None:
    said = beaten(served(), cards, tpot_ms, tokens_per_s)

    assert bool(said) == flagged
    assert not flagged or said == (
        "faster than the vendor's published 1.0 ms and 60,000 tokens/s for llama-3.1-8b on 8 "
        "cards: treat as optimistic"
    )


def test_other_hardware_figures_and_models_have_no_published_point_to_beat() -> None:
    others = (
        {"hardware": "raptor"},
        {"hardware_set": {"card.dispatch_s": 1e-7}},
        {"model": "qwen3-1.7b"},
    )
    assert [beaten(served(**other), 8, 0.5, 90_000.0) for other in others] == ["", "", ""]


def test_check_and_plan_warn_of_a_result_that_beats_the_vendor(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # The best plan of 8 cards takes 0.6 of the published time.
    path = tmp_path / "users.yaml"
    scenario = {
        "name": "users",
        "model": "llama-3.1-8b",
        "plan": {"tensor_parallel_size": 1, "pipeline_parallel_size": 8},
        "workload": {"synthetic": USERS},
    }
    path.write_text(json.dumps(scenario))

    assert main(["check", str(path), "--json"]) == 0
    assert "treat as optimistic" in json.loads(capsys.readouterr().out)["beats_published"]
    assert main(["check", str(path)]) == 0
    assert "Warning: faster than the vendor's" in capsys.readouterr().out
    assert main(["plan", str(path), "--simulate", "0", "--json"]) == 0
    best = json.loads(capsys.readouterr().out)["candidates"][0]
    assert "treat as optimistic" in best["beats_published"]
    assert main(["plan", str(path), "--simulate", "0"]) == 0
    assert "tokens/s for llama-3.1-8b on 8 cards: treat as optimistic" in capsys.readouterr().out
