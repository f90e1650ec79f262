"""Every command on GPUs, as a user gives it: what fits, in which words, and what is refused."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from cluster.commands.app import main

Captured = pytest.CaptureFixture[str]

OF_A_CARD = re.compile(r"lpddr|sram|dimc|chiplet|simd|dispatch|mxint|kv tail", re.IGNORECASE)
"""Words that no output of a run on GPUs may have."""

SCENARIO = """
name: gpus
hardware: h100
model: llama-3.1-8b
cluster: {cards_per_server: 4}
plan: {tensor_parallel_size: 2}
scheduler: {max_num_seqs: 64, max_num_batched_tokens: 1024, block_size: 16}
workload:
  synthetic:
    requests: 40
    arrivals: {poisson: {rate_per_s: 20}}
    prompt_tokens: {fixed: 300}
    output_tokens: {fixed: 20}
slo: {ttft_s: 0.5, tpot_s: 0.05}
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("gpus.yaml").write_text(SCENARIO)


def answer(capsys: Captured, *words: str) -> dict[str, Any]:
    assert main([*words, "--json"]) == 0, capsys.readouterr().err
    found = json.loads(capsys.readouterr().out)
    assert isinstance(found, dict)
    return found


def run_of(summary: dict[str, Any]) -> Path:
    return Path("results", "runs", summary["run_id"])


def told(capsys: Captured, *words: str) -> str:
    assert main([*words]) == 0, capsys.readouterr().err
    return capsys.readouterr().out


def refused(capsys: Captured, *words: str, code: int = 2) -> str:
    assert main([*words]) == code
    return capsys.readouterr().err


def sets(*pairs: str) -> list[str]:
    return [word for pair in pairs for word in ("--set", pair)]


@pytest.mark.parametrize(
    "words",
    [
        ("check", "gpus.yaml"),
        ("serve", "gpus.yaml"),
        ("replay", "gpus.yaml", *sets("workload={program: {phase: decode, batch: 4, context: 9}}")),
        ("plan", "gpus.yaml", "--tp", "1,2", "--pp", "1", "--top", "2", "--explain"),
        ("plan", "gpus.yaml", "--min-cards"),
        ("topology", "show", "h100"),
        ("formats", "show", "fp8", "--hardware", "h100"),
    ],
    ids=["check", "serve", "replay", "plan", "min-cards", "topology", "formats"],
)
def test_outputs_have_the_words_of_a_gpu(words: tuple[str, ...], capsys: Captured) -> None:
    assert OF_A_CARD.findall(told(capsys, *words)) == []


def test_formats_that_are_left_out_are_those_of_the_hardware(capsys: Captured) -> None:
    summary = answer(capsys, "serve", "gpus.yaml")
    manifest = json.loads((run_of(summary) / "manifest.json").read_text())

    assert manifest["scenario"]["formats"] == dict.fromkeys(
        ("weights", "activations", "kv", "wire"), "bf16"
    )
    told_cards = answer(capsys, "check", *sets("hardware=corsair"))
    assert told_cards["placement"]["weights"] == "mxint8"


def test_the_bundled_example_and_the_template_run_on_gpus(capsys: Captured) -> None:
    few = sets("hardware=h100", "workload.synthetic.requests=20")

    assert answer(capsys, "serve", *few)["completed"] == 20
    told(capsys, "init", "mine.yaml")
    assert answer(capsys, "serve", "mine.yaml", *few)["completed"] == 20


def test_a_format_that_tensor_cores_lack_is_refused_with_those_they_have(capsys: Captured) -> None:
    said = refused(capsys, "check", "gpus.yaml", *sets("formats.weights=mxint8"), code=2)

    assert "formats.weights is mxint8, this GPU takes bf16, fp16, fp8_e4m3" in said
    assert "auto takes the hardware file's own" in said


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("memory.mode=capacity", "memory.mode: capacity: h100 has one memory (HBM)"),
        ("memory.pin.kv=spill", "memory.pin.kv: spill: h100 has one memory (HBM)"),
        ("memory.load=lpddr", "memory.load: lpddr: h100 has one memory (HBM)"),
        ("memory.also_resident=[llama-3.1-8b]", "memory.also_resident"),
        ("power.cap_w=300", "h100 has none: leave power out"),
        ("hardware_set.card.clock_hz=1e9", "h100 has no figure 'card.clock_hz'"),
        ("hardware_set.gpu.memory_bandwith_bytes_per_s=1e12", "gpu.memory_bandwidth_bytes_per_s"),
    ],
)
@pytest.mark.parametrize("command", ["check", "serve"])
def test_settings_of_another_device_are_refused(
    command: str, setting: str, said: str, capsys: Captured
) -> None:
    assert said in refused(capsys, command, "gpus.yaml", "--set", setting)


@pytest.mark.parametrize("setting", ["memory.mode=auto", "memory.pin.kv=sram", "memory.load=host"])
def test_settings_that_one_memory_has_are_taken(setting: str, capsys: Captured) -> None:
    found = answer(capsys, "check", "gpus.yaml", "--set", setting)

    assert found["stages"][0]["where"] == "HBM"
    assert found["not_estimated"] is None or setting == "memory.load=host"


