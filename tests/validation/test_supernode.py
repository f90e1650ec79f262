"""What docs/studies/supernode.md concludes, held to new runs, and how its tables get there."""

import pytest

from benchmarks import supernode
from benchmarks.page_tables import with_table
from benchmarks.supernode import PAGE, TABLES, machines_kw, prompt_rate, shape, summary

SERVERS, NODES = supernode.RACKS

pytestmark = pytest.mark.slow


def tpot_of_one(rack: str, tensor: int, stages: int, **figures: float) -> float:
    changes = {**shape(tensor, stages), "hardware_set": figures}
    return float(summary(rack, "one", changes)["mean_tpot_ms"])


def prompts_per_s(rack: str, tensor: int, stages: int, **figures: float) -> float:
    changes = {**shape(tensor, stages), "hardware_set": figures}
    return prompt_rate(summary(rack, "prompts", changes))


def test_pairs_are_hardly_faster_on_a_node() -> None:
    servers, nodes = (summary(rack, "sixty", shape(2, 32)) for rack in (SERVERS, NODES))

    assert nodes["output_throughput"] == pytest.approx(servers["output_throughput"], rel=0.02)
    assert tpot_of_one(NODES, 2, 32) == pytest.approx(tpot_of_one(SERVERS, 2, 32), rel=0.02)


@pytest.mark.parametrize(("tensor", "stages", "share"), [(16, 4, 0.85), (32, 2, 0.8)])
def test_wide_groups_gain_much_and_stay_behind_pairs(
    tensor: int, stages: int, share: float
) -> None:
    node = tpot_of_one(NODES, tensor, stages)

    assert node < share * tpot_of_one(SERVERS, tensor, stages)
    assert node > tpot_of_one(NODES, 2, 32)


@pytest.mark.parametrize("latency_s", [200e-9, 880e-9])
def test_a_group_of_16_is_ahead_at_both_ends_of_the_latency(latency_s: float) -> None:
    end = tpot_of_one(NODES, 16, 4, **{"server.pcie_latency_s": latency_s})

    assert end < tpot_of_one(SERVERS, 16, 4)


def test_half_the_rate_turns_prefill_of_wide_groups_round() -> None:
    slow = prompts_per_s(NODES, 16, 4, **{"card.pcie_bandwidth_bytes_per_s": 32e9})
    servers = prompts_per_s(SERVERS, 16, 4)

    assert slow < 0.9 * servers < servers < prompts_per_s(NODES, 16, 4)


def test_nodes_draw_nine_kilowatts_less() -> None:
    # 8 x (1,500 + 4 x 150 + 2 x 50) W around servers, 2 x (2,500 + 8 x 150 + 600) W around nodes
    servers, nodes = (
        machines_kw(summary(rack, "sixty", shape(2, 32))) for rack in (SERVERS, NODES)
    )

    assert servers - nodes == pytest.approx(17.6 - 8.6, abs=0.2)


def test_the_page_has_every_table_once_and_takes_new_lines() -> None:
    page = PAGE.read_text("utf-8")

    for name in TABLES:
        changed = with_table(page, name, "| new |")
        assert f"<!-- table {name} -->\n| new |\n<!-- end -->" in changed
        assert len(changed) < len(page)
    with pytest.raises(ValueError, match="has 0 tables none, not one"):
        with_table(page, "none", "")
