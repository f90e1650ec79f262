"""What docs/studies/pair.md, pcie-road.md and nics.md conclude, held to new runs."""

import numpy as np
import pytest

from benchmarks.road_tables import (
    JETSTREAM,
    POOLS,
    ROADS,
    SEVENTY,
    TO_MATCH,
    Changes,
    Summary,
    ends,
    facility_kw,
    on_nic,
    served,
    spaced,
    spread,
)
from benchmarks.small_studies import PAGES, PAIR, TABLES
from benchmarks.supernode import TRAFFIC, shape, users
from cluster.perf_model.collectives import fabric
from cluster.perf_model.protocols import RouteTables
from corsair_common.units import Floats, Integers

pytestmark = pytest.mark.slow

SERVER: Changes = {
    "cluster": {"servers_per_rack": 1, "cards_per_server": 8},
    "memory": {"mode": "performance"},
}


def on_road(road: str, tensor: int, stages: int, traffic: str = "sixty") -> Summary:
    return served(SEVENTY, ROADS[road], shape(tensor, stages), TRAFFIC[traffic])


def of_nic(nic: str, tensor: int, stages: int, **figures: float) -> Summary:
    hardware, _ = on_nic(nic)
    cluster = {"cluster": {"fabric": "auto", "servers_per_rack": 8, "cards_per_server": 8}}
    moved = {"hardware_set": figures}
    return served(SEVENTY, hardware, cluster, shape(tensor, stages), TRAFFIC["one"], moved)


def test_every_table_has_its_place_on_its_page() -> None:
    for name, (file, _) in TABLES.items():
        page = (PAGES / file).read_text("utf-8")
        assert page.count(f"<!-- table {name} -->\n| ") == 1


def test_one_group_halves_a_token_from_lpddr() -> None:
    group, replicas = (
        served(PAIR, {"plan": plan}, users(1, 1024, 128, 3))
        for plan in (
            {"tensor_parallel_size": 2},
            {"tensor_parallel_size": 1, "replicas": 2},
        )
    )

    assert 0.49 < group["mean_tpot_ms"] / replicas["mean_tpot_ms"] < 0.51
    assert group["joules_per_output_token"] < 0.6 * replicas["joules_per_output_token"]


def test_two_stages_are_sooner_with_a_token_from_sram_and_later_with_the_first() -> None:
    group, stages = (
        served(PAIR, SERVER, shape(*plan), users(1, 1024, 64, 3)) for plan in ((2, 4), (1, 8))
    )

    assert stages["mean_tpot_ms"] < 0.98 * group["mean_tpot_ms"]
    assert stages["mean_ttft_ms"] > 1.4 * group["mean_ttft_ms"]


def test_nvlink_helps_only_cards_that_are_as_fast_inside() -> None:
    servers, as_they_are, to_match = (
        on_road(road, 4, 16)["output_throughput"]
        for road in ("8 air-cooled servers", "NVLink, cards as they are", "NVLink, cards to match")
    )

    assert as_they_are < servers < to_match
    assert TO_MATCH["card.package_link_bandwidth_bytes_per_s"] == 1e12  # NVLink's, on the page


def test_nvlink_with_ports_on_every_package_lies_between(monkeypatch: pytest.MonkeyPatch) -> None:
    def joined(routes: RouteTables, cards: Integers) -> Floats:
        tier = fabric.card_tiers(routes, cards)
        return np.equal(tier, fabric.tiers_of(routes).index("nvlink")).astype(np.float64)

    as_they_are, to_match = (ROADS[f"NVLink, cards {end}"] for end in ("as they are", "to match"))
    # costs are kept by content: a picosecond more makes the patched machine another one
    other = {"hardware_set": {"nvswitch.latency_s": 0.500001e-6}}
    work = (shape(4, 16), TRAFFIC["sixty"])
    low, high = (
        served(SEVENTY, road, *work)["output_throughput"] for road in (as_they_are, to_match)
    )
    monkeypatch.setattr(fabric, "bridged", joined)

    assert low < served(SEVENTY, as_they_are, *work, other)["output_throughput"] < high


def test_two_nodes_draw_a_third_less_than_eight_servers() -> None:
    servers, nodes = (
        facility_kw(on_road(road, 2, 32)) for road in ("8 air-cooled servers", "2 FabreX nodes")
    )

    assert 0.6 < nodes / servers < 0.7


def test_pipelines_hardly_notice_a_slow_nic_and_wide_groups_do() -> None:
    narrow, wide = (of_nic(JETSTREAM, *plan)["mean_tpot_ms"] for plan in ((2, 32), (16, 4)))
    slow = {"rack.network_latency_s": 10e-6}

    assert of_nic("connectx-7", 2, 32, **slow)["mean_tpot_ms"] < 1.05 * narrow
    assert of_nic("connectx-7", 16, 4, **slow)["mean_tpot_ms"] > 1.5 * wide


def test_kv_is_handed_over_at_the_rate_that_the_x16_lets_through() -> None:
    own, double = (
        served(POOLS, on_nic(nic)[0], {"transfer": {"mode": "whole"}}, spaced(8192))
        for nic in (JETSTREAM, "connectx-8")
    )

    # 64 GB/s of a Gen5 x16 instead of 50, of a line of 100
    ratio = own["mean_kv_transfer_ms"] / double["mean_kv_transfer_ms"]
    assert ratio == pytest.approx(64 / 50, rel=0.01)


def test_figures_go_to_the_end_that_is_good() -> None:
    good, bad = ends("corsair+connectx-8", "auto", ("server.nic", "rack.network"))

    assert good["hardware_set"]["server.nic_bandwidth_bytes_per_s"] == 100e9
    assert bad["hardware_set"]["rack.network_latency_s"] == 10e-6
    assert "server.nics" not in good["hardware_set"]  # what can be bought is no uncertainty


def test_a_band_is_written_only_where_it_is_seen() -> None:
    assert spread([1.2345, 1.1, 1.31]) == "1.23 (1.1 to 1.31)"
    assert spread([12345.0, 12346.0, 12344.0]) == "12,300"
