from typing import Any

import pytest

from cluster.api.serving import simulate
from cluster.perf_model.prices import steady_decode
from cluster.scenario.load import load
from cluster.scenario.resolve import resolve
from cluster.serving.run import assemble
from cluster.studies.explain import explain, explain_text

TRAFFIC = {
    "synthetic": {
        "requests": 4,
        "arrivals": {"concurrency": 60},
        "prompt_tokens": {"fixed": 900},
        "output_tokens": {"fixed": 200},
    }
}


def explained(**changes: Any) -> dict[str, Any]:
    plan = {"tensor_parallel_size": 4, "pipeline_parallel_size": 2}
    requested = {"model": "llama-3.1-8b", "plan": plan, "workload": TRAFFIC, **changes}
    return explain(resolve(load(requested)))


def weights(stage: dict[str, Any], name: str) -> dict[str, Any]:
    return {row["where"]: row for row in stage["weights"] if row["tensor_class"] == name}


def test_the_map_adds_up_to_the_sram_that_there_is() -> None:
    for mode in ("performance", "capacity", "auto"):
        for stage in explained(memory={"mode": mode})["stages"]:
            in_sram = sum(row["bytes"] for row in stage["weights"] if row["where"] == "sram")
            used = in_sram + stage["buffer_bytes"] + stage["tail_bytes"] + stage["kv_bytes"]
            left = stage["sram_bytes"] - used
            assert left == pytest.approx(stage["headroom_bytes"], abs=1)


def test_what_streams_costs_what_lpddr_takes_for_it() -> None:
    found = explained(memory={"mode": "capacity"})
    mlp = weights(found["stages"][0], "mlp")["lpddr"]

    # 16 layers x 3 x 4,096 x 14,336 elements of 65/64 bytes over 32 chiplets at 40 GB/s.
    assert mlp["bytes"] == 16 * 3 * 4096 * 14336 * 65 // 64 // 32
    assert mlp["stream_us"] == pytest.approx(mlp["bytes"] / 40e9 * 1e6, rel=1e-6)
    assert 0 < mlp["costs_us"] <= mlp["stream_us"]


def test_without_the_head_in_lpddr_a_token_is_sooner_by_what_it_is_said_to_cost() -> None:
    def tpot_us(**pins: str) -> tuple[float, dict[str, Any]]:
        memory = {"mode": "capacity", "pin": pins}
        plan = {"tensor_parallel_size": 8}
        requested = {"model": "llama-3.1-8b", "plan": plan, "workload": TRAFFIC, "memory": memory}
        resolved = resolve(load(requested))
        steady = steady_decode(assemble(resolved).prices, batch=60, context=1000)
        return steady.cycle_ps / 1e6, explain(resolved)

    slow, found = tpot_us()
    fast, _ = tpot_us(head="sram")
    head = weights(found["stages"][0], "head")["lpddr"]

    assert slow - fast == pytest.approx(head["costs_us"])


def test_a_full_chiplet_is_filled_from_lpddr_in_the_published_five_milliseconds() -> None:
    # At the full rate of two channels of 25.6 GB/s; here 50 GB/s at 80 %, and as much as is there.
    found = explained(
        hardware_set={
            "chiplet.lpddr_bandwidth_bytes_per_s": 51.2e9,
            "chiplet.lpddr_efficiency": 1.0,
        }
    )
    stage = max(found["stages"], key=lambda each: sum(row["bytes"] for row in each["weights"]))
    in_sram = sum(row["bytes"] for row in stage["weights"])

    assert found["load_ms"]["lpddr"] == pytest.approx(in_sram / 51.2e9 * 1e3)
    assert found["load_ms"]["lpddr"] * 256e6 / in_sram == pytest.approx(5.0)


def test_a_model_that_waits_takes_lpddr_and_a_swap_takes_its_time() -> None:
    found = explained(memory={"also_resident": ["llama-3.1-70b"]})
    [other] = found["also_resident"]

    assert other["card_bytes"] == pytest.approx(70.6e9 * 65 / 64 / 8, rel=1e-2)
    # It fills the usable SRAM: 230.4 MB of each chiplet at 40 GB/s. Four cards share a host's port.
    assert other["swap_ms"]["lpddr"] == pytest.approx(230.4e6 / 40e9 * 1e3)
    assert other["swap_ms"]["host"] == pytest.approx(4 * other["card_bytes"] / (64e9 * 0.85) * 1e3)
    alone = explained()["stages"][0]["lpddr_bytes"]
    assert alone - found["stages"][0]["lpddr_bytes"] == -(-other["card_bytes"] // 8)


@pytest.mark.parametrize("where", ["lpddr", "host"])
def test_serving_begins_when_the_weights_are_there(where: str) -> None:
    requested = {
        "model": "llama-3.1-8b",
        "plan": {"tensor_parallel_size": 8},
        "memory": {"load": where},
        "workload": TRAFFIC,
    }
    scenario = load(requested)
    ready_ms = explain(resolve(scenario))["load_ms"][where]
    first = simulate(scenario).outcome.served.first_scheduled_ps.min()

    assert first == pytest.approx(ready_ms * 1e9, abs=1)


def test_the_text_names_every_class_and_what_it_costs() -> None:
    text = explain_text(explained(memory={"mode": "capacity", "also_resident": ["llama-3.1-8b"]}))

    for word in ("attention", "mlp", "embedding", "head", "stream buffer", "kv tails", "left over"):
        assert word in text
    assert "us a token" in text
    assert "Waiting in LPDDR: llama-3.1-8b" in text


def test_equal_stages_are_printed_once() -> None:
    plan = {"tensor_parallel_size": 2, "pipeline_parallel_size": 4}
    text = explain_text(explained(plan=plan))

    assert "Stages 1-2, each, 8 layers" in text


def test_kv_beyond_sram_is_printed_with_its_fetch_time() -> None:
    found = explained(memory={"pin": {"kv": "spill"}})
    stage = found["stages"][0]

    # A block is 66,560 bytes of 16 layers on each of 32 chiplets, at 40 GB/s.
    assert stage["kv_lpddr_us_per_block"] == pytest.approx(66_560 / 40e9 * 1e6)
    assert stage["kv_lpddr_bytes"] == pytest.approx(
        (found["kv_blocks"] - found["kv_blocks_in_sram"]) * 66_560
    )
    assert "for each block that a step fetches" in explain_text(found)


def test_layers_with_a_window_are_said_to_keep_its_blocks() -> None:
    said = {}
    for cached in (False, True):
        chats = {"synthetic": {"requests": 4, "preset": "mooncake-conversation"}}
        found = explained(
            model="gpt-oss-20b",
            memory={"mode": "capacity"},
            workload=chats,
            scheduler={"enable_prefix_caching": cached, "max_num_seqs": 60},
        )
        said[cached] = found["kv_windows"], found["kv_tokens_per_seq"]
        text = explain_text(found)
        assert ("Layers that see 128 tokens keep all blocks of a sequence" in text) == cached

    assert said[False][0] == [{"window_tokens": 128, "blocks_per_seq": 3}]
    assert said[True][0] == [{"window_tokens": 128, "blocks_per_seq": None}]
    # Half of the layers: n blocks and 3 for each sequence take what n / 2 did in all of them.
    assert said[False][1] == pytest.approx(2 * said[True][1] - 3 * 64, abs=2)
