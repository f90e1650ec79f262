"""GPUs prefill and Corsair decodes: each pool as on its own machine, and what crosses between."""

import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cluster import Run, load, plan, sensitivity, simulate, sweep
from cluster.api.serving import assemble_any
from cluster.commands.app import main
from cluster.disaggregated.energy import messages_j, sent_byte_j
from cluster.disaggregated.kv_transfer import break_even_s
from cluster.disaggregated.placement import PooledMachine
from cluster.disaggregated.run import PooledOutcome
from cluster.disaggregated.tables import card_parts, link_parts
from cluster.perf_model.devices.dimc.dvfs import energy_scale
from cluster.perf_model.tables import PriceTables
from cluster.scenario.resolve import Resolved, resolve
from cluster.scenario.trust import trust_of
from results import open_run
from topology.catalog import load_hardware

H200, CORSAIR = load_hardware("h200"), load_hardware("corsair")
PIPELINE = {"tensor_parallel_size": 4, "pipeline_parallel_size": 2}
MIXED: Mapping[str, Any] = {
    "model": "llama-3.1-8b",
    "cluster": {"servers_per_rack": 2},
    "scheduler": {"max_num_seqs": 16, "max_num_batched_tokens": 512},
    "pools": {
        "prefill": {"hardware": "h200", "cards": 2, "plan": {"tensor_parallel_size": 2}},
        "decode": {"hardware": "corsair", "cards": 8, "plan": PIPELINE},
    },
    "workload": {
        "synthetic": {
            "requests": 30,
            "arrivals": {"poisson": {"rate_per_s": 40.0}},
            "prompt_tokens": {"uniform": {"low": 100, "high": 900}},
            "output_tokens": {"uniform": {"low": 1, "high": 12}},
        }
    },
}
ONE: Mapping[str, Any] = {
    "synthetic": {
        "requests": 1,
        "arrivals": {"constant": {"rate_per_s": 1.0}},
        "prompt_tokens": {"fixed": 16_384},
        "output_tokens": {"fixed": 128},
    }
}
LONG: Mapping[str, Any] = {
    "workload": ONE,
    "memory": {"mode": "auto"},
    "pools": {
        "prefill": {
            "memory": {"mode": "performance"},
            "plan": {"tensor_parallel_size": 1},
            "cards": 1,
            "hardware_set": {
                "host.hand_over_s": 0.0,
                "links.efficiency": 1.0,
                "server.nic_bandwidth_bytes_per_s": 25e9,
            },
        },
        "decode": {
            "memory": {"mode": "capacity"},
            "hardware_set": {"links.efficiency": 1.0},
            "plan": {"tensor_parallel_size": 8, "pipeline_parallel_size": 1},
        },
    },
}


@pytest.fixture(scope="module")
def run() -> Run:
    return simulate(load(MIXED))


def machine_of(run: Run) -> PooledMachine:
    assert isinstance(run.machine, PooledMachine)
    return run.machine


def outcome_of(run: Run) -> PooledOutcome:
    assert isinstance(run.outcome, PooledOutcome)
    return run.outcome


def pools_of(resolved: Resolved) -> tuple[Resolved, Resolved]:
    assert resolved.pools is not None
    return resolved.pools


def test_two_gib_over_25_gb_per_s_take_86_ms_so_128_tokens_must_each_save_0_67_ms() -> None:
    """16,384 tokens of Llama-3.1-8B: 32 layers x 8 heads x 2 x 128 values of 2 bytes are 2 GiB."""
    run = simulate(load(MIXED, transfer={"format": "prefill"}, **LONG))
    outcome, kv = outcome_of(run), machine_of(run).kv
    before_ps, after_ps = kv.conversion_ps(np.array([16_384]), last_layer=False)
    fixed_ps = 3_000_000 + round(H200["links.chunk_overhead_s"] * 1e12)
    network_ps = int(outcome.transfer_ps[0]) - int(after_ps[0]) - fixed_ps

    assert outcome.transfer_bytes.tolist() == [2 * 2**30]
    assert before_ps.tolist() == [0]
    assert network_ps == pytest.approx(2 * 2**30 / 25e9 * 1e12, abs=10)
    assert network_ps * 1e-9 == pytest.approx(85.9, abs=0.05)
    assert 1e3 * break_even_s(network_ps * 1e-12, 128) == pytest.approx(0.671, abs=0.0005)


