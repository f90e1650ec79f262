"""``check`` prints the score of the scenario's own choices: equal to plan's, and near serve."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cluster import load, plan, replay_trace, simulate
from cluster.commands.app import main
from cluster.scenario.schema import PlanSettings
from cluster.studies.plan.estimate import FIGURES
from cluster.studies.plan.space import Choices
from workloads.program import program_of
from workloads.program.file import write_program

Content = dict[str, Any]

PIPELINE = {"tensor_parallel_size": 4, "pipeline_parallel_size": 2}


def scenario(**changes: Any) -> Content:
    """Llama-3.1-8B on a server, 20 equal requests a second."""
    return {
        "model": "llama-3.1-8b",
        "plan": PIPELINE,
        "scheduler": {"max_num_seqs": 60, "max_num_batched_tokens": 512},
        "workload": traffic(),
        **changes,
    }


def traffic(**changes: Any) -> Content:
    synthetic = {
        "requests": 300,
        "arrivals": {"poisson": {"rate_per_s": 20}},
        "prompt_tokens": {"fixed": 512},
        "output_tokens": {"fixed": 128},
        **changes,
    }
    return {"synthetic": synthetic}


@pytest.fixture
def check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    def checked(content: Content, *words: str) -> Any:
        path = tmp_path / "mine.yaml"
        path.write_text(json.dumps(content), "utf-8")
        assert main(["check", str(path), *words]) == 0
        out = capsys.readouterr().out
        return json.loads(out) if "--json" in words else out

    return checked


def scored(content: Content) -> Content:
    """What ``plan`` says of the scenario's own choices."""
    requested = load(content)
    own, scheduler = requested.plan, requested.scheduler
    assert isinstance(own, PlanSettings)
    choices = Choices(
        tensor_parallel_size=(own.tensor_parallel_size,),
        pipeline_parallel_size=(own.pipeline_parallel_size,),
        expert_parallel_size=(own.expert_parallel_size,),
        replicas=None if own.replicas == "auto" else (own.replicas,),
        memory_mode=(requested.memory.mode,),
        weights=(requested.formats.weights,),
        kv=(requested.formats.kv,),
        max_num_seqs=(scheduler.max_num_seqs,),
        max_num_batched_tokens=(scheduler.max_num_batched_tokens,),
    )
    found = plan(requested, load_at="offered", choices=choices)
    return max(found.candidates, key=lambda each: each["replicas"])


