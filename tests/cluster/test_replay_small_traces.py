"""Small Chakra traces on plain networks and cards, with times that can be counted by hand.

Links have 50 GB/s (of 2^30 bytes) and 500 ns, so a ring of four has its farthest rank 1 us away.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest

from cluster import ReplayRun, replay_trace
from cluster.commands.app import main
from cluster.replay.reference import replay_reference
from workloads.chakra.columns import ChakraError

US_PS = 1_000_000
MIB = 1 << 20
BYTE_PS = 1e12 / (50 * (1 << 30))
KIND = {"all_reduce": 0, "all_gather": 2, "broadcast": 5, "all_to_all": 6, "reduce_scatter": 7}
BARRIER = 9
Node: TypeAlias = Mapping[str, Any]


def kernel(us: int, *deps: int, **more: Any) -> Node:
    return {"NodeType": 4, "runtime": us, "data_deps": list(deps), **more}


def call(code: int, size: int, *deps: int, **more: Any) -> Node:
    return {
        "NodeType": 7, "comm_type": code, "comm_size": size, "data_deps": list(deps), **more
    }  # fmt: skip


class Replays:
    """Replays traces of a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def lay_down(self, ranks: Sequence[Sequence[Node]], groups: Any = None) -> Path:
        folder = self.folder / "trace"
        folder.mkdir()
        for rank, nodes in enumerate(ranks):
            graph = [{"Id": at, "Name": "n", **node} for at, node in enumerate(nodes)]
            (folder / f"t.{rank}.json").write_text(json.dumps({"workload_graph": graph}))
        if groups is not None:
            (folder / "comm_group.json").write_text(json.dumps(groups))
        return folder

    def network(self, shape: str = "Ring", ranks: int = 4) -> str:
        file = self.folder / "network.yml"
        file.write_text(
            f"topology: [{shape}]\nnpus_count: [{ranks}]\nbandwidth: [50.0]\nlatency: [500]\n"
        )
        return str(file)

    def __call__(self, nodes: Sequence[Node], *, shape: str = "Ring", ranks: int = 4) -> ReplayRun:
        """All ranks do the same."""
        folder = self.lay_down([nodes] * ranks)
        return self.on(folder, network=self.network(shape, ranks))

    def on(self, folder: Path, **scenario: Any) -> ReplayRun:
        return replay_trace({"workload": {"chakra": str(folder)}, **scenario})


@pytest.fixture
def replays(tmp_path: Path) -> Replays:
    return Replays(tmp_path)


def makespan_ps(run: ReplayRun) -> int:
    """Of both engines."""
    found = run.outcome.replayed.makespan_ps
    other = replay_reference(run.outcome.operations, run.machine.calls.transfers)
    assert other.makespan_ps == found
    return found


# CUDA streams


@pytest.mark.parametrize("stream", [5, 0, 1, 140, -1, 2**63 - 1, -(2**63)])
def test_a_cpu_operation_and_a_kernel_share_nothing_whatever_the_stream(
    replays: Replays, stream: int
) -> None:
    run = replays([kernel(1000, is_cpu_op=True, stream=stream), kernel(500, stream=stream)])

    assert makespan_ps(run) == 1000 * US_PS
    assert run.summary["flags"] == []


def test_kernels_of_one_cuda_stream_run_one_after_another_and_others_beside_them(
    replays: Replays,
) -> None:
    """500 + 300 us on stream 7, 600 us on stream 20: 800 us."""
    nodes = [kernel(500, stream=7), kernel(600, stream=20), kernel(300, stream=7)]

    run = replays(nodes)

    assert makespan_ps(run) == 800 * US_PS
    assert run.outcome.replayed.start_ps[:3].tolist() == [0, 0, 500 * US_PS]


def test_a_kernel_and_a_collective_of_one_stream_do_not_overlap(replays: Replays) -> None:
    """The collective of 0 bytes waits for the kernel: 500 us, then two rounds to the farthest."""
    run = replays([kernel(500, stream=7), call(KIND["all_reduce"], 0, stream=7)])

    assert makespan_ps(run) == 502 * US_PS