def test_the_cards_that_do_not_send_their_format_convert() -> None:
    """The GPU reads 2 bytes and writes 65/64 for each of 2 x 128 values of a head, token and layer;
    Corsair rounds each of its card's heads once, 3 clocks on 8 chiplets of 16 slices of 64 lanes.
    """
    narrow, wide = (
        simulate(load(MIXED, transfer={"format": form}, **LONG)) for form in ("narrower", "prefill")
    )
    elements = 16_384 * 32 * 8 * 2 * 128
    gpu_s = elements * (2 + 65 / 64) / (0.75 * 4.8e12)
    corsair_s = elements / 8 * 3 / (8 * 16 * 64 * CORSAIR["card.clock_hz"])
    before_ps, none_ps = machine_of(narrow).kv.conversion_ps(np.array([16_384]), last_layer=False)
    zero_ps, after_ps = machine_of(wide).kv.conversion_ps(np.array([16_384]), last_layer=False)

    assert (none_ps.tolist(), zero_ps.tolist()) == ([0], [0])
    assert before_ps[0] == pytest.approx(gpu_s * 1e12, abs=1)
    assert after_ps[0] == pytest.approx(corsair_s * 1e12, abs=1)
    assert outcome_of(narrow).transfer_bytes.tolist() == [elements * 65 // 64]


def test_handing_over_takes_what_both_engines_take(run: Run) -> None:
    slower = {"prefill": {"hardware_set": {"host.hand_over_s": 0.125}}}
    slower |= {"decode": {"hardware_set": {"host.hand_over_s": 0.5}}}
    late = simulate(load(MIXED, pools=slower))
    added_ps = outcome_of(late).transfer_ps - outcome_of(run).transfer_ps

    assert H200["host.hand_over_s"] == 0.025
    assert added_ps.tolist() == [600_000_000_000] * 30


@pytest.mark.parametrize(
    ("number", "alone"),
    [
        (0, {"hardware": "h200", "plan": {"tensor_parallel_size": 2, "replicas": 1}}),
        (1, {"hardware": "corsair", "plan": PIPELINE}),
    ],
)
def test_a_pool_has_the_prices_of_a_machine_of_its_own(
    run: Run, number: int, alone: dict[str, Any]
) -> None:
    single = assemble_any(
        resolve(load(MIXED, pools=None, cluster={"servers_per_rack": 1}, **alone))
    )
    pool = machine_of(run).pools[number]

    for field in fields(PriceTables):
        own, other = getattr(pool.prices, field.name), getattr(single.prices, field.name)
        assert np.array_equal(own, other), field.name
    assert np.array_equal(pool.joules.link_j, single.joules.link_j)
    assert pool.fit.blocks == single.fit.blocks


def test_energy_of_the_summary_is_that_of_all_cards_of_both_kinds(run: Run) -> None:
    spent = dict.fromkeys(machine_of(run).parts, 0.0)
    for part in card_parts(machine_of(run), outcome_of(run)):
        for name in spent:
            spent[name] += float(np.sum(part[f"energy_{name}_j"]))
    total = sum(spent.values())
    idle = next(
        part
        for part in card_parts(machine_of(run), outcome_of(run))
        if part["card_name"] == "s0.c7"
    )

    assert run.summary["energy_j"] == pytest.approx(total)
    for name, share in run.summary["energy_share"].items():
        assert share == pytest.approx(spent[name] / total), name
    assert {"tensor", "sram", "lpddr", "scale_up"} <= set(spent)
    assert np.sum(idle["energy_static_j"]) == pytest.approx(120.0 * run.summary["duration"])
    assert idle["energy_sram_j"] == 0.0


def test_a_byte_between_kinds_is_read_from_hbm_and_written_to_sram(run: Run) -> None:
    """Every byte crosses six links: four of PCIe at 7 pJ a bit, and two halves of the leaf's 9."""
    machine = machine_of(run)
    spent = dict(zip(machine.parts, messages_j(machine, outcome_of(run)).sum(axis=0), strict=True))
    ends = dict(zip(machine.parts, sent_byte_j(machine), strict=True))
    sent_bits = 8 * int(outcome_of(run).transfer_bytes.sum())
    sram_j = CORSAIR["energy.sram_j_per_bit"] * energy_scale(CORSAIR)
    memory_j = H200["energy.memory_j_per_bit"]

    assert spent["pcie"] == pytest.approx(4 * 7e-12 * sent_bits)
    assert spent["ethernet"] == pytest.approx(9e-12 * sent_bits)
    assert ends["sram"] == pytest.approx(8 * sram_j)
    # Read to be sent, and for each byte of mxint8 128/65 bytes of bf16 read and one written.
    assert ends["memory"] == pytest.approx(8 * memory_j * (1 + 128 / 65 + 1))


def test_the_facility_and_the_price_are_sums_over_both_kinds(run: Run) -> None:
    """Eight H200, 8 NICs and 9 switches in one server, eight Corsair, 4 NICs and 2 in another."""
    watts = run.summary["facility_power_w"]
    cards_usd = 8 * 35_000 + 8 * 10_000
    around_usd = 60_000 + 8 * 2_000 + 25_000 + 4 * 2_500 + 30_000

    assert watts["hosts"] == 2_000 + 1_500
    assert watts["nics"] == 8 * 25 + 4 * 150
    assert watts["leaves"] == 1_000
    assert run.summary["capital_usd"] == cards_usd + around_usd
    machines_w = sum(each for name, each in watts.items() if name != "cooling")
    assert watts["cooling"] == pytest.approx(0.25 * machines_w)
    hours = 5 * 365.25 * 24
    power_usd = 1.25 * machines_w / 1e3 * 0.08
    assert run.summary["cost_per_hour_usd"] == pytest.approx(
        (cards_usd + around_usd) / hours + power_usd, rel=1e-3
    )


def test_links_of_both_kinds_are_busy_at_their_own_rate(run: Run) -> None:
    changed = {"decode": {"hardware_set": {"links.efficiency": 0.5}}}
    half = simulate(load(MIXED, pools=changed))
    seen = {
        part["link_name"]: part["bytes"].sum() / part["busy_s"].sum()
        for part in link_parts(machine_of(half), outcome_of(half))
    }

    assert seen["s0.nic0>leaf"] == pytest.approx(0.85 * 50e9)
    assert seen["leaf>s1.nic0"] == pytest.approx(0.5 * 50e9)
    assert machine_of(half).routes.link_name.size == machine_of(run).routes.link_name.size


def test_tables_have_columns_of_both_kinds_and_are_read_again(tmp_path: Path) -> None:
    saved = simulate(load(MIXED, store={"steps": True}), out=tmp_path)
    again = open_run(tmp_path, saved.run_id)
    cards = again.table("cards").to_pandas()
    busy = [name for name in cards if name.startswith("busy_")]
    nodes = again.table("nodes").to_pandas().dropna(subset=["hardware"])
    where = again.table("placement").to_pandas().groupby("replica")["where"].unique()

    assert {"busy_tensor_s", "busy_stream_s", "busy_network_s"} <= set(busy)
    assert np.allclose(cards[busy].sum(axis=1) + cards["idle_s"], cards["end_s"] - cards["start_s"])
    assert cards[cards["card"] >= 8]["busy_tensor_s"].max() == 0
    assert cards[cards["card"] < 8]["busy_stream_s"].max() == 0
    assert nodes["hardware"].value_counts().to_dict() == {"h200": 8, "corsair": 8}
    assert ([*where[0]], [*where[1]]) == (["hbm"], ["sram"])
    assert again.summary["bound_share"] == saved.summary["bound_share"]
    assert again.manifest["hardware"]["links.chunk_overhead_s"]["value"] == 500e-9
    assert again.manifest["hardware"]["links.chunk_overhead_s (corsair)"]["value"] == 20e-9
    assert main(["report", str(tmp_path / saved.run_id), "--out", str(tmp_path / "r.html")]) == 0


def test_hardware_of_its_own_by_another_name_is_the_same_run() -> None:
    base = {**MIXED, "pools": {"prefill": {"cards": 8}, "decode": {"cards": 8}}, "plan": PIPELINE}
    named = {pool: {"hardware": "corsair"} for pool in ("prefill", "decode")}
    plain, same = (resolve(load(base, pools=pools)) for pools in ({}, named))

    assert plain.mixed is same.mixed is None
    assert plain.run_id == same.run_id


def test_the_run_is_named_by_the_hardware_and_formats_of_both_pools() -> None:
    changes: list[dict[str, Any]] = [
        {},
        {"prefill": {"hardware": "h100"}},
        {"prefill": {"hardware_set": {"host.hand_over_s": 0.1}}},
        {"decode": {"hardware_set": {"host.hand_over_s": 0.1}}},
        {"prefill": {"formats": {"kv": "fp8_e4m3"}}},
        {"decode": {"formats": {"weights": "mxint4"}}},
        {"decode": {"power": {"clock_hz": 1.0e9}}},
    ]
    names = [resolve(load(MIXED, pools=each)).run_id for each in changes]
    names.append(resolve(load(MIXED, transfer={"format": "prefill"})).run_id)
    again = resolve(load(resolve(load(MIXED)).scenario.model_dump(mode="json")))

    assert len(set(names)) == len(names)
    assert again.run_id == names[0]


def test_a_pool_with_hardware_inherits_no_figures_formats_or_power() -> None:
    scenario = {
        **MIXED,
        "hardware_set": {"host.overhead_s": 1e-5},
        "formats": {"weights": "mxint4"},
        "power": {"clock_hz": 1.0e9},
        "pools": {**MIXED["pools"], "decode": {"cards": 8, "plan": PIPELINE}},
    }
    prefill, decode = pools_of(resolve(load(scenario)))

    assert (prefill.hardware.name, prefill.formats.weights.name) == ("h200", "bf16")
    assert (decode.hardware["card.clock_hz"], decode.formats.weights.name) == (1.0e9, "mxint4")
    assert decode.hardware["host.overhead_s"] == 1e-5
    assert load(scenario, sets=["pools.prefill.hardware_set.host.overhead_s=0.5"]).pools is not None


def test_two_clocks_of_one_hardware_are_two_kinds_of_servers() -> None:
    slow = {"hardware": "corsair", "cards": 8, "plan": PIPELINE, "power": {"clock_hz": 0.8e9}}
    resolved = resolve(load(MIXED, pools={"prefill": {**slow}}))
    prefill, decode = pools_of(resolved)

    assert resolved.mixed is not None
    assert (prefill.hardware["card.clock_hz"], decode.hardware["card.clock_hz"]) == (
        0.8e9,
        CORSAIR["card.clock_hz"],
    )
    assert (prefill.hardware.name, decode.hardware.name) == ("corsair", "corsair (decode)")
    assert simulate(resolved.scenario).summary["completed"] == 30


@pytest.mark.parametrize(
    ("pools", "code", "message"),
    [
        ({"decode": {"hardware": "corsar"}}, 2,
         "pools.decode: no hardware 'corsar'; did you mean 'corsair'?"),
        ({"prefill": {"hardware_set": {"simd.lanes": 1}}}, 2,
         "pools.prefill: hardware_set: h200 has no figure 'simd.lanes'"),
        ({"prefill": {"power": {"cap_w": 300}}}, 2, "pools.prefill: power sets the clock of cards"),
        ({"decode": {"formats": {"kv": "fp8_e4m3"}}}, 3,
         "pools.decode: .*the matrix engine does not run kv in fp8_e4m3"),
        ({"prefill": {"formats": {"kv": "mxint8"}}}, 2,
         "pools.prefill: .*formats.kv is mxint8, this GPU takes bf16"),
        ({"prefill": {"memory": {"mode": "capacity"}}}, 2,
         "pools.prefill: memory.mode: capacity: h200 has one memory"),
        ({"decode": {"plan": {"tensor_parallel_size": 1, "pipeline_parallel_size": 2}}}, 3,
         "pools.decode: .*has 230.4 MB, short by 282.1 MB"),
        ({"prefill": {"cards": 9}, "decode": {"cards": 4}}, 2,
         "takes 2 servers of 8 cards and pools.decode on corsair 1, the cluster has 2 .*: 1 too"),
        ({"decode": {"hardwares": "h200"}}, 2, "did you mean 'hardware'?"),
    ],
)  # fmt: skip
def test_what_one_side_cannot_do_is_refused_by_its_name(
    pools: dict[str, Any], code: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message.replace("?", r"\?")) as caught:
        assemble_any(resolve(load(MIXED, pools=pools)))

    assert getattr(caught.value, "exit_code", None) == code


def test_a_lost_gpu_takes_a_replica_of_its_own_pool_alone() -> None:
    split = {"prefill": {"cards": 4, "plan": {"tensor_parallel_size": 2}}}
    whole = resolve(load(MIXED, pools=split))
    left = resolve(load(MIXED, pools=split, state=[{"match": "s0.c1", "down": True}]))
    prefill, decode = pools_of(left)
    served = simulate(left.scenario)

    assert pools_of(whole)[0].plan.replicas == 2
    assert (prefill.plan.replicas, decode.plan.replicas) == (1, 1)
    assert served.summary["completed"] == 30
    assert served.summary["capital_usd"] == simulate(whole.scenario).summary["capital_usd"]


def test_no_run_on_two_kinds_was_measured(run: Run) -> None:
    trust = trust_of(run.resolved)

    assert (trust.level, "h200 and corsair" in trust.reason) == ("what-if", True)


def test_check_says_what_the_way_between_the_pools_costs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mixed.yaml"
    path.write_text(json.dumps({**MIXED, "workload": ONE}), "utf-8")
    assert main(["check", str(path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    delay = found["kv_transfer"]

    assert (delay["prompt_tokens"], delay["output_tokens"]) == (16_384, 128)
    assert (delay["converted_by"], delay["formats"]) == ("prefill", ["bf16", "mxint8"])
    assert delay["kv_bytes"] == 16_384 * 32 * 8 * 2 * 128 * 65 // 64
    assert delay["hand_over_s"] == pytest.approx(0.025)
    assert delay["break_even_s"] == pytest.approx(delay["delay_s"] / 128)
    assert found["trust"]["level"] == "what-if"
    assert main(["check", str(path)]) == 0
    assert "converted from bf16 to mxint8 by the prefill pool" in capsys.readouterr().out


def test_studies_of_one_machine_refuse_two_kinds_and_sweeps_take_figures_of_a_pool(
    tmp_path: Path,
) -> None:
    figure = "pools.prefill.hardware_set.host.hand_over_s"
    axes = {figure: [0.0, 0.125]}
    done = sweep({"name": "mixed", "base": dict(MIXED), "axes": axes}, out=tmp_path)
    delays_ms = done.points["mean_kv_transfer_ms"].to_pylist()

    assert delays_ms[1] - delays_ms[0] == pytest.approx(125)
    with pytest.raises(ValueError, match="plan searches undivided cards of one kind"):
        plan(load(MIXED))
    with pytest.raises(ValueError, match=r"sweep pools.prefill.hardware_set and pools.decode"):
        sensitivity(load(MIXED), out=tmp_path / "sensitivity")