def test_what_does_not_fit_is_said_in_hbm_of_a_gpu(capsys: Captured) -> None:
    said = refused(capsys, "check", "gpus.yaml", *sets("model=llama-3.1-405b"), code=3)

    assert "of HBM on its fullest GPU" in said
    assert "the smallest cluster that fits has" in said
    assert "formats.weights: fp8_e4m3 does not fit either" in said
    assert OF_A_CARD.findall(said) == []


def test_a_plan_tries_formats_and_memories_that_a_gpu_has(capsys: Captured) -> None:
    few = ("--tp", "1,2", "--pp", "1", "--max-num-seqs", "16", "--max-num-batched-tokens", "512")
    found = answer(capsys, "plan", "gpus.yaml", *few, "--top", "99")
    narrow = answer(capsys, "plan", "gpus.yaml", *few, *sets("formats.activations=fp8"))

    assert {each["weights"] for each in found["candidates"]} == {"bf16", "fp8_e4m3"}
    assert {each["kv"] for each in found["candidates"]} == {"bf16", "fp8_e4m3"}
    assert {each["memory_mode"] for each in found["candidates"]} == {"performance"}
    assert found["infeasible"] == {}
    assert {each["weights"] for each in narrow["candidates"]} == {"fp8_e4m3"}


def test_a_plan_of_what_a_gpu_lacks_is_refused(capsys: Captured) -> None:
    few = ("plan", "gpus.yaml", "--tp", "1", "--pp", "1")

    assert "one memory (HBM)" in refused(capsys, *few, "--modes", "capacity")
    assert "this GPU takes" in refused(capsys, *few, "--weights", "mxint8", code=3)


def test_a_sweep_and_a_comparison_stand_on_both_kinds_of_device(capsys: Captured) -> None:
    size = "plan.tensor_parallel_size: [8], cluster.cards_per_server: [8]"
    axes = f"[{{grid: {{hardware: [corsair, h100], {size}}}}}]"
    sweep = f"name: both\nbase: gpus.yaml\naxes: {axes}\n"
    Path("sweep.yaml").write_text(sweep)
    eight = ("plan.tensor_parallel_size=8", "cluster.cards_per_server=8")
    card, gpu = (
        str(run_of(answer(capsys, "serve", "gpus.yaml", *sets(f"hardware={name}", *eight))))
        for name in ("corsair", "h100")
    )

    assert "2 completed" in told(capsys, "sweep", "sweep.yaml")
    compared = told(capsys, "compare", card, gpu)
    assert "bound_share.stream" in compared
    assert "bound_share.memory" in compared
    assert "hardware.card.tdp_w" in compared
    assert "hardware.dimc.rows" not in compared  # a GPU has none
    told(capsys, "report", card, gpu, "--out", "both.html")
    assert "HBM" in Path("both.html").read_text("utf-8")


def test_a_sensitivity_study_varies_figures_of_a_gpu(capsys: Captured) -> None:
    said = told(capsys, "sensitivity", "gpus.yaml", "--samples", "2")

    assert "fit.times" in said  # constants that were fitted move together
    assert "gpu.gemm_bandwidth_efficiency" not in said


def test_a_replay_on_a_gpu_is_as_uncertain_as_the_fits_of_its_times(capsys: Captured) -> None:
    program = "workload={program: {phase: decode, batch: 4, context: 9}}"
    words = ("sensitivity", "gpus.yaml", *sets(program), "--samples", "4", "--figures", "fit.*")
    band = answer(capsys, *words)["bands"]["makespan_s"]

    assert band["p5"] < band["base"] < band["p95"]


def test_a_replay_and_its_chakra_trace_take_the_same_time(capsys: Captured) -> None:
    program = "workload={program: {phase: decode, batch: 4, context: 100}}"
    made = answer(capsys, "replay", "gpus.yaml", *sets(program), "--save-chakra", "traces")
    Path("read.yaml").write_text(
        "name: read\nhardware: h100\ncluster: {cards_per_server: 4}\nworkload: {chakra: traces}\n"
    )

    read = answer(capsys, "replay", "read.yaml")

    assert read["makespan_s"] == pytest.approx(made["makespan_s"], rel=1e-9)


def test_pools_of_gpus_hand_kv_over(capsys: Captured) -> None:
    pools = "pools={prefill: {cards: 2}, decode: {cards: 2}}"
    found = answer(capsys, "serve", "gpus.yaml", "--set", pools)

    # 40 prompts of 300 tokens, keys and values of 8 heads of 128 in 32 layers, two bytes each
    assert found["kv_transfer_bytes"] >= 40 * 300 * 2 * 8 * 128 * 32 * 2
    assert answer(capsys, "check", "gpus.yaml", "--set", pools)["pools"]["decode"]["cards"] == 2


def test_a_pipeline_across_servers_of_gpus_sends_through_their_nics(capsys: Captured) -> None:
    wide = sets(
        "cluster={servers_per_rack: 2, cards_per_server: 8}",
        "plan={tensor_parallel_size: 8, pipeline_parallel_size: 2}",
    )
    found = answer(capsys, "serve", "gpus.yaml", *wide)

    assert found["completed"] == 40
    assert found["energy_share"]["ethernet"] > 0