def test_a_kernel_without_a_stream_shares_the_queue_of_no_cuda_stream(replays: Replays) -> None:
    run = replays([kernel(500), kernel(500, stream=0)])

    assert makespan_ps(run) == 500 * US_PS
    assert "nothing orders the kernels of compute and CUDA stream 0" in run.summary["flags"][0]


def test_more_cuda_streams_than_queues_are_refused(replays: Replays) -> None:
    with pytest.raises(ChakraError, match="more than 123 CUDA streams"):
        replays([kernel(1, stream=at) for at in range(130)], ranks=2)


def test_kernels_that_nothing_orders_are_named(
    replays: Replays, capsys: pytest.CaptureFixture[str]
) -> None:
    nodes = [
        kernel(100, is_cpu_op=True),
        kernel(500, 0, stream=7),
        call(KIND["all_reduce"], MIB, 0, stream=20),
    ]
    folder = replays.lay_down([nodes] * 4)
    scenario = {"network": replays.network(), "workload": {"chakra": str(folder)}}
    (replays.folder / "s.yaml").write_text(json.dumps(scenario))

    main(["replay", str(replays.folder / "s.yaml"), "--out", str(replays.folder), "--json"])

    said = "nothing orders the kernels of CUDA stream 7 and CUDA stream 20 (ranks: 4)"
    out, err = capsys.readouterr()
    assert said in json.loads(out)["flags"][0]
    assert f"note: {said}" in err


@pytest.mark.parametrize("between", [[], [kernel(1, 1, is_cpu_op=True)]])
def test_kernels_of_two_streams_are_ordered_also_through_the_cpu(
    replays: Replays, between: list[Node]
) -> None:
    nodes = [kernel(5, is_cpu_op=True), kernel(5, 0, stream=7), *between]
    run = replays([*nodes, kernel(5, len(nodes) - 1, stream=20)])

    assert run.summary["flags"] == []


# Barriers and empty collectives


@pytest.mark.parametrize("mode", ["coflow", "steps", "messages"])
@pytest.mark.parametrize("size", [0, 1, MIB])
def test_a_barrier_takes_the_latency_to_the_farthest_rank(
    replays: Replays, size: int, mode: str
) -> None:
    folder = replays.lay_down([[call(BARRIER, size)]] * 4)
    run = replays.on(folder, network=replays.network(), fabric={"collectives": mode})

    assert makespan_ps(run) == US_PS
    assert run.outcome.replayed.load_bytes.sum() == 0


def test_ranks_of_a_plain_network_are_of_no_stage_and_no_replica(replays: Replays) -> None:
    run = replays.on(replays.lay_down([[call(BARRIER, 0)]] * 4), network=replays.network())

    times = dict(run.parts())["card_times"]

    assert times["stage"].mask.tolist() == times["replica"].mask.tolist() == [True] * 4


def test_ten_barriers_in_a_row_take_ten_times_as_long(replays: Replays) -> None:
    run = replays([call(BARRIER, 0, *range(at)[-1:]) for at in range(10)])

    assert makespan_ps(run) == 10 * US_PS


@pytest.mark.parametrize(
    ("name", "rounds"),
    [("all_reduce", 2), ("reduce_scatter", 1), ("all_gather", 1), ("all_to_all", 1)],
)
@pytest.mark.parametrize("mode", ["coflow", "steps", "messages"])
def test_an_empty_collective_pays_the_latency_of_its_rounds(
    replays: Replays, name: str, rounds: int, mode: str
) -> None:
    folder = replays.lay_down([[call(KIND[name], 0)]] * 4)
    run = replays.on(folder, network=replays.network(), fabric={"collectives": mode})

    assert makespan_ps(run) == rounds * US_PS
    assert run.outcome.replayed.load_bytes.sum() == 0


def test_an_empty_broadcast_goes_down_the_tree(replays: Replays) -> None:
    """0 > 2 over two links, then 0 > 1 and 2 > 3 over one: 1 + 0.5 us."""
    assert makespan_ps(replays([call(KIND["broadcast"], 0)])) == 1.5 * US_PS


