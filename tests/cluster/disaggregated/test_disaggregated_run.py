"""A disaggregated run: its order of events, what it keeps, and the same by other engines."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cluster import Run, load, simulate
from cluster.disaggregated.energy import messages_j, rebinned
from cluster.disaggregated.placement import PooledMachine
from cluster.disaggregated.reference import serve_pools_reference
from cluster.disaggregated.run import PooledOutcome, run_pools
from cluster.perf_model.devices.dimc import PARTS
from cluster.perf_model.devices.dimc.dvfs import energy_scale
from cluster.perf_model.tables import Records
from cluster.serving.run import execute
from cluster.serving.tables import link_parts
from corsair_common.units import NEVER
from results import open_run

RunPooled = Callable[..., Run]
ONE: Mapping[str, Any] = {
    "pools": {"prefill": {"cards": 1, "plan": {"tensor_parallel_size": 1}}, "decode": {"cards": 1}},
    "workload": {
        "synthetic": {
            "requests": 1,
            "arrivals": {"constant": {"rate_per_s": 1.0}},
            "prompt_tokens": {"fixed": 640},
            "output_tokens": {"fixed": 3},
        }
    },
}


def outcome_of(run: Run) -> PooledOutcome:
    assert isinstance(run.outcome, PooledOutcome)
    return run.outcome


def test_alone_a_transfer_takes_the_paths_latency_and_its_bytes(run_pooled: RunPooled) -> None:
    # Cards 0 and 1 are a pair: one bridge, one message. Ten full blocks of 32 layers x 8 heads,
    # 65 B for each of 2 x 128 rows of 64 values.
    run = run_pooled(**ONE)
    routes, figures = run.machine.routes, run.resolved.hardware
    (bridge,) = routes.path(0, 1)
    rate = routes.link_bandwidth_bytes_per_s[bridge] * figures["links.efficiency"]
    sent = 10 * 32 * 8 * 2 * 128 * 65
    expected = int(routes.latency_ps(0, 1)) + round(figures["links.chunk_overhead_s"] * 1e12)

    outcome = outcome_of(run)

    assert outcome.transfer_bytes.tolist() == [sent]
    assert outcome.transfer_ps.tolist() == [expected + round(sent / rate * 1e12)]


def test_the_first_token_comes_one_decode_step_after_the_kv(run_pooled: RunPooled) -> None:
    outcome = outcome_of(run_pooled(**ONE))
    prefill, decode = outcome.pools

    assert prefill.steps == 3  # 640 tokens in chunks of 256
    assert decode.steps == 3  # the prompt's last token, then two of the answer
    there_ps = prefill.served.finish_ps + outcome.transfer_ps
    assert decode.served.arrival_ps == there_ps == decode.served.first_scheduled_ps
    assert outcome.served.first_token_ps == decode.served.first_token_ps > there_ps
    assert decode.bins.tokens.sum() == 3
    assert prefill.bins.tokens.sum() == 640


def test_the_step_log_names_requests_and_replicas_as_the_whole_run_does(
    pooled: Mapping[str, Any], tmp_path: Path
) -> None:
    run = simulate(load(pooled, store={"steps": True}), out=tmp_path)
    outcome, steps = outcome_of(run), open_run(tmp_path, run.run_id).table("steps").to_pandas()
    reading = steps[steps["prompt_request"] >= 0]
    number = reading["prompt_request"].to_numpy()

    taken_by = np.where(
        reading["replica"] < 2, outcome.served.replica[number], outcome.decode_replica[number]
    )
    assert np.array_equal(taken_by, reading["replica"])
    assert sorted(set(number)) == list(range(60))  # each prompt stands first in some step


def staged(stages: int) -> dict[str, Any]:
    """One request; either pool is a replica of so many stages of one card."""
    pool = {"cards": stages, "plan": {"tensor_parallel_size": 1, "pipeline_parallel_size": stages}}
    return {**ONE, "pools": {"prefill": pool, "decode": pool}, "transfer": {"mode": "layerwise"}}


@pytest.mark.parametrize("stages", [1, 2])
def test_layerwise_leaves_the_last_layer_of_a_lone_prompt(
    run_pooled: RunPooled, stages: int
) -> None:
    # After the prefill one of the layers of each pair is still to go, behind the path's latency: of
    # 32 from card 0 to card 1, or of 16 from cards 0 and 1 to cards 2 and 3; of the last chunk,
    # which is 2 of 10 blocks.
    run = run_pooled(**staged(stages))
    routes, figures = run.machine.routes, run.resolved.hardware
    rate = routes.link_bandwidth_bytes_per_s[routes.path(0, stages)].min()
    rate *= figures["links.efficiency"]
    layer = 10 * 8 * 2 * 128 * 65
    expected = int(routes.latency_ps(0, stages)) + round(figures["links.chunk_overhead_s"] * 1e12)

    outcome = outcome_of(run)

    assert outcome.transfer_ps.tolist() == [expected + round(layer / 5 / rate * 1e12)]
    assert outcome.transfer_bytes.tolist() == [32 * layer]


def steps_of(run: Run) -> Records:
    """The log of the prefill pool, served alone."""
    windows: list[Records] = []
    assert run.resolved.pools is not None
    execute(
        run.resolved.pools[0], pools_of(run)[0], on_steps=lambda log: windows.append(log.copy())
    )
    return np.concatenate(windows)


@pytest.mark.parametrize(("stages", "computed"), [(1, 1), (2, 17)])
def test_layerwise_starts_when_the_first_layer_of_a_pair_is_computed(
    run_pooled: RunPooled, stages: int, computed: int
) -> None:
    # Links so slow that bytes are never waited for once they flow. With one stage all 32 layers go
    # from card 0 to card 1, from when the first is there; with two stages 16 go from card 0 to
    # card 2 and 16 from card 1 to card 3, the latter from when the seventeenth is.
    run = run_pooled(**staged(stages), links=[{"match": "*", "bandwidth_scale": 0.001}])
    routes, figures = run.machine.routes, run.resolved.hardware
    rate = routes.link_bandwidth_bytes_per_s[routes.path(0, stages)].min()
    rate *= figures["links.efficiency"]
    alone_ps = int(routes.latency_ps(0, stages)) + round(figures["links.chunk_overhead_s"] * 1e12)
    sent_ps = 10 * 32 // stages * 8 * 2 * 128 * 65 / rate * 1e12

    outcome = outcome_of(run)

    served = outcome.pools[0].served
    prefill_ps = int(served.finish_ps[0] - served.first_scheduled_ps[0])
    first_ps = int(steps_of(run)["end_ps"][0] - served.first_scheduled_ps[0])  # chunk
    hidden_ps = prefill_ps - first_ps // 32 * computed
    assert sent_ps > 2 * prefill_ps  # so that the link is busy all the time
    assert outcome.transfer_ps[0] == pytest.approx(alone_ps + sent_ps - hidden_ps, abs=10)


@pytest.mark.parametrize("mode", ["whole", "layerwise"])
def test_times_are_in_order_and_tokens_and_bytes_are_conserved(
    run_pooled: RunPooled, mode: str
) -> None:
    run = run_pooled(transfer={"mode": mode})
    outcome, requested = outcome_of(run), run.resolved.requests
    prefill, decode = outcome.pools
    served = outcome.served

    assert run.summary["completed"] == len(requested) == 60
    assert (served.first_scheduled_ps >= served.arrival_ps).all()
    assert (prefill.served.finish_ps + outcome.transfer_ps < served.first_token_ps).all()
    assert prefill.bins.tokens.sum() == requested.prompt_tokens.sum()
    assert decode.bins.tokens.sum() == requested.output_tokens.sum()
    # Each message's bytes lie on every link of its path: with one bridge or two PCIe links and
    # what joins the switches, the sum over links that leave a card is what left the cards.
    leaving = [
        link
        for link, name in enumerate(run.machine.routes.link_name)
        if name.partition(">")[0] in set(run.machine.routes.card_id)
    ]
    assert outcome.transfers.link_bytes[:, leaving].sum() == outcome.transfer_bytes.sum()
    assert run.summary["kv_transfer_bytes"] == outcome.transfer_bytes.sum()


def test_littles_law_holds_in_the_decode_pool(pooled: Mapping[str, Any], tmp_path: Any) -> None:
    # One slot whose steps follow one another: members x time summed over its steps is what
    # requests have spent there, each from its admission to its last token.
    requested = load(pooled, pools={"decode": {"cards": 1}}, store={"steps": True})
    run = simulate(requested, out=tmp_path)
    steps = open_run(tmp_path / run.run_id).pandas("steps")
    decode = steps[steps["replica"] == 2]
    served = outcome_of(run).pools[1].served

    spent_ps = (decode["running"] * (decode["end_ps"] - decode["start_ps"])).sum()
    assert spent_ps == (served.finish_ps - served.first_scheduled_ps).sum()


def test_the_reference_engines_give_the_same_run(
    run_pooled: RunPooled,
) -> None:
    crowded: dict[str, Any] = {
        "transfer": {"mode": "layerwise"},
        "links": [{"match": "*", "bandwidth_scale": 0.1}],
    }
    expected = outcome_of(run_pooled(**crowded))
    run = run_pooled(**crowded)
    assert isinstance(run.machine, PooledMachine)

    found = run_pools(run.resolved, run.machine, loop=serve_pools_reference)

    for name in ("first_scheduled_ps", "first_token_ps", "finish_ps", "replica", "itl_count"):
        assert np.array_equal(getattr(found.served, name), getattr(expected.served, name)), name
    assert np.array_equal(found.transfer_ps, expected.transfer_ps)
    assert np.array_equal(found.transfers.link_bytes, expected.transfers.link_bytes)
    assert (expected.transfer_ps > 0).all()


def test_what_either_pool_can_never_serve_is_not_prefilled(run_pooled: RunPooled) -> None:
    run = run_pooled(pools={"decode": {"cards": 3, "scheduler": {"max_model_len": 500}}})
    outcome, requested = outcome_of(run), run.resolved.requests
    long = requested.prompt_tokens + requested.output_tokens > 500

    assert 0 < long.sum() == run.summary["rejected"]
    assert (outcome.served.first_scheduled_ps[long] == NEVER).all()
    assert outcome.pools[0].bins.tokens.sum() == requested.prompt_tokens[~long].sum()
    assert np.isnan(np.asarray(run.requests["kv_transfer_s"], float)[long]).all()


def test_a_trace_of_which_nothing_fits_leaves_a_run(run_pooled: RunPooled) -> None:
    run = run_pooled(pools={"decode": {"cards": 3, "scheduler": {"max_model_len": 1}}})

    assert run.summary["completed"] == 0
    assert run.summary["mean_kv_transfer_ms"] is None


def test_every_card_of_both_pools_is_in_the_tables(run_pooled: RunPooled, tmp_path: Any) -> None:
    run = run_pooled()
    opened = open_run(run.save(tmp_path))
    cards, requests = opened.pandas("cards"), opened.pandas("requests")
    whole = cards.groupby("card")[["pool", "replica"]].first()

    pools = [*["prefill"] * 4, *["decode"] * 3]
    assert whole["pool"].tolist()[:7] == pools
    assert whole["replica"].tolist()[:7] == [0, 0, 1, 1, 2, 3, 4]
    assert whole["pool"].isna().tolist() == [False] * 7 + [True]
    assert set(requests["decode_replica"]) == {2, 3, 4}
    assert set(opened.pandas("placement")["card"]) == set(range(7))
    energy = cards[[name for name in cards if name.startswith("energy_")]].to_numpy().sum()
    assert energy == pytest.approx(run.summary["energy_j"], rel=1e-12)
    outcome = outcome_of(run)
    carried = opened.pandas("links")["bytes"].sum()
    own = sum(
        part["bytes"].sum()
        for pool, its in zip(pools_of(run), outcome.pools, strict=True)
        for part in link_parts(pool, its)
    )
    assert carried - own == outcome.transfers.link_bytes.sum()


def pools_of(run: Run) -> tuple[Any, ...]:
    assert isinstance(run.machine, PooledMachine)
    return run.machine.pools


def test_a_messages_energy_is_that_of_its_way_and_both_ends(run_pooled: RunPooled) -> None:
    # The bridge of a pair, and SRAM read at one end and written at the other.
    run = run_pooled(**ONE)
    outcome, figures, machine = outcome_of(run), run.resolved.hardware, run.machine
    assert isinstance(machine, PooledMachine)
    bits = 8 * int(outcome.transfer_bytes[0])
    (bridge,) = machine.routes.path(0, 1)
    expected = {
        "bridge": bits * machine.routes.link_energy_j_per_bit[bridge],
        "sram": 2 * bits * figures["energy.sram_j_per_bit"] * energy_scale(figures),
    }

    found = messages_j(machine, outcome).sum(axis=0)

    assert dict(zip(PARTS, found, strict=True)) == pytest.approx(
        {**dict.fromkeys(PARTS, 0.0), **expected}
    )


def test_bytes_keep_their_sum_in_other_bins() -> None:
    sums = np.array([[10], [0], [7], [1]])  # bins of 4

    assert rebinned(sums, 4, np.array([0, 3, 6, 9, 12, 15, 18]))[:, 0].tolist() == [
        *[7, 3, 1, 6, 0, 1]
    ]
