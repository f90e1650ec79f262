"""Plain networks: the file format, the links of a message, and errors."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from topology.astra_network import GB, SHAPES, Network, read_network
from topology.strict_yaml import DocumentError
from topology.types import TopologyError


def network(
    folder: Path, topology: str, npus: str, bandwidth: str = "[50]", latency: str = "[500]"
) -> Network:
    path = folder / "net.yml"
    path.write_text(
        f"topology: {topology}\nnpus_count: {npus}\nbandwidth: {bandwidth}\nlatency: {latency}\n"
    )
    return read_network(path)


def names(net: Network, src: int, dst: int) -> list[str]:
    return [str(name) for name in net.link_name[net.path(src, dst)]]


def test_a_gigabyte_is_two_to_the_thirty_bytes_as_astra_sim_counts(tmp_path: Path) -> None:
    net = network(tmp_path, "[Ring]", "[8]", "[50.0]", "[500.0]")

    assert net.ranks == 8
    assert set(net.link_bandwidth_bytes_per_s) == {50 * 1_073_741_824}
    assert set(net.link_latency_ps) == {500_000}


def test_a_ring_is_crossed_in_the_shorter_direction_and_upwards_on_ties(tmp_path: Path) -> None:
    net = network(tmp_path, "[Ring]", "[8]")

    assert names(net, 0, 2) == ["0>1", "1>2"]
    assert names(net, 0, 6) == ["0>7", "7>6"]
    assert names(net, 0, 4) == ["0>1", "1>2", "2>3", "3>4"]
    assert names(net, 7, 1) == ["7>0", "0>1"]
    assert net.latency_ps(0, [0, 1, 4, 5]).tolist() == [0, 500_000, 2_000_000, 1_500_000]
    assert len(net.link_name) == 16


def test_a_ring_of_two_has_one_cable(tmp_path: Path) -> None:
    net = network(tmp_path, "[Ring]", "[2]")

    assert net.link_name.tolist() == ["0>1", "1>0"]
    assert names(net, 1, 0) == ["1>0"]


def test_a_fully_connected_network_is_one_hop_everywhere(tmp_path: Path) -> None:
    net = network(tmp_path, "[FullyConnected]", "[4]", latency="[30.5]")

    assert len(net.link_name) == 4 * 3
    assert names(net, 3, 1) == ["3>1"]
    assert names(net, 1, 3) == ["1>3"]
    assert net.latency_ps(1, 3) == 30_500


def test_a_switch_is_two_hops_away_from_every_rank(tmp_path: Path) -> None:
    net = network(tmp_path, "[Switch]", "[8]")

    assert len(net.link_name) == 16
    assert names(net, 2, 5) == ["2>sw0.0", "sw0.0>5"]
    assert net.latency_ps(2, 5) == 1_000_000


def test_a_message_crosses_one_dimension_after_the_other(tmp_path: Path) -> None:
    net = network(tmp_path, "[Ring, Switch]", "[4, 2]", "[50, 25]", "[500, 1000]")

    assert net.ranks == 8
    assert names(net, 1, 6) == ["1>2", "2>sw1.2", "sw1.2>6"]
    assert net.latency_ps(1, 6) == 500_000 + 2 * 1_000_000
    assert names(net, 1, 5) == ["1>sw1.1", "sw1.1>5"]
    crossed = net.path(1, 6)
    assert net.link_dimension[crossed].tolist() == [0, 1, 1]
    assert (net.link_bandwidth_bytes_per_s[crossed] / GB).tolist() == [50, 25, 25]


def test_three_dimensions_number_ranks_from_the_first(tmp_path: Path) -> None:
    net = network(
        tmp_path, "[FullyConnected, Ring, Switch]", "[2, 8, 4]", "[1, 1, 1]", "[1, 10, 100]"
    )

    assert net.ranks == 64
    # 47 is at (1, 7, 2); 2 is at (0, 1, 0): 1 hop, 2 up over the end of the ring, 2
    assert net.latency_ps(47, 2) == 1_000 + 2 * 10_000 + 2 * 100_000
    assert names(net, 47, 2) == ["47>46", "46>32", "32>34", "34>sw2.2", "sw2.2>2"]


@settings(max_examples=40, deadline=None)
@given(
    dimensions=st.lists(
        st.tuples(st.sampled_from(SHAPES), st.integers(2, 5)), min_size=1, max_size=3
    )
)
def test_every_path_leads_from_its_source_to_its_target(
    dimensions: list[tuple[str, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    count = len(dimensions)
    net = network(
        tmp_path_factory.mktemp("net"),
        f"[{', '.join(shape for shape, _ in dimensions)}]",
        f"[{', '.join(str(size) for _, size in dimensions)}]",
        str([1] * count),
        str([10**place for place in range(count)]),
    )
    everyone = np.arange(net.ranks)
    latency_ps = net.latency_ps(everyone[:, None], everyone)

    assert len(set(net.link_name)) == len(net.link_name)
    for src in range(0, net.ranks, 7):
        for dst in range(net.ranks):
            walked = [name.split(">") for name in names(net, src, dst)]
            stops = [str(src), *(end for _, end in walked)]
            assert [start for start, _ in walked] == stops[:-1]
            assert stops[-1] == str(dst)
            assert net.link_latency_ps[net.path(src, dst)].sum() == latency_ps[src, dst]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("topology: [Ring]\nnpus_count: [8]\nbandwidth: [50]\n", "net.yml:1: latency is missing"),
        (
            "topology: [Rign]\nnpus_count: [8]\nbandwidth: [5]\nlatency: [5]\n",
            "did you mean 'Ring'",
        ),
        (
            "topology: [Ring]\nnpus_count: [8, 2]\nbandwidth: [5]\nlatency: [5]\n",
            "net.yml:2: npus_c",
        ),
        (
            "topology: [Ring]\nnpus_count: [1]\nbandwidth: [5]\nlatency: [5]\n",
            "number from 2, found 1",
        ),
        (
            "topology: [Ring]\nnpus_count: [8]\nbandwidth: [0]\nlatency: [5]\n",
            "net.yml:3: bandwidth",
        ),
        (
            "topology: [Ring]\nnpus_count: [8]\nbandwidth: [.nan]\nlatency: [5]\n",
            "net.yml:3: bandw",
        ),
        (
            "topology: [Ring]\nnpus_count: [8]\nbandwidth: [5]\nlatency: [-1]\n",
            "net.yml:4: latency",
        ),
        ("topology: Ring\nnpus_count: [8]\nbandwidth: [5]\nlatency: [5]\n", "must be a list"),
        ("topologie: [Ring]\n", "did you mean 'topology'"),
        (
            "topology: [FullyConnected]\nnpus_count: [9999]\nbandwidth: [5]\nlatency: [5]\n",
            "net.yml:2: 9,999 ranks make 99,970,002 links",
        ),
    ],
)
def test_a_wrong_file_is_refused_with_its_line(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "net.yml"
    path.write_text(text)

    with pytest.raises(TopologyError) as refusal:
        read_network(path)

    assert said in str(refusal.value)
    assert refusal.value.exit_code == 2


def test_every_fault_of_a_file_is_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(TopologyError) as refusal:
        network(tmp_path, "[Ring, Star]", "[8, x]", "[1, 2]", "[3]")

    assert len(str(refusal.value).splitlines()) == 3


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match="no such file"):
        read_network(tmp_path / "none.yml")
