"""GPUs from a scenario to prices and served requests."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cluster.api.replay import replay_trace
from cluster.api.serving import simulate
from cluster.perf_model.attention import attention_ps, measures_of
from cluster.perf_model.collectives import group_of
from cluster.perf_model.devices.gpu import BOUNDS, PARTS, all_reduce
from cluster.perf_model.prices import PriceInputs, price_tables
from cluster.perf_model.prices.program import price_program, program_inputs
from cluster.scenario.formats import Formats
from cluster.scenario.load import load
from cluster.scenario.resolve import resolve
from cluster.serving.arrivals import arrivals_of
from cluster.serving.engine import serve
from cluster.serving.interface import Served
from cluster.serving.reference import serve_reference
from cluster.serving.run import Machine, assemble
from topology.build import build_pod, scale_links
from topology.catalog import load_hardware
from topology.route import compile_routes
from topology.types import TopologyError
from workloads.formats import get_format
from workloads.model import load_model
from workloads.plan import Plan
from workloads.program import Batch, generate_program

BF16 = get_format("bf16")


def scenario(hardware: str = "h100", ranks: int = 1, **more: Any) -> dict[str, Any]:
    """Llama 3.1 8B in bf16 for four users."""
    return {
        "name": "gpu",
        "hardware": hardware,
        "cluster": {"servers_per_rack": 1, "cards_per_server": ranks},
        "model": "llama-3.1-8b",
        "plan": {"tensor_parallel_size": ranks, "replicas": 1},
        "formats": dict.fromkeys(("weights", "activations", "kv", "wire"), "bf16"),
        "scheduler": {"max_num_seqs": 8, "max_num_batched_tokens": 512},
        "workload": {
            "synthetic": {
                "requests": 12,
                "arrivals": {"concurrency": 4},
                "prompt_tokens": {"fixed": 700},
                "output_tokens": {"fixed": 16},
            }
        },
        **more,
    }


@pytest.fixture(scope="module")
def machine() -> Machine:
    return assemble(resolve(load(scenario())))


def test_a_decode_of_one_sequence_reads_the_weights_once(machine: Machine) -> None:
    prices, figures = machine.prices, load_hardware("h100")
    rate = figures["gpu.memory_bandwidth_bytes_per_s"] * figures["gpu.gemm_bandwidth_efficiency"]
    # 32 layers of 4,096 x (6,144 + 4,096 + 28,672) and 14,336 x 4,096, two bytes each: 13.96 GB
    weights = 32 * 2 * (4096 * (6144 + 4096 + 28672) + 14336 * 4096)
    head = 2 * 4096 * 128256
    latency_s = figures["gpu.gemm_latency_s"]

    linear_s = prices.linear_ps[0, 1] * 1e-12
    head_s = (prices.head_ps[0, 1] - prices.head_ps[0, 0]) * 1e-12

    assert linear_s == pytest.approx(weights / rate + 32 * 4 * latency_s, rel=0.01)
    assert head_s == pytest.approx(head / rate + latency_s + figures["engine.sequence_s"], rel=0.01)
    assert prices.head_ps[0, 0] == round(figures["engine.step_s"] * 1e12)


def test_bounds_of_a_gpu_sum_to_its_prices(machine: Machine) -> None:
    prices = machine.prices

    assert prices.bounds == BOUNDS
    assert np.array_equal(prices.linear_by_bound_ps.sum(axis=-1), prices.linear_ps)
    assert np.array_equal(prices.head_by_bound_ps.sum(axis=-1), prices.head_ps)
    assert not prices.floor_ps.any()


def test_more_tokens_never_take_less_time(machine: Machine) -> None:
    assert (np.diff(machine.prices.linear_ps) >= 0).all()
    assert (np.diff(machine.prices.collective_ps) >= 0).all()


def test_the_host_is_paid_beside_asynchronous_scheduling_too() -> None:
    found = [
        assemble(
            resolve(load(scenario(scheduler={"max_num_seqs": 8, "async_scheduling": ahead})))
        ).prices
        for ahead in (False, True)
    ]

    assert [prices.host_ps for prices in found] == [0, 0]
    assert np.array_equal(found[0].head_ps, found[1].head_ps)


def test_the_kernel_and_the_reference_agree_on_a_gpu(machine: Machine) -> None:
    resolved = resolve(load(scenario()))
    problem = (arrivals_of(resolved), machine.prices, machine.limits)

    fast, slow = serve(*problem), serve_reference(*problem)

    for each in fields(Served):
        assert np.array_equal(getattr(fast, each.name), getattr(slow, each.name)), each.name


def test_a_request_pays_once_for_what_lies_between_client_and_engine() -> None:
    plain, late = (
        simulate(scenario(hardware_set={"engine.request_s": each})).summary for each in (0, 0.01)
    )

    for name, each in (("mean_ttft_ms", 10), ("mean_e2el_ms", 10), ("mean_tpot_ms", 0)):
        assert late[name] == pytest.approx(plain[name] + each)


def test_words_of_a_summary_are_those_of_a_gpu() -> None:
    summary: Any = simulate(scenario()).summary

    for key, names in (("bound_share", BOUNDS), ("energy_share", PARTS)):
        assert tuple(summary[key]) == names
        assert sum(summary[key].values()) == pytest.approx(1)


@pytest.mark.parametrize(
    "batch",
    [
        Batch(decode_contexts=(100, 1024, 2049)),
        Batch(chunk_tokens=96, chunk_contexts=(700,), last_chunks=1),
        Batch(decode_contexts=(7, 700), chunk_tokens=90, chunk_contexts=(500,)),
    ],
    ids=["decode", "prefill", "mixed"],
)
def test_the_operations_of_a_batch_sum_to_its_table_entry(batch: Batch) -> None:
    figures = load_hardware("b200", {"engine.step_s": 0.0, "engine.sequence_s": 0.0})
    model, plan = load_model("llama-3.1-8b"), Plan(tensor_parallel_size=1)
    supplied = PriceInputs(
        hardware=figures,
        routes=compile_routes(build_pod(figures, servers_per_rack=1)),
        model=model,
        plan=plan,
        formats=Formats(weights=BF16, activations=BF16, kv=BF16, wire=BF16),
        cards=np.zeros((1, 1, 1), np.int64),
        max_tokens=96,
        max_rows=32,
        max_context=8192,
    )
    tables = price_tables(supplied)
    decode, chunks = batch.met(0)
    sums = measures_of(
        1,
        decode_blocks=-(-decode // 64),
        prefill_blocks=-(-chunks // 64),
        prefill_passes=-(-chunks // 64),
        prefill_pairs=batch.pairs(0),
    )

    program = generate_program(program_inputs(supplied), [[batch]])
    price = price_program(program, supplied)

    listed = int(price.duration_ps[program.operations.stream <= 1].sum())
    step_ps = tables.linear_ps[0, batch.tokens] + tables.head_ps[0, batch.emitted]
    assert listed == step_ps + attention_ps(tables.attention[0], sums)


@pytest.mark.parametrize(
    ("payload", "latency_us", "copies"),
    [(1 << 10, 6, 3), (1 << 20, 12, 1.5), (1 << 24, 20, 1.25)],
    ids=["one shot", "two shots", "in the switch"],
)
def test_an_all_reduce_takes_the_fastest_of_three_kernels(
    payload: int, latency_us: int, copies: float
) -> None:
    figures = load_hardware(
        "h100",
        {
            "gpu.all_reduce_latency_s": 4e-6,
            "gpu.all_reduce_latency_growth": 0.25,
            "gpu.switch_all_reduce_latency_s": 20e-6,
            "gpu.all_reduce_bandwidth_efficiency": 0.5,
            "nvswitch.bandwidth_bytes_per_s": 400e9,
        },
    )
    routes = compile_routes(build_pod(figures, servers_per_rack=1))

    cost = all_reduce(figures, group_of(figures, routes, range(4)), np.array([0, payload]))

    # four GPUs: 4 us x 1.5 a shot; 3, 2 x 3/4 or 5/4 payloads at 200 GB/s
    sent = payload * copies
    assert cost is not None
    assert cost.ps.tolist() == [0, round(latency_us * 1e6 + sent / 200e9 * 1e12)]
    assert cost.tier_bytes.sum(axis=1).tolist() == [0, sent]


def test_groups_beyond_a_scale_up_network_go_the_library_s_way() -> None:
    for name, cards in (("h100", range(16)), ("rtx-pro-6000", range(4))):
        figures = load_hardware(name)
        routes = compile_routes(build_pod(figures, servers_per_rack=2))

        assert all_reduce(figures, group_of(figures, routes, cards), np.array([1024])) is None


def test_the_slowest_cable_of_a_scale_up_network_sets_the_pace_of_an_all_reduce() -> None:
    figures = load_hardware("h100", {"gpu.all_reduce_bandwidth_efficiency": 0.5})
    graph = build_pod(figures, servers_per_rack=1)
    payload = np.array([1 << 28])
    slowed = scale_links(graph, "s0.c2>s0.nvsw0", 0.1)
    whole, one = (
        all_reduce(figures, group_of(figures, compile_routes(each), range(4)), payload)
        for each in (graph, slowed)
    )

    # in the switch 5/4 payloads at 450 GB/s x 0.5, or at a tenth of it
    assert whole is not None
    assert one is not None
    assert (one.ps - whole.ps).item() == pytest.approx(5 / 4 * (1 << 28) / 225e9 * 9 * 1e12)


def served_alone(on: dict[str, Any], prompt_tokens: int, output_tokens: int) -> tuple[int, int]:
    """First token and end of one request, ps."""
    traffic = {
        "requests": 1,
        "arrivals": {"constant": {"rate_per_s": 1.0}},
        "prompt_tokens": {"fixed": prompt_tokens},
        "output_tokens": {"fixed": output_tokens},
    }
    one = simulate({**on, "workload": {"synthetic": traffic}}).outcome.served
    return int(one.first_token_ps[0]), int(one.finish_ps[0])


@pytest.mark.parametrize("ranks", [1, 4])
def test_a_lone_sequence_decodes_in_a_program_as_it_is_served(ranks: int) -> None:
    on = scenario(ranks=ranks)
    program = {"phase": "decode", "batch": 1, "context": 60, "steps": 10, "slots": 1}

    run = replay_trace({**on, "workload": {"program": program}})
    first_ps, end_ps = served_alone(on, 59, 11)

    assert run.outcome.replayed.makespan_ps == end_ps - first_ps


@pytest.mark.parametrize("model", ["llama-3.1-8b", "gpt-oss-20b"])
def test_chunks_of_a_prompt_are_read_in_a_program_as_they_are_served(model: str) -> None:
    on = scenario(
        ranks=2,
        model=model,
        hardware_set={"engine.eager_layer_s": 4e-4, "engine.captured_tokens": 100},
    )
    program = {"phase": "prefill", "batch": 1, "prompt_tokens": 3 * 512 + 77}

    run = replay_trace({**on, "workload": {"program": program}})
    first_ps, _ = served_alone(on, 3 * 512 + 77, 2)

    assert run.outcome.replayed.makespan_ps == first_ps


@pytest.mark.parametrize(
    "figure", ["gpu.attention_latency_s", "engine.eager_layer_s", "gpu.fp8_gemm_flop_efficiency"]
)
def test_a_file_that_lacks_a_constant_is_refused_by_its_name(tmp_path: Path, figure: str) -> None:
    section, _, name = figure.partition(".")
    file = tmp_path / "mine.yaml"
    file.write_text(f"name: mine\nbase: h100\nfigures:\n  {section}:\n    {name}: null\n")

    with pytest.raises(TopologyError, match=f"misses {figure}"):
        load_hardware(file)
