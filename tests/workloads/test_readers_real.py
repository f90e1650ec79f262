"""The published traces themselves, where they lie beside the project."""

from pathlib import Path
from time import process_time

import pytest

from workloads.describe import describe
from workloads.requests import Requests
from workloads.trace import detect_format, read_trace

TRACES = Path(__file__).resolve().parents[2] / ".." / "shared" / "data" / "traces"
pytestmark = [
    pytest.mark.data,
    pytest.mark.skipif(not TRACES.is_dir(), reason="the published traces are not here"),
]


def timed(name: str) -> tuple[Requests, float]:
    """The requests, and the processor time that reading them took."""
    read_trace(TRACES / name, limit=1)
    start_s = process_time()
    return read_trace(TRACES / name), process_time() - start_s


def test_the_azure_chat_hour_reads_whole_and_fast() -> None:
    requests, elapsed_s = timed("AzureLLMInferenceTrace_conv.csv")

    assert len(requests) == 19_366
    assert requests.arrival_ps[1] == 4_314_579_000_000  # 18:15:50.9951690 - 18:15:46.6805900
    assert requests.reordered == requests.skipped == 0
    assert elapsed_s < 0.3


def test_the_azure_chat_hour_has_its_published_statistics() -> None:
    found = describe(read_trace(TRACES / "AzureLLMInferenceTrace_conv.csv"))

    assert found["mean_rate_per_s"] == pytest.approx(5.53, abs=0.005)
    assert found["mean_prompt_tokens"] == pytest.approx(1155, abs=0.5)
    assert found["p50_prompt_tokens"] == 1020
    assert found["p99_prompt_tokens"] == 4142
    assert found["mean_output_tokens"] == pytest.approx(211, abs=0.5)
    assert found["p50_output_tokens"] == 129
    assert found["p99_output_tokens"] == 601


def test_the_azure_code_hour_is_thirteen_times_as_uneven_as_poisson() -> None:
    found = describe(read_trace(TRACES / "AzureLLMInferenceTrace_code.csv"))

    assert found["requests"] == 8_819
    assert found["mean_rate_per_s"] == pytest.approx(2.57, abs=0.005)
    assert found["interarrival_cv"] == pytest.approx(13, abs=0.5)


def test_the_mooncake_conversations_would_find_366_in_1000_blocks_again() -> None:
    requests, elapsed_s = timed("mooncake_conversation_trace.jsonl")
    found = describe(requests)

    assert found["requests"] == 12_031
    assert found["ideal_prefix_hit_rate"] == pytest.approx(0.366, abs=0.0005)
    assert found["max_prompt_tokens"] == 126_195
    assert elapsed_s < 1.0


def test_the_sharegpt_arrivals_keep_their_first_offset() -> None:
    (path,) = TRACES.glob("llmservingsim_*.jsonl")
    requests = read_trace(path)

    assert detect_format(path) == "llmservingsim"
    assert len(requests) == 300
    assert requests.arrival_ps[0] == 46_926_808_000
