"""Collectives beside products, in chunks: by the closed form, never slower, and summing up."""

from typing import Any

import numpy as np
import pytest

from cluster import load
from cluster.perf_model.collectives import Cost
from cluster.perf_model.devices import device_of
from cluster.perf_model.devices.dimc import BOUNDS, COUNTS
from cluster.perf_model.devices.dimc.device import DimcCard
from cluster.perf_model.devices.work import Operation
from cluster.perf_model.prices.overlap import Hidden, overlapped
from cluster.perf_model.tables import PriceTables
from cluster.scenario.formats import Formats
from cluster.scenario.load import ScenarioError
from cluster.scenario.resolve import resolve
from cluster.serving.run import assemble
from corsair_common.units import Integers
from topology.catalog import load_hardware
from workloads.formats import get_format

NETWORK, MAC = BOUNDS.index("network"), BOUNDS.index("mac")
DISPATCH_PS = 1_000
TOKENS = np.array([64])


@pytest.fixture
def device() -> Any:
    corsair, eight = load_hardware("corsair"), get_format("mxint8")
    figures = {name: corsair[name] for name in corsair.figures}
    formats = Formats(weights=eight, activations=eight, kv=eight, wire=get_format("fp16"))
    figures["card.dispatch_s"] = DISPATCH_PS * 1e-12
    return device_of(figures, formats, cards=4, expert_ranks=1, streams=False)


def by_hand(
    device: DimcCard, product_ps: int, exchange_ps: int, far_ps: int = 0
) -> tuple[int, Hidden | None]:
    """Time in sequence, and the change, of work in proportion to its tokens: these for 64."""

    def operations(tokens: Integers) -> list[Operation]:
        counts = np.zeros((1, len(COUNTS)), np.int64)
        counts[:, 0] = 10  # tiles are streamed for each chunk
        return [
            Operation(
                name="O",
                ps=product_ps * tokens // 64,
                bound=np.array([MAC]),
                far_ps=np.full(1, far_ps),
                counts=counts,
            )
        ]

    def exchange(tokens: Integers) -> Cost:
        ps = exchange_ps * tokens // 64
        return Cost(ps=ps, tier_bytes=tokens[:, None] * 100, tier_ps=ps[:, None])

    found = overlapped(device, [("O", exchange)], operations, TOKENS, BOUNDS)
    before_ps = product_ps + exchange_ps + 2 * DISPATCH_PS
    return before_ps, found[0] if found else None


def after_ps(before_ps: int, change: Hidden) -> int:
    return before_ps + int(change.linear.sum() + change.ps.sum())


@pytest.mark.parametrize(
    ("product_ps", "exchange_ps", "expected_ps"),
    [
        (80_000, 64_000, 97_000),  # 8 chunks: 11,000 + 9,000 + 7 x 11,000
        (64_000, 80_000, 97_000),
        (4_000, 4_000, 9_000),  # 2 chunks: 3,000 + 3,000 + 3,000
        (1_000, 1_000, 4_000),  # a second dispatch costs more than it hides
    ],
)
def test_a_product_beside_a_collective_takes_the_longer_and_one_chunk_of_the_other(
    device: DimcCard, product_ps: int, exchange_ps: int, expected_ps: int
) -> None:
    before_ps, change = by_hand(device, product_ps, exchange_ps)

    assert change is not None
    assert after_ps(before_ps, change) == expected_ps


def test_the_longer_counts_whole_and_the_shorter_with_one_chunk(device: DimcCard) -> None:
    """Eight chunks of 10,000 and 8,000: all of the product, 8,000 of the network, nine
    dispatches; then the other way round. Bytes are those of eight chunks, and so are counts."""
    _, product = by_hand(device, 80_000, 64_000)
    _, network = by_hand(device, 64_000, 80_000)
    assert product is not None
    assert network is not None

    assert product.linear[0, MAC] == 0
    assert product.ps[0] == 8_000 - 64_000
    assert network.linear[0, MAC] == 8_000 - 64_000
    assert network.ps[0] == 0
    assert product.linear[0, -1] == network.linear[0, -1] == 7 * DISPATCH_PS
    assert product.tier_bytes[0, 0] == 0
    assert product.counts[0, 0] == 8 * 10 - 10


def test_weights_from_the_far_memory_are_not_streamed_for_every_chunk(device: DimcCard) -> None:
    assert by_hand(device, 80_000, 64_000, far_ps=1)[1] is None


def tables(norms: str, overlap: str) -> PriceTables:
    scenario = {
        "model": "llama-3.1-8b",
        "plan": {"tensor_parallel_size": 4, "pipeline_parallel_size": 2},
        "collectives": {"norms": norms, "overlap": overlap},
        "workload": {"synthetic": {"preset": "azure-conv-2023", "requests": 1}},
    }
    return assemble(resolve(load(scenario))).prices


@pytest.mark.parametrize("norms", ["replicated", "sharded"])
def test_overlap_never_takes_longer_and_its_parts_sum_up(norms: str) -> None:
    """512 tokens: O and down are short beside their all-reduces, whose chunks have latencies; gate
    and up are long beside the gather of their input."""
    none, chunked = (tables(norms, overlap) for overlap in ("none", "chunked"))
    before_ps, found_ps = (each.linear_ps + each.collective_ps for each in (none, chunked))

    assert (found_ps <= before_ps).all()
    gained = 1 - found_ps[:, -1] / before_ps[:, -1]
    assert (gained > 0.03).all() if norms == "sharded" else not gained.any()
    assert (chunked.linear_by_bound_ps >= 0).all()
    assert (chunked.linear_by_bound_ps.sum(axis=-1) == chunked.linear_ps).all()
    assert (chunked.collective_bytes >= none.collective_bytes - 1).all()


def test_a_replay_with_overlap_is_refused_by_the_name_of_the_setting() -> None:
    scenario = {
        "model": "llama-3.1-8b",
        "plan": {"tensor_parallel_size": 4},
        "collectives": {"overlap": "chunked"},
        "workload": {"program": {"phase": "decode", "batch": 1, "context": 64, "steps": 1}},
    }

    with pytest.raises(ScenarioError, match=r"collectives\.overlap: chunked .* overlap: none"):
        load(scenario)