CASES = {
    "two stages": scenario(),
    "one stage": scenario(plan={"tensor_parallel_size": 8}),
    "streamed": scenario(
        plan={"tensor_parallel_size": 8},
        memory={"mode": "capacity"},
        workload=traffic(arrivals={"poisson": {"rate_per_s": 5}}),
    ),
    "two replicas": scenario(plan={"tensor_parallel_size": 8}, cluster={"servers_per_rack": 2}),
    "a replica beside idle cards": scenario(
        plan={**PIPELINE, "replicas": 1}, cluster={"servers_per_rack": 2}
    ),
    "a closed loop": scenario(
        plan={"tensor_parallel_size": 8}, workload=traffic(arrivals={"concurrency": 24})
    ),
    "experts where they fit": scenario(
        model="gpt-oss-20b",
        plan={"tensor_parallel_size": 8, "expert_parallel_size": 8},
        formats={"weights": "mxint4"},
        memory={"mode": "auto"},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_check_says_what_plan_says_to_the_last_digit_and_serve_nearly(
    check: Any, case: str
) -> None:
    content = CASES[case]

    found, candidate = check(content, "--json"), scored(content)
    summary = simulate(content).summary

    assert {name: found[name] for name in FIGURES} == {name: candidate[name] for name in FIGURES}
    assert found["tpot_ms"] == pytest.approx(summary["mean_tpot_ms"], rel=0.1)
    assert found["output_throughput"] == pytest.approx(summary["output_throughput"], rel=0.1)


def test_check_plan_and_serve_agree_on_a_light_load(check: Any) -> None:
    # The full batch of 60, which nobody sees at this load, would decode in 1.0 ms.
    found, summary = check(scenario(), "--json"), simulate(scenario()).summary

    assert found["tpot_ms"] == scored(scenario())["tpot_ms"]
    assert found["tpot_ms"] == pytest.approx(summary["mean_tpot_ms"], rel=0.02)
    assert found["ttft_ms"] == pytest.approx(summary["mean_ttft_ms"], rel=0.04)  # 4.75 and 4.61


def test_the_load_is_what_comes_over_what_full_seats_serve(check: Any) -> None:
    # As many users as seats, who ask again at once: so many requests a second are the most. Lengths
    # are mixed, since requests of one length finish together and read their prompts together.
    lengths = {
        "requests": 2000,
        "prompt_tokens": {"uniform": {"low": 1, "high": 2047}},
        "output_tokens": {"uniform": {"low": 1, "high": 511}},
    }
    coming = {"arrivals": {"constant": {"rate_per_s": 20.0}}}

    found = check(scenario(workload=traffic(**lengths, **coming)), "--json")
    run = simulate(scenario(workload=traffic(**lengths, arrivals={"concurrency": 60})))

    most_per_s = 2000 / (run.outcome.served.end_ps * 1e-12)
    assert found["utilisation"] == pytest.approx(20 / most_per_s, rel=0.15)
    assert (
        found["utilisation"]
        == found["request_rate_per_s"] / found["capacity_request_rate_per_s"]
        == pytest.approx(20 / found["capacity_request_rate_per_s"])
    )


def test_check_warns_of_more_requests_than_can_be_served(check: Any) -> None:
    flood = scenario(workload=traffic(arrivals={"constant": {"rate_per_s": 1e4}}))

    found, text = check(flood, "--json"), check(flood)

    assert found["utilisation"] == pytest.approx(1e4 / found["capacity_request_rate_per_s"])
    assert found["request_rate_per_s"] == found["capacity_request_rate_per_s"]
    assert "queues will grow without end" in text
    assert "With all seats taken, on the mean: TPOT" in text
    (means,) = (line for line in text.splitlines() if line.startswith("With all"))
    assert "TTFT" not in means


def test_requests_that_all_come_at_once_take_all_seats(check: Any) -> None:
    # 61 seats are not taken by 24 requests: a closed loop of 24 users is the same.
    together = {"requests": 24, "arrivals": {"constant": {"rate_per_s": 1e15}}}
    users = {"requests": 24, "arrivals": {"concurrency": 24}}

    found = check(scenario(workload=traffic(**together)), "--json")
    loop = check(scenario(workload=traffic(**users)), "--json")

    assert found["utilisation"] is None
    assert {name: found[name] for name in FIGURES} == {name: loop[name] for name in FIGURES}


def test_requests_that_are_refused_do_not_count(check: Any, tmp_path: Path) -> None:
    # The third of every three has more tokens than max_model_len.
    def trace(rows: list[tuple[float, int, int]]) -> Content:
        lines = [f"2023-11-16 18:17:{second:09.6f},{p},{o}" for second, p, o in rows]
        path = tmp_path / f"{len(rows)}.csv"
        path.write_text("\n".join(["TIMESTAMP,ContextTokens,GeneratedTokens", *lines]) + "\n")
        return scenario(
            workload={"trace": str(path), "format": "azure"},
            scheduler={"max_num_seqs": 60, "max_num_batched_tokens": 512, "max_model_len": 2048},
        )

    rows = [(step * 0.25, 512, 64 if step % 3 else 2000) for step in range(1, 101)]

    found = check(trace(rows), "--json")
    without = check(trace([row for row in rows if row[2] == 64]), "--json")

    assert (found["refused"], without["refused"]) == (33, 0)
    assert {name: found[name] for name in FIGURES} == {name: without[name] for name in FIGURES}


def test_a_scenario_whose_requests_are_all_refused_has_no_speed(check: Any) -> None:
    short = {"max_num_seqs": 60, "max_model_len": 600}

    text = check(scenario(scheduler=short))

    assert "Refused: 300 requests that are too long or have no room" in text
    assert "Speed: not estimated: every request would be refused" in text


def test_kv_in_lpddr_is_not_scored(check: Any) -> None:
    found = check(scenario(memory={"mode": "capacity", "pin": {"kv": "lpddr"}}), "--json")

    assert found["tpot_ms"] is None
    assert "memory.pin.kv" in found["not_estimated"]


def test_each_pool_is_scored_for_its_part_of_a_request(check: Any) -> None:
    pooled = scenario(
        cluster={"servers_per_rack": 2},
        plan={"tensor_parallel_size": 4, "pipeline_parallel_size": 2},
        pools={"prefill": {"cards": 8}, "decode": {"cards": 8}},
        workload=traffic(requests=1000, arrivals={"poisson": {"rate_per_s": 60}}),
    )

    found, run = check(pooled, "--json")["pools"], simulate(pooled)

    first = run.outcome.served.first_scheduled_ps
    read_ms = (run.outcome.pools[0].served.finish_ps - first) * 1e-9  # type: ignore[attr-defined]
    queued_ms = (first - run.outcome.served.arrival_ps) * 1e-9
    assert found["prefill"]["ttft_ms"] == pytest.approx(np.mean(read_ms + queued_ms), rel=0.05)
    assert found["decode"]["tpot_ms"] == pytest.approx(run.summary["mean_tpot_ms"], rel=0.05)


def test_a_replay_lasts_at_least_as_long_as_its_busiest_stream(check: Any, tmp_path: Path) -> None:
    # Rank 0 computes for 5 + 3 ns beside 6 ns on another stream, rank 1 for 7 ns: 8 ns at least;
    # but the 3 ns wait for the 6, so it is 9.
    program = {
        "rank": [0, 0, 0, 1],
        "kind": ["vector"] * 4,
        "stream": [1, 2, 1, 1],
        "duration_ps": [5000, 6000, 3000, 7000],
        "phase": ["decode"] * 4,
        "deps": [[], [], [1], []],
    }
    path = tmp_path / "program.parquet"
    write_program(path, program_of(program))
    network = tmp_path / "two.yml"
    network.write_text("topology: [Ring]\nnpus_count: [2]\nbandwidth: [50.0]\nlatency: [500.0]\n")
    content = {"network": str(network), "workload": {"program": str(path)}}

    found, summary = check(content, "--json"), replay_trace(content).summary

    assert (found["ranks"], found["operations"]) == (2, summary["operations"]) == (2, 4)
    assert found["least_makespan_s"] == 8e-9
    assert summary["makespan_s"] == 9e-9


def test_a_generated_program_is_checked_without_being_replayed(check: Any) -> None:
    program = {"phase": "decode", "batch": 8, "context": 1024, "steps": 4}
    content = scenario(workload={"program": program})

    found, run = check(content, "--json"), replay_trace(content)

    assert found["run_id"] == run.run_id
    assert 0 < found["least_makespan_s"] < run.summary["makespan_s"]