@pytest.mark.parametrize("mode", ["coflow", "steps", "messages"])
@pytest.mark.parametrize("code", [BARRIER, *KIND.values()])
def test_an_empty_collective_of_cards_pays_at_least_the_farthest_latency(
    replays: Replays, code: int, mode: str
) -> None:
    folder = replays.lay_down([[call(code, 0)]] * 8)
    run = replays.on(folder, fabric={"collectives": mode})
    racks = run.machine.racks
    assert racks is not None
    farthest_ps = int(racks.routes.latency_ps(np.arange(8)[:, None], np.arange(8)[None, :]).max())

    assert makespan_ps(run) >= run.machine.work.dispatch_ps[0] + farthest_ps
    assert run.outcome.replayed.load_bytes.sum() == 0


def test_an_empty_message_takes_the_latency_of_its_links_also_with_store_and_forward(
    replays: Replays,
) -> None:
    message = {"comm_size": 0, "comm_tag": 0, "data_deps": []}
    send, receive = {"NodeType": 5, "comm_dst": 1}, {"NodeType": 6, "comm_src": 0}
    folder = replays.lay_down([[{**send, **message}], [{**receive, **message}]])
    runs = [
        replays.on(folder, fabric={"forwarding": how})
        for how in ("cut_through", "store_and_forward")
    ]

    assert makespan_ps(runs[0]) == makespan_ps(runs[1]) > 0


# Broadcasts


def test_a_large_broadcast_is_a_scatter_and_an_all_gather(replays: Replays) -> None:
    """Eight parts over seven links at once, twice: 2 x (500 ns + 8 MiB at 50 GB/s) = 313.5 us."""
    run = replays([call(KIND["broadcast"], 64 * MIB)], shape="FullyConnected", ranks=8)

    assert makespan_ps(run) == pytest.approx(2 * (500_000 + 8 * MIB * BYTE_PS), abs=2)


def test_a_small_broadcast_stays_a_tree(replays: Replays) -> None:
    """One byte: three rounds of a link would be 1.5 us; a scatter and an all-gather are two."""
    run = replays([call(KIND["broadcast"], 1)], shape="FullyConnected", ranks=8)

    assert makespan_ps(run) == pytest.approx(US_PS, abs=10)
    assert makespan_ps(run) >= US_PS


# Groups and idle ranks


def test_group_0_is_what_the_file_says_where_that_is_some_ranks(replays: Replays) -> None:
    """2 (n - 1) = 2 rounds of half a MiB between neighbours."""
    calls, work = [call(0, MIB, pg_name="0")], [kernel(1)]
    folder = replays.lay_down([calls, calls, work, work], groups={"0": [0, 1]})
    run = replays.on(folder, network=replays.network())

    assert makespan_ps(run) == pytest.approx(2 * (500_000 + MIB / 2 * BYTE_PS), abs=2)
    assert 'process group "0" is defined as ranks 0, 1' in run.summary["flags"][0]


@pytest.mark.parametrize("group", [[0, 1, 2, 3], [3, 2, 1, 0], []])
def test_group_0_of_all_ranks_needs_no_word(replays: Replays, group: list[int]) -> None:
    folder = replays.lay_down([[call(0, MIB, pg_name="0")]] * 4, groups={"0": group})

    assert replays.on(folder, network=replays.network()).summary["flags"] == []


def test_group_0_of_ranks_without_files_is_not_used_and_named(replays: Replays) -> None:
    folder = replays.lay_down([[call(0, 0, pg_name="0")]] * 4, groups={"0": [0, 1, 9]})
    run = replays.on(folder, network=replays.network())

    assert makespan_ps(run) == 2 * US_PS
    assert "is not used, since rank 9 has no file" in run.summary["flags"][0]


def test_a_trace_of_fewer_ranks_than_the_network_says_which_are_idle(replays: Replays) -> None:
    folder = replays.lay_down([[call(BARRIER, 0)]] * 4)
    run = replays.on(folder, network=replays.network(ranks=8))

    said = "the trace has 4 ranks, on the first 4 of 8 ranks of network"
    assert said in run.summary["flags"][0]
    assert makespan_ps(run) == 1.5 * US_PS  # no way round: ranks 0 and 3 are three links apart
    assert "on the first 4 of 8 cards" in replays.on(folder).summary["flags"][0]
