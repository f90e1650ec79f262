"""Other NICs than JetStream in Corsair servers."""

from pathlib import Path

import pytest

from topology.build import build_rack
from topology.catalog import NICS, load_hardware
from topology.route import compile_routes
from topology.types import TopologyError

REPLACED = {
    "server.nic_bandwidth_bytes_per_s",
    "server.nic_w",
    "rack.network_latency_s",
    "cost.nic_usd",
}


@pytest.mark.parametrize("nic", NICS)
def test_a_nic_replaces_four_figures_and_no_other(nic: str) -> None:
    own, other = load_hardware("corsair"), load_hardware(f"corsair+{nic}")
    moved = {name for name in own.figures if own.figures[name] != other.figures[name]}

    assert moved == REPLACED
    assert (other.name, other.nic) == (f"corsair+{nic}", nic)
    assert other.sources.keys() > own.sources.keys()


def test_messages_between_servers_take_the_latency_of_the_nic() -> None:
    slower = compile_routes(build_rack(load_hardware("corsair+connectx-7")))

    assert slower.latency_ps(0, 8) == 2_200_000
    assert slower.latency_ps(0, 7) == 765_000  # inside a server no message crosses a NIC


def test_the_x16_of_a_card_limits_a_nic_of_800_gigabits() -> None:
    routes = compile_routes(build_rack(load_hardware("corsair+connectx-8")))

    # four links of 64, 64, 100 and 100 GB/s, and both ways back
    assert routes.link_bandwidth_bytes_per_s[routes.path(0, 8)].min() == 64e9


def test_a_file_of_ones_own_names_a_nic_among_its_bases(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text("base: [corsair, thor-2]\n")

    assert load_hardware("mine.yaml")["server.nic_w"] == 25
    with pytest.raises(
        TopologyError, match=r"mine.yaml\+thor-2: a file names a NIC among its base"
    ):
        load_hardware("mine.yaml+thor-2")


@pytest.mark.parametrize(
    ("name", "fabric", "said"),
    [
        ("corsair+conectx-7", "auto", "unknown NIC 'conectx-7'; did you mean 'connectx-7'"),
        ("corsair+", "auto", "unknown NIC '' .allowed: connectx-7, connectx-8, pollara-400"),
        ("connectx-7", "auto", "no hardware 'connectx-7'"),
        ("h100+connectx-7", "auto", "found h100 .kind gpu."),
        ("corsair-supernode+thor-2", "auto", "found corsair-supernode .on the fabric supernode."),
        ("corsair+thor-2", "supernode", "fabric supernode has NICs of its own between nodes"),
    ],
)
def test_nics_that_do_not_fit_are_refused(name: str, fabric: str, said: str) -> None:
    with pytest.raises(TopologyError, match=said):
        load_hardware(name, fabric=fabric)
