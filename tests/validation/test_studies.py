"""What docs/studies concludes from the published traces, held to new runs."""

from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from cluster import load, simulate

ROOT = Path(__file__).resolve().parents[2]
TRACES = ROOT / ".." / "shared" / "data" / "traces"
AZURE = TRACES / "AzureLLMInferenceTrace_conv.csv"
MOONCAKE = TRACES / "mooncake_conversation_trace.jsonl"
UNDIVIDED = ("pools=null", "transfer=null")
NARROW = ("plan.tensor_parallel_size=2", "plan.pipeline_parallel_size=32")
BEST_POOLS = (
    "pools.prefill.plan={tensor_parallel_size: 2, pipeline_parallel_size: 8}",
    "pools.prefill.memory.mode=auto",
    "pools.prefill.scheduler.max_num_batched_tokens=1024",
)

pytestmark = [
    pytest.mark.data,
    pytest.mark.slow,
    pytest.mark.skipif(not AZURE.is_file(), reason="the published traces are not here"),
]


def served(example: str, trace: Path, rate: float, *sets: str) -> Any:
    words = [f"workload.trace={trace}", f"workload.rate_scale={rate}", *sets]
    return simulate(load(ROOT / "examples" / example, sets=words)).summary


@pytest.fixture(scope="module")
def half_hour(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first half of the chat hour."""
    path = tmp_path_factory.mktemp("traces") / "half.csv"
    with AZURE.open() as lines:
        path.write_text("".join(islice(lines, 10_000)))
    return path


@pytest.mark.soak
def test_undivided_cards_answer_sooner_and_pools_more_evenly(half_hour: Path) -> None:
    shared = served(
        "disaggregated-70b.yaml",
        half_hour,
        4,
        *UNDIVIDED,
        *NARROW,
        "scheduler.max_num_seqs=256",
        "scheduler.max_num_batched_tokens=32",
    )
    divided = served("disaggregated-70b.yaml", half_hour, 4, *BEST_POOLS)

    assert shared["slo_attainment"] > 0.999
    assert divided["slo_attainment"] > 0.999
    assert 5 * shared["mean_ttft_ms"] < divided["mean_ttft_ms"]
    assert divided["p99_tpot_ms"] < 2.0 < shared["p99_tpot_ms"] < 2.5


def test_small_chunks_carry_sixteen_times_the_rate_where_large_ones_do_not(half_hour: Path) -> None:
    small, large = (
        served(
            "disaggregated-70b.yaml",
            half_hour,
            16,
            *UNDIVIDED,
            *NARROW,
            "scheduler.max_num_seqs=256",
            f"scheduler.max_num_batched_tokens={tokens}",
        )
        for tokens in (32, 128)
    )

    assert small["slo_attainment"] > 0.999
    assert large["slo_attainment"] < 0.75


def test_a_tight_bound_on_tpot_favours_pools_and_a_loose_one_undivided_cards() -> None:
    def share(*sets: str) -> float:
        summary = served("disaggregated-8b.yaml", AZURE, 40, *sets)
        return float(summary["slo_attainment"])

    one_card = "{tensor_parallel_size: 1, pipeline_parallel_size: 8}"
    pools = share(
        f"pools.prefill.plan={one_card}", "pools.prefill.scheduler.max_num_batched_tokens=1024"
    )
    tight = share(*UNDIVIDED, f"plan={one_card}", "scheduler.max_num_batched_tokens=32")
    loose = share(*UNDIVIDED, "scheduler.max_num_batched_tokens=128", "slo.tpot_s=0.0022")

    assert tight < 0.8 < pools < 0.9
    assert loose > 0.999


def test_one_rack_carries_the_mooncake_conversations_as_recorded() -> None:
    recorded = served("llama-70b-rack.yaml", MOONCAKE, 1.0)

    assert recorded["completed"] == 12_031
    assert recorded["mean_ttft_ms"] < 1_000
    assert recorded["p99_ttft_ms"] < 5_000
