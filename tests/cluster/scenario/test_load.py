"""The scenario file: its keys, and the errors of invalid files."""

from pathlib import Path

import pytest

from cluster.perf_model.collectives import algorithms_of
from cluster.scenario.load import ScenarioError, load, template_text
from cluster.scenario.router_settings import router_content
from cluster.scenario.schema import PlanSettings, Scenario
from cluster.scenario.workload import ChakraFolder
from topology.strict_yaml import DocumentError, parse_document

MINIMAL = "model: llama-3.1-8b\nworkload: {trace: t.csv}\n"


def write(folder: Path, text: str) -> Path:
    path = folder / "s.yaml"
    path.write_text(text)
    return path


def test_the_bundled_example_loads() -> None:
    assert load().name == "chat-on-one-server"


def test_the_template_shows_every_key_and_loads() -> None:
    text = template_text()

    assert Scenario.model_validate(parse_document(text).data).name == "my-scenario"
    for part in Scenario.model_fields.values():
        fields = getattr(part.annotation, "model_fields", {})
        assert all((field.alias or name) in text for name, field in fields.items())
    assert all(name in text for name in Scenario.model_fields)


def test_the_template_names_every_algorithm_of_an_all_reduce() -> None:
    (line,) = (line for line in template_text().splitlines() if line.startswith("collectives:"))

    assert line.split("#")[1].strip().split(" | ") == ["auto", *algorithms_of("all_reduce")]


def test_a_minimal_scenario_takes_the_defaults(tmp_path: Path) -> None:
    scenario = load(write(tmp_path, MINIMAL))

    assert scenario.scheduler.max_num_batched_tokens == 512
    assert scenario.plan == "auto"


def test_a_key_of_the_plan_can_be_set_where_the_file_says_auto(tmp_path: Path) -> None:
    scenario = load(write(tmp_path, MINIMAL + "plan: auto\n"), sets=["plan.tensor_parallel_size=4"])

    assert scenario.plan == PlanSettings(tensor_parallel_size=4)


def test_a_wrong_plan_is_refused_with_what_is_allowed() -> None:
    with pytest.raises(ScenarioError, match=r"unknown key 'plan\.tensor_parallel'; did"):
        load(plan={"tensor_parallel": 4})
    with pytest.raises(ScenarioError, match="plan is 'best'; must be 'auto'"):
        load(plan="best")


def test_paths_in_the_file_are_relative_to_the_file(tmp_path: Path) -> None:
    scenario = load(write(tmp_path, MINIMAL))

    assert scenario.workload.trace == str(tmp_path / "t.csv")


def test_paths_of_operation_traces_are_relative_to_the_file_too(tmp_path: Path) -> None:
    program = load(write(tmp_path, "model: m\nworkload: {program: p.parquet}\n"))
    chakra = load(write(tmp_path, "network: n.yml\nworkload: {chakra: {folder: et}}\n"))

    assert program.workload.program == str(tmp_path / "p.parquet")
    assert chakra.network == str(tmp_path / "n.yml")
    assert chakra.workload.chakra == ChakraFolder(folder=str(tmp_path / "et"))


def test_paths_from_outside_are_relative_to_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, MINIMAL)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)

    assert load(path, sets=["workload.trace=u.csv"]).workload.trace == str(elsewhere / "u.csv")


def test_set_reaches_nested_keys_and_reads_yaml(tmp_path: Path) -> None:
    scenario = load(
        write(tmp_path, MINIMAL),
        sets=["scheduler.max_num_seqs=8", "slo={ttft_s: 0.5}", "hardware_set.card.clock_hz=8.0e8"],
    )

    assert scenario.scheduler.max_num_seqs == 8
    assert scenario.slo.ttft_s == 0.5
    assert scenario.hardware_set == {"card.clock_hz": 8.0e8}


def test_keyword_overrides_are_merged(tmp_path: Path) -> None:
    scenario = load(write(tmp_path, MINIMAL), scheduler={"max_num_seqs": 32}, seed=7)

    assert (scenario.scheduler.max_num_seqs, scenario.scheduler.block_size) == (32, 64)
    assert scenario.seed == 7


def test_setting_one_of_two_exclusive_keys_replaces_the_other() -> None:
    scenario = load(sets=["workload.trace=t.csv"])

    assert scenario.workload.synthetic is None


def test_a_network_may_take_the_place_of_a_files_racks(tmp_path: Path) -> None:
    path = write(tmp_path, MINIMAL + "cluster: {racks: 1}\n")
    words = ["network=n.yml", "model=null", "workload.chakra=et"]

    assert load(path, sets=words).network is not None


