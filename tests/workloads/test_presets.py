"""How near the presets come to what was published of their traces."""

import numpy as np
import pytest

from workloads.describe import describe
from workloads.presets import PRESETS, generate_preset
from workloads.requests import TraceError

# Rate, mean / p50 / p99 of prompts, then of outputs, as published with (or measured on) each file.
PUBLISHED = {
    "azure-conv-2023": (5.53, (1155, 1020, 4142), (211, 129, 601)),
    "azure-code-2023": (2.57, (2048, 1469, 7436), (28, 13, 251)),
    "mooncake-conversation": (3.40, (12035, 6909, 85400), (343, 350, 1118)),
}


def drawn(name: str) -> dict[str, float | int | None]:
    return describe(generate_preset(name, np.random.default_rng(0)))


@pytest.mark.parametrize("name", PRESETS)
def test_lengths_come_within_a_few_percent_of_the_published(name: str) -> None:
    found = drawn(name)

    for kind, (mean, p50, p99) in zip(("prompt", "output"), PUBLISHED[name][1:], strict=True):
        assert found[f"mean_{kind}_tokens"] == pytest.approx(mean, rel=0.08)
        assert found[f"p50_{kind}_tokens"] == pytest.approx(p50, rel=0.05)
        assert found[f"p99_{kind}_tokens"] == pytest.approx(p99, rel=0.10)


@pytest.mark.parametrize(
    ("name", "tolerance"),
    [("azure-conv-2023", 0.03), ("mooncake-conversation", 0.05), ("azure-code-2023", 0.4)],
)
def test_the_rate_is_as_near_as_its_burstiness_lets_one_hour_be(
    name: str, tolerance: float
) -> None:
    # cv / sqrt(requests) is 0.8 %, 1.6 % and 14 %: three times that
    assert drawn(name)["mean_rate_per_s"] == pytest.approx(PUBLISHED[name][0], rel=tolerance)


def test_burstiness_is_that_of_the_traces() -> None:
    assert drawn("azure-conv-2023")["interarrival_cv"] == pytest.approx(1.094, rel=0.05)
    assert drawn("azure-code-2023")["interarrival_cv"] == pytest.approx(13.2, rel=0.25)
    assert drawn("mooncake-conversation")["dispersion_per_minute"] == pytest.approx(2.9, rel=0.25)


def test_mooncakes_prompts_begin_alike_as_often_as_the_published_ones() -> None:
    assert drawn("mooncake-conversation")["ideal_prefix_hit_rate"] == pytest.approx(0.366, rel=0.05)


def test_fewer_requests_may_be_drawn() -> None:
    assert len(generate_preset("azure-conv-2023", np.random.default_rng(0), 12)) == 12


def test_an_unknown_preset_gets_the_nearest() -> None:
    with pytest.raises(TraceError, match="is it 'azure-conv-2023'"):
        generate_preset("azure-conv-2032", np.random.default_rng(0))
