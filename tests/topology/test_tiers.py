from topology.build import build_pod, build_rack, build_server
from topology.catalog import load_hardware
from topology.inventory import count_words
from topology.route import compile_routes
from topology.tiers import distances, tiers_of

CORSAIR = load_hardware("corsair")


def test_a_rack_counts_every_cable_once_also_inside_its_cards() -> None:
    tiers = {tier.name: tier for tier in tiers_of(build_rack(CORSAIR), CORSAIR)}

    assert {name: tier.links for name, tier in tiers.items()} == {
        "network on chip": 64 * 8 * 16,
        "die to die": 64 * 2 * 6,
        "package link": 64,
        "DMX bridge": 32,
        "card x16": 64,
        "inter-switch": 8,
        "host x16": 16,
        "NIC x16": 32,
        "Ethernet": 32,
    }
    assert tiers["die to die"].bandwidth_confidence == "secondary"
    assert tiers["Ethernet"].bandwidth_bytes_per_s == (50e9, 50e9)


def test_a_users_topology_has_only_its_own_tiers() -> None:
    tiers = tiers_of(build_server(CORSAIR))

    assert [tier.name for tier in tiers] == [
        "DMX bridge", "card x16", "inter-switch", "host x16", "NIC x16",
    ]  # fmt: skip
    assert tiers[0].bandwidth_confidence == ""


def test_distances_go_from_the_bridge_to_another_rack() -> None:
    found = distances(compile_routes(build_pod(CORSAIR, racks=2)))

    assert [round(way.latency_s * 1e9) for way in found] == [400, 650, 765, 2000, 3000]
    assert [way.bandwidth_bytes_per_s / 1e9 for way in found] == [256, 64, 64, 50, 50]
    assert found[2].example == "r0.s0.c0 - r0.s0.c4"


def test_counts_are_printed_as_text() -> None:
    assert count_words(build_server(CORSAIR, cards_per_server=2)) == (
        "1 server, 1 bridged pair, 2 cards, 2 PCIe switches, 1 host, 4 NICs"
    )
