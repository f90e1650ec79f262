"""Runs, replays and studies on nodes of 32 cards that share one PCIe fabric."""

from typing import Any

import numpy as np
import pytest

from cluster import load, plan, replay_trace, simulate
from cluster.commands.app import main
from cluster.scenario.load import ScenarioError
from cluster.scenario.resolve import resolve
from cluster.studies.capacity import clusters
from cluster.studies.draws import uncertain
from cluster.studies.plan.space import Choices
from topology.types import TopologyError

NODES: dict[str, Any] = {"fabric": "supernode", "servers_per_rack": 2, "cards_per_server": 32}
BASE: dict[str, Any] = {
    "model": "llama-3.1-8b",
    "cluster": NODES,
    "plan": {"tensor_parallel_size": 16, "pipeline_parallel_size": 1},
    "workload": {
        "synthetic": {
            "requests": 8,
            "arrivals": {"concurrency": 4},
            "prompt_tokens": {"fixed": 128},
            "output_tokens": {"fixed": 8},
        }
    },
}


def test_the_fabric_of_a_scenario_and_of_a_hardware_file_are_one_run() -> None:
    one = resolve(load(BASE))
    other = resolve(load(BASE, hardware="corsair-supernode", cluster={"fabric": "auto"}))

    assert one.hardware.name == "corsair-supernode"
    assert one.run_id == other.run_id


def test_tensor_groups_stay_inside_a_node() -> None:
    machine = simulate(load(BASE)).machine

    # four replicas of 16 cards on two nodes of 32
    assert machine.cards.shape == (4, 1, 16)
    servers = machine.routes.server[machine.cards[:, 0]]
    assert servers.tolist() == [[0] * 16] * 2 + [[1] * 16] * 2


def test_a_group_of_32_cards_is_faster_on_a_node_than_over_four_servers() -> None:
    wide: dict[str, Any] = {
        "plan": {"tensor_parallel_size": 32, "pipeline_parallel_size": 1, "replicas": 1}
    }
    servers = {"fabric": "jetstream", "servers_per_rack": 4, "cards_per_server": 8}

    node, apart = (simulate(load(BASE, **wide, cluster=each)) for each in (NODES, servers))
    assert node.summary["mean_tpot_ms"] < apart.summary["mean_tpot_ms"]


def test_a_node_has_one_host_a_fabric_and_eight_nics() -> None:
    summary = simulate(load(BASE)).summary
    watts = summary["facility_power_w"]

    assert {name: watts[name] for name in ("hosts", "nics", "pcie_switches", "leaves")} == {
        "hosts": 2 * 2500,
        "nics": 2 * 8 * 150,
        "pcie_switches": 2 * 600,
        "leaves": 1000,
    }
    assert summary["capital_usd"] == 64 * 10_000 + 2 * 85_000 + 2 * 8 * 2_500 + 30_000


def test_without_its_fabric_a_node_is_down() -> None:
    left = simulate(load(BASE, state=[{"match": "s0.fabric0", "down": True}]))

    assert [loss.replica for loss in left.resolved.lost] == [0, 1]
    assert set(left.machine.routes.card_id) == {f"s1.c{index}" for index in range(32)}


def test_a_slower_x16_of_a_card_is_matched_by_its_name() -> None:
    slow = [{"match": "s0.c0>s0.fabric0", "latency_scale": 3.0}]
    one, other = (simulate(load(BASE, links=links)) for links in ([], slow))

    assert other.summary["mean_tpot_ms"] > one.summary["mean_tpot_ms"]


def test_a_prompt_on_two_groups_of_a_node_is_replayed_as_it_is_served() -> None:
    """A prompt of two chunks through two stages of 16 cards: first tokens to the picosecond."""
    on = {**BASE, "plan": {"tensor_parallel_size": 16, "pipeline_parallel_size": 2, "replicas": 1}}
    drawn = {"requests": 1, "arrivals": {"concurrency": 1}, "output_tokens": {"fixed": 1}}
    traffic = {"synthetic": {**drawn, "prompt_tokens": {"fixed": 1024}}}
    served = simulate({**on, "workload": traffic}).outcome.served
    program = {"phase": "prefill", "batch": 1, "prompt_tokens": 1024}
    replayed = replay_trace({**on, "workload": {"program": program}})

    read = replayed.machine.program
    sample = read.operations.name == read.words["name"].index("sample")
    ends = set(replayed.outcome.replayed.end_ps[sample].tolist())
    assert ends == set(served.first_token_ps.tolist())


def test_a_search_of_plans_tries_groups_of_up_to_the_whole_node() -> None:
    choices = Choices(memory_mode=("performance",), weights=("mxint8",))
    found = plan(load(BASE, cluster={"servers_per_rack": 1}), choices=choices, finalists=0)

    tried = np.unique(found.columns["tensor_parallel_size"]).tolist()
    assert tried[-1] == 32
    assert {1, 2, 4, 8, 16}.issubset(tried)


def test_studies_of_capacity_and_of_uncertainty_are_of_the_nodes() -> None:
    sizes = [(c.racks, c.servers_per_rack, c.cards_per_server) for c in clusters(load(BASE))]
    drawn = uncertain(load(BASE), ["server.pcie_latency_s", "card.pcie*"])

    inside = [(1, 1, cards) for cards in (1, 2, 4, 8, 16, 32)]
    assert sizes[:9] == [*inside, (1, 2, 32), (2, 2, 32), (3, 2, 32)]
    assert {name: (figure.low, figure.high) for name, figure in drawn.items()} == {
        "server.pcie_latency_s": (200e-9, 880e-9),
        "card.pcie_bandwidth_bytes_per_s": (32e9, 64e9),
    }


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"cluster": {"cards_per_server": 24}}, "must divide the 32 cards of a node"),
        ({"cluster": {"cards_per_server": 33}}, "cards_per_server must be 1 to 32"),
        ({"hardware": "h100"}, "and h100 is of kind gpu: leave the fabric out"),
    ],
)
def test_a_cluster_that_the_fabric_cannot_join_is_refused(
    changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(TopologyError, match=said):
        simulate(load(BASE, **changes))


def test_a_misspelled_fabric_has_the_nearest_name() -> None:
    with pytest.raises(ScenarioError, match="did you mean 'supernode'"):
        load(BASE, cluster={"fabric": "supernod"})


def test_the_commands_know_the_nodes(capsys: pytest.CaptureFixture[str]) -> None:
    sets = [
        *("--set", "cluster={fabric: supernode, servers_per_rack: 2, cards_per_server: 32}"),
        *("--set", "workload.synthetic.requests=20"),
    ]

    assert main(["check", *sets]) == 0
    assert "64 cards" in capsys.readouterr().out
    assert main(["topology", "show", "corsair-supernode"]) == 0
    assert "2 nodes, 32 bridged pairs, 64 cards, 2 PCIe fabrics" in capsys.readouterr().out
