"""Topologies with parts down: what goes with a part, what stays, and which way traffic takes."""

import pytest

from topology.build import build_pod, build_rack, scale_links
from topology.catalog import load_hardware
from topology.paths import UNREACHABLE_PS
from topology.route import Routes, compile_routes
from topology.state import AllDownError, take_down
from topology.types import TopologyError

CORSAIR = load_hardware("corsair")
RACK = build_rack(CORSAIR, servers_per_rack=2)


def left(*down: str) -> Routes:
    return compile_routes(take_down(RACK, down), cut=True)


def cards(routes: Routes, server: str) -> int:
    return sum(str(name).startswith(f"{server}.") for name in routes.card_id)


def test_a_server_is_down_with_all_its_cards_and_a_host_with_its_server() -> None:
    assert cards(left("s1"), "s1") == cards(left("s1.host"), "s1") == 0
    assert cards(left("s1"), "s0") == 8
    assert not any("s1." in str(name) for name in left("s1").link_name)


def test_a_card_is_down_alone_and_its_partner_has_no_bridge() -> None:
    routes = left("s0.c1")

    assert len(routes.card_id) == 15
    assert routes.bridge_link[0] == -1
    assert routes.bridge_link[list(routes.card_id).index("s0.c2")] >= 0


def test_a_pcie_switch_takes_its_four_cards_and_their_nics() -> None:
    routes = left("s0.sw1")

    assert [str(name) for name in routes.card_id[:5]] == [*(f"s0.c{i}" for i in range(4)), "s1.c0"]


def test_a_pair_that_is_down_is_its_bridge_and_the_cards_talk_over_pcie() -> None:
    whole, routes = compile_routes(RACK), left("s0.b0")

    assert len(routes.card_id) == 16
    assert len(whole.path(0, 1)) == 1
    assert len(routes.path(0, 1)) == 2  # up to the switch and down again
    assert left("s0.c1>s0.c0").path(0, 1).tolist() == routes.path(0, 1).tolist()


def test_traffic_takes_the_other_nic_of_the_switch() -> None:
    """A switch has two NICs; its four cards go out by both in turn, and by one if one is down."""
    whole, routes = compile_routes(RACK), left("s0.nic0")
    names = [{str(r.link_name[link]) for link in r.up_links[:4, 2]} for r in (whole, routes)]

    assert names == [{"s0.nic0>leaf", "s0.nic1>leaf"}, {"s0.nic1>leaf"}]
    assert routes.latency_ps(0, 8) == whole.latency_ps(0, 8)


def test_a_server_without_a_nic_has_no_path_to_others_but_its_own_paths() -> None:
    routes = left("s0.nic*")

    assert routes.latency_ps(0, 8) >= UNREACHABLE_PS
    assert routes.latency_ps(0, 7) == compile_routes(RACK).latency_ps(0, 7)


def test_one_of_two_spines_that_is_down_is_gone_around() -> None:
    pod = build_pod(CORSAIR, racks=2, servers_per_rack=1)
    spines = sum(kind["kind"] == "spine" for _, kind in pod.nodes(data=True))
    routes = compile_routes(take_down(pod, ["spine0"]))

    assert spines > 1
    assert routes.latency_ps(0, 8) == compile_routes(pod).latency_ps(0, 8)


def test_what_is_not_there_is_named_with_what_is() -> None:
    with pytest.raises(TopologyError, match="no part matches 's9'; there are such as s"):
        take_down(RACK, ["s9"])
    with pytest.raises(TopologyError, match=r"no link matches 's0.nic9>leaf'"):
        take_down(RACK, ["s0.nic9>leaf"])
    with pytest.raises(AllDownError, match="no card is left"):
        take_down(RACK, ["s*"])


def test_a_topology_without_faults_is_refused_where_it_falls_apart() -> None:
    broken = take_down(RACK, ["leaf"])

    with pytest.raises(TopologyError):
        compile_routes(broken)
    with pytest.raises(TopologyError, match="bandwidth_scale"):
        scale_links(RACK, "*", 0.0)
