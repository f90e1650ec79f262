import json
from pathlib import Path
from typing import Any

import pytest

from cluster.api.serving import simulate
from cluster.scenario import trust as module
from cluster.scenario.load import load
from cluster.scenario.resolve import resolve
from cluster.scenario.trust import Band, Trust, trust_lines, trust_of, what_if_notes

SETS = [
    {
        "device": "h100", "model": "llama-3.1-70b", "weights": "fp8", "experts": False, "n": 42,
        "tp": [2, 8], "pp": [1, 1], "prompt_tokens": [1024, 8192], "output_tokens": [1024, 8192],
        "users": [4, 256],
    }
]  # fmt: skip
NUMBERS = {
    "bands": {
        "dense": {"tpot": {"low": -0.1, "high": 0.1, "n": 42}},
        "experts": {"tpot": {"low": -0.3, "high": 0.3, "n": 20}},
        "blind": {"tpot": {"low": -0.2, "high": 0.25, "n": 60}},
    },
    "sets": SETS,
    "operations": ["a100", "h100", "h200"],
}


@pytest.fixture(autouse=True)
def numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_measured", lambda: NUMBERS)


WORK = {"workload": {"synthetic": {"requests": 2, "preset": "azure-conv-2023"}}}


def found(**changes: Any) -> Trust:
    """Of the measured scenario with top-level keys changed."""
    scenario: dict[str, Any] = {
        "hardware": "h100",
        "model": "llama-3.1-70b",
        "plan": {"tensor_parallel_size": 4},
        "cluster": {"servers_per_rack": 1, "cards_per_server": 4},
        "formats": {"weights": "fp8", "activations": "fp8", "kv": "fp8", "wire": "bf16"},
        "workload": traffic(1024, {"concurrency": 8}),
    }
    return trust_of(resolve(load({**scenario, **changes})))


def traffic(prompt: int, arrivals: dict[str, Any]) -> dict[str, Any]:
    lengths = {"prompt_tokens": {"fixed": prompt}, "output_tokens": {"fixed": 1024}}
    return {"synthetic": {"requests": 8, "arrivals": arrivals, **lengths}}


def test_a_run_like_the_measured_points_is_measured_with_their_band() -> None:
    trust = found()

    assert trust.level == "measured"
    assert trust.bands == {"tpot": Band(low=-0.1, high=0.1, n=42)}
    assert "42 points of llama-3.1-70b in fp8 on h100" in trust.sentence
    assert trust.plain()["tpot"] == {"low": -0.1, "high": 0.1, "n": 42}


def test_another_model_or_an_open_loop_within_the_ranges_is_interpolated() -> None:
    assert found(model="llama-3.3-70b").level == "interpolated"
    assert found(workload=traffic(1024, {"poisson": {"rate_per_s": 1.0}})).level == "interpolated"


def test_beyond_the_ranges_the_band_is_that_of_blind_devices() -> None:
    trust = found(workload=traffic(512, {"concurrency": 8}))

    assert trust.level == "extrapolated"
    assert "prompt_tokens 512 is outside of what was measured (1,024 to 8,192)" in trust.reason
    assert trust.bands["tpot"] == Band(low=-0.2, high=0.25, n=60)


def test_a_device_with_measured_operations_alone_is_extrapolated() -> None:
    trust = found(hardware="h200")

    assert trust.level == "extrapolated"
    assert trust.reason == "single operations of h200 were measured, and no end-to-end point"


def test_a_device_without_a_measured_point_is_a_what_if() -> None:
    for hardware in ("mi300x", "b300"):
        trust = found(hardware=hardware)
        assert trust.level == "what-if"
        assert "off by -20 to +25 % in TPOT" in trust.sentence
    chat = {"model": "llama-3.1-8b", "workload": traffic(100, {"concurrency": 2})}
    corsair = trust_of(resolve(load(chat)))
    assert corsair.level == "what-if"
    by_hand = found(hardware_set={"gpu.gemm_latency_s": 1e-6})
    assert by_hand.level == "what-if"
    assert "gpu.gemm_latency_s" in by_hand.reason


def test_lines_give_the_span_of_the_truth() -> None:
    said = trust_lines(found(hardware="mi300x"), {"tpot": 10.0, "ttft": None})

    assert said[0].startswith("trust: what-if: no end-to-end point of mi300x was measured; ")
    assert said[1] == "  90 %: TPOT 8 to 12.5 ms"  # 10 / 1.25 and 10 / 0.8


@pytest.mark.parametrize("hardware", ["mi300x", "b300", "gaudi2", "h200", "a100"])
def test_every_gpu_serves_and_its_run_says_what_it_rests_on(hardware: str, tmp_path: Path) -> None:
    lengths = {"prompt_tokens": {"fixed": 64}, "output_tokens": {"fixed": 4}}
    run = simulate(
        {
            "hardware": hardware,
            "cluster": {"servers_per_rack": 1, "cards_per_server": 1},
            "model": "llama-3.1-8b",
            "formats": dict.fromkeys(("weights", "activations", "kv", "wire"), "bf16"),
            "plan": {"tensor_parallel_size": 1, "pipeline_parallel_size": 1},
            "workload": {"synthetic": {"requests": 2, "arrivals": {"concurrency": 2}, **lengths}},
        },
        out=tmp_path,
    )
    manifest = json.loads((run.run_dir / "manifest.json").read_text()) if run.run_dir else {}

    assert run.summary["completed"] == 2
    assert run.summary["joules_per_output_token"] > 0
    assert manifest["trust"]["level"] in ("what-if", "extrapolated")


def test_a_machine_that_cannot_be_bought_is_a_what_if_and_so_is_one_on_its_base(
    tmp_path: Path,
) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("name: mine\nbase: rubin-cpx\nfigures: {}\n")
    formats = {"weights": "fp8", "activations": "fp8", "kv": "fp8", "wire": "bf16"}
    for hardware in ("rubin-cpx", str(mine)):
        trust = found(hardware=hardware, formats=formats)

        assert trust.level == "what-if"
        assert "no machine that can be bought (announced in 2025-09" in trust.sentence


def test_commands_that_choose_machines_name_the_what_ifs_among_them() -> None:
    shop, fair = (
        load({"model": "llama-3.1-8b", **WORK}),
        load({"hardware": "raptor", "model": "llama-3.1-8b", **WORK}),
    )

    assert what_if_notes(shop) == []
    (note,) = what_if_notes(shop, fair, fair)
    assert note.startswith("note: raptor is a what-if, no machine that can be bought (announced")


def test_a_pool_on_a_machine_that_cannot_be_bought_makes_the_whole_a_what_if() -> None:
    pools = {"prefill": {"cards": 8, "hardware": "rubin-cpx"}, "decode": {"cards": 8}}
    mixed = {
        "model": "llama-3.1-8b",
        "plan": {"tensor_parallel_size": 4},
        "cluster": {"servers_per_rack": 2},
        "pools": pools,
        "workload": traffic(1024, {"poisson": {"rate_per_s": 1.0}}),
    }
    trust = trust_of(resolve(load(mixed)))

    assert "rubin-cpx is no machine that can be bought" in trust.reason
    (note,) = what_if_notes(load(mixed))
    assert note.startswith("note: rubin-cpx is a what-if")
