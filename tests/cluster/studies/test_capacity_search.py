"""Searches for the fewest cards and the highest rate against a simulation of every candidate."""

import json
import os
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from random import Random
from typing import Any, TypeAlias

import pytest

from cluster.perf_model.memory import DoesNotFit
from cluster.scenario.load import load
from cluster.scenario.memory_modes import Memory, Mode
from cluster.scenario.schema import Cluster, PlanSettings, Scenario, Scheduler, Slo
from cluster.studies import capacity_search
from cluster.studies.capacity import CLOSE, NoCapacityError, clusters
from cluster.studies.capacity_search import fewest_cards
from cluster.studies.plan.objective import Objective, cards_of
from cluster.studies.plan.simulations import Simulations
from cluster.studies.plan.space import Choices
from cluster.studies.rate_search import highest_rate

Problem: TypeAlias = tuple[Scenario, Objective, Choices]

EXAMPLES = int(os.environ.get("CORSAIR_SIM_EXAMPLES", "20"))
MOST_CARDS = 8
WIDEST = (64, 512)
"""Largest max_num_seqs and token budget of the problems."""
MODEL = {
    "model_type": "llama",
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "num_hidden_layers": 8,
    "vocab_size": 16384,
    "max_position_embeddings": 8192,
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small Llama: every plan of the problems fits one card."""
    folder = tmp_path_factory.mktemp("model")
    (folder / "config.json").write_text(json.dumps(MODEL))
    return folder


@pytest.fixture(autouse=True)
def one_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """Searches end at one server, as the simulations of every candidate do."""
    monkeypatch.setattr(
        capacity_search,
        "clusters",
        lambda scenario: [each for each in clusters(scenario) if cards_of(each) <= MOST_CARDS],
    )


def problem(seed: int, model: Path) -> Problem:
    """Random traffic, bounds and choices; from far below one card's capacity to beyond eight."""
    draw = Random(seed)
    kind = draw.choice(["poisson", "gamma", "constant"])
    arrivals: dict[str, Any] = {"rate_per_s": 10 ** draw.uniform(2.0, 4.5)}
    if kind == "gamma":
        arrivals["burstiness"] = draw.choice([0.2, 0.5])
    prompts, answers = draw.choice([64, 256, 1024]), draw.choice([4, 32, 128])
    scenario = load(
        {
            "model": str(model),
            "cluster": {"cards_per_server": MOST_CARDS},
            "formats": {"weights": draw.choice(["mxint8", "mxint4"]), "kv": "mxint8"},
            "workload": {
                "synthetic": {
                    "requests": draw.choice([30, 80, 150]),
                    "arrivals": {kind: arrivals},
                    "prompt_tokens": lengths(draw, prompts),
                    "output_tokens": lengths(draw, answers),
                }
            },
            "seed": seed,
        }
    )
    bounds = {"ttft_s": 10 ** draw.uniform(-2.7, -0.7), "tpot_s": 10 ** draw.uniform(-4.0, -2.5)}
    kept = draw.choice([("ttft_s",), ("tpot_s",), ("ttft_s", "tpot_s"), ("ttft_s", "tpot_s")])
    modes: tuple[Mode, ...] = ("performance", "capacity")
    return (
        scenario,
        Objective(
            slo=Slo(**{name: bounds[name] for name in kept}),
            attainment=draw.choice([None, None, 0.9]),
        ),
        Choices(
            tensor_parallel_size=tuple(draw.sample([1, 2, 4], 2)),
            pipeline_parallel_size=tuple(draw.sample([1, 2, 4], 2)),
            max_num_seqs=tuple(draw.sample([4, 16, 64], 2)),
            max_num_batched_tokens=tuple(draw.sample([64, 128, 512], draw.choice([1, 2]))),
            memory_mode=draw.choice([modes[:1], modes[1:], modes]),
        ),
    )


def lengths(draw: Random, tokens: int) -> dict[str, Any]:
    """All alike, or with a long tail."""
    tail = {"mean": 1.3 * tokens, "p50": tokens, "maximum": 6 * tokens}
    return draw.choice([{"fixed": tokens}, {"lognormal": tail}])


def candidates(
    scenario: Scenario, choices: Choices, size: Cluster, rate_scale: float = 1.0
) -> Iterator[Scenario]:
    """Every candidate of a cluster that is filled with replicas."""
    for group, stages, seqs, budget, mode in product(
        choices.tensor_parallel_size or (),
        choices.pipeline_parallel_size or (),
        choices.max_num_seqs,
        choices.max_num_batched_tokens,
        choices.memory_mode or (),
    ):
        replicas = cards_of(size) // (group * stages)
        if replicas and seqs >= stages:
            yield scenario.model_copy(
                update={
                    "cluster": size,
                    "plan": PlanSettings(
                        tensor_parallel_size=group, pipeline_parallel_size=stages, replicas=replicas
                    ),
                    "memory": Memory(mode=mode),
                    "scheduler": Scheduler(max_num_seqs=seqs, max_num_batched_tokens=budget),
                    "workload": scenario.workload.model_copy(update={"rate_scale": rate_scale}),
                }
            )


def any_meets(simulations: Simulations, scenarios: Iterator[Scenario]) -> bool:
    """Whether one of them meets the objective."""
    for scenario in scenarios:
        try:
            if simulations.verdict(scenario, early=True).meets:
                return True
        except DoesNotFit:
            continue
    return False


def least_by_force(scenario: Scenario, objective: Objective, choices: Choices) -> int | None:
    simulations = Simulations(objective=objective, widest=WIDEST)
    return next(
        (
            cards_of(size)
            for size in clusters(scenario)
            if cards_of(size) <= MOST_CARDS
            and any_meets(simulations, candidates(scenario, choices, size))
        ),
        None,
    )


def test_the_fewest_cards_are_those_of_a_simulation_of_every_candidate(model: Path) -> None:
    answers = []
    for seed in range(EXAMPLES):
        scenario, objective, choices = problem(seed, model)
        expected = least_by_force(scenario, objective, choices)
        try:
            found = fewest_cards(scenario, objective, choices)
        except NoCapacityError:
            assert expected is None, f"problem {seed}: {expected} cards, none found"
            continue
        answers.append(found.answer.cards)
        assert found.answer.cards == expected, f"problem {seed}"
        assert found.answer.meets, f"problem {seed}"
        assert all(each.cards <= found.answer.cards for each in found.bounds), f"problem {seed}"

    assert set(answers) >= {1, 2, 4}  # problems of every size


@pytest.mark.parametrize("seed", [1, 2])
def test_no_candidate_meets_the_objective_at_a_higher_rate_than_the_highest(
    model: Path, seed: int
) -> None:
    drawn, _, choices = problem(seed, model)
    scenario = load(
        drawn.model_dump(mode="json", exclude_defaults=True),
        workload={"synthetic": {"requests": 600}},
    )
    objective = Objective(slo=Slo(ttft_s=0.004, tpot_s=0.001))

    found = highest_rate(scenario, objective, choices)

    assert found.answer.meets
    assert found.beyond is not None
    assert not found.beyond.meets
    simulations, beyond = Simulations(objective=objective), found.answer.rate_scale * CLOSE * 1.03
    others = candidates(scenario, choices, scenario.cluster, beyond)
    assert not any_meets(simulations, others)


def test_a_run_that_is_given_up_or_shares_prices_has_the_verdict_of_a_whole_one(
    model: Path,
) -> None:
    given_up = 0
    for seed in range(6):
        scenario, objective, choices = problem(seed, model)
        shared = Simulations(objective=objective, widest=WIDEST)
        for each in candidates(scenario, choices, Cluster(cards_per_server=4)):
            try:
                early = shared.verdict(each, early=True)
            except DoesNotFit:
                continue
            whole = Simulations(objective=objective).verdict(each, early=False)
            assert early.meets is whole.meets
            if early.given_up is None:
                assert early.summary["p99_ttft_ms"] == whole.summary["p99_ttft_ms"]
                assert early.summary["p99_tpot_ms"] == whole.summary["p99_tpot_ms"]
            given_up += early.given_up is not None

    assert given_up > 5