def test_later_set_words_win(tmp_path: Path) -> None:
    assert load(write(tmp_path, MINIMAL), sets=["seed=1", "seed=2"]).seed == 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("modle: x\n" + MINIMAL, "s.yaml:1: unknown key 'modle'; did you mean 'model'?"),
        (
            MINIMAL + "seed: -1\n",
            "s.yaml:3: seed is -1; must be at least 0",
        ),
        (MINIMAL + "seed: 1.5\n", "s.yaml:3: seed is 1.5"),
        (MINIMAL + "warmup_s: .nan\n", "s.yaml:3: warmup_s is nan"),
        (
            "model: m\nworkload: {synthetic: {requests: 1, sessions: {turn: {fixed: 2}}}}\n",
            "did you mean 'turns'?",
        ),
        (
            "model: m\nworkload: {synthetic: {requests: 1, arrivals: {concurrency: 2}, "
            "prompt_tokens: {fixed: 1}, output_tokens: {fixed: 1}, sessions: {turns: {fixed: 2}, "
            "added_tokens: {fixed: 1}, delay_s: {fixed: 1.0}}}}\n",
            "sessions need open-loop arrivals",
        ),
        (MINIMAL + "router: leest_kv\n", "did you mean 'least_kv'?"),
        (MINIMAL + "router: {kv_overlp: {}}\n", "did you mean 'kv_overlap'?"),
        (MINIMAL + "router: {kv_overlap: {weight: 1.0}}\n", "did you mean 'overlap_weight'?"),
        (MINIMAL + "router: {kv_overlap: {overlap_weight: -1.0}}\n", "overlap_weight is -1.0"),
        (MINIMAL + "router: {kv_overlap: {}, weighted_scorers: {}}\n", "give exactly one of"),
        (
            MINIMAL + "router: {weighted_scorers: {prefix: 0, queue: 0, kv_utilization: 0}}\n",
            "must be above 0",
        ),
        (MINIMAL + "scheduler:\n  max_num_seqs: 0\n", "s.yaml:4: scheduler.max_num_seqs is 0"),
        (MINIMAL + "scheduler:\n  max_num_sqes: 1\n", "did you mean 'max_num_seqs'?"),
        ("workload: {trace: t}\n", "model is missing"),
        (
            "model: m\nworkload: {}\n",
            "s.yaml:2: workload: give exactly one of trace, synthetic, program",
        ),
        (MINIMAL + "hardware_set: {a.b: .inf}\n", "s.yaml:3: hardware_set.a.b is inf"),
        (
            "model: m\nworkload: {program: {phase: decode, batch: 4}}\n",
            "workload.program: phase decode needs context",
        ),
        (
            "model: m\nworkload: {program: {phase: decode, batch: 4, context: 9, chunk_tokens: 2}}",
            "chunk_tokens does not apply to phase decode; it has context, steps, growing",
        ),
        ("model: m\nworkload: {chakra: {foldr: x}}\n", "did you mean 'folder'?"),
        ("model: m\nworkload: {chakra: x, limit: 4}\n", "limit is for request traces"),
        (
            "model: m\nendpoint: {flop_per_s: 1.0, bytes_per_s: 1.0}\nworkload: {program: p}\n",
            "endpoint prices ranks without a model",
        ),
        ("network: n.yml\nworkload: {trace: t}\n", "network is for operation traces"),
        ("model: m\nnetwork: n.yml\nworkload: {chakra: x}\n", "found both it and model"),
        (
            "model: m\nworkload:\n  synthetic:\n    requests: 2\n",
            "give a preset, or all of arrivals, prompt_tokens and output_tokens",
        ),
    ],
)
def test_a_wrong_key_is_named_with_its_line_and_what_is_allowed(
    tmp_path: Path, text: str, said: str
) -> None:
    with pytest.raises(ScenarioError) as caught:
        load(write(tmp_path, text))

    assert said in str(caught.value)
    assert caught.value.exit_code == 2


def test_all_breaches_are_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError) as caught:
        load(write(tmp_path, MINIMAL + "seed: -1\nrouter: nobody\n"))

    assert "seed" in str(caught.value)
    assert "router" in str(caught.value)


def test_a_bad_set_word_is_named_as_such() -> None:
    with pytest.raises(ScenarioError, match=r"--set plan\.tensor_parallel_size=0: .* is 0"):
        load(sets=["plan.tensor_parallel_size=0"])
    with pytest.raises(ScenarioError, match=r"expected path\.to\.key=value"):
        load(sets=["seed"])


def test_a_missing_file_and_a_list_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match="no such file"):
        load(tmp_path / "none.yaml")
    with pytest.raises(DocumentError, match="expected keys with values"):
        load(write(tmp_path, "- 1\n"))


def test_a_router_without_weights_has_those_of_its_default() -> None:
    plain, spelled, other = (
        load(router=router).router
        for router in (
            "kv_overlap",
            {"kv_overlap": {"overlap_weight": 1.0}},
            {"kv_overlap": {"overlap_weight": 2.0}},
        )
    )

    assert router_content(plain) == router_content(spelled) == ["kv_overlap", 1.0]
    assert router_content(other) == ["kv_overlap", 2.0]
    assert router_content("least_kv") == "least_kv"
