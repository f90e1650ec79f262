"""Speculative decoding of a scenario: its keys, draft models in memory, their prices and energy."""

from typing import Any

import numpy as np
import pytest

from cluster.perf_model.attention import attention_ps, measures_of
from cluster.perf_model.memory import DoesNotFit
from cluster.perf_model.prices import price_tables
from cluster.perf_model.tables import MEASURES
from cluster.scenario.load import load
from cluster.scenario.resolve import resolve
from cluster.scenario.speculative import Acceptance, Speculative, geometric, probabilities
from cluster.serving.run import lay_out, priced
from corsair_sim import simulate

DRAFT: dict[str, Any] = {
    "method": "draft_model",
    "model": "qwen3-0.6b",
    "num_speculative_tokens": 3,
    "acceptance": {"rate": 0.6},
}
BASE: dict[str, Any] = {
    "name": "drafts",
    "model": "qwen3-8b",
    "plan": {"tensor_parallel_size": 8},
    "scheduler": {"max_num_seqs": 4, "max_num_batched_tokens": 128, "max_model_len": 1024},
    "workload": {
        "synthetic": {
            "requests": 4,
            "arrivals": {"concurrency": 1},
            "prompt_tokens": {"fixed": 100},
            "output_tokens": {"fixed": 40},
        }
    },
}


def scenario(**changed: Any) -> Any:
    return load(BASE | changed)


@pytest.mark.parametrize(
    ("speculative", "said"),
    [
        (DRAFT | {"metod": "ngram"}, "method"),
        ({**DRAFT, "model": None}, "draft_model needs speculative.model"),
        (DRAFT | {"method": "ngram"}, "ngram has none"),
        (DRAFT | {"acceptance": {"rate": 0.5, "length": 2.0}}, "found rate and length"),
        (DRAFT | {"acceptance": {"length": 4.5}}, r"1 to 4 \(num_speculative_tokens \+ 1\)"),
        (DRAFT | {"acceptance": {"rates": [0.5, 0.6, 0.1]}}, "must not rise"),
        (DRAFT | {"acceptance": {"rates": [0.5]}}, "got 1"),
    ],
)
def test_keys_that_do_not_go_together_are_refused(speculative: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        scenario(speculative=speculative)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"speculative": DRAFT | {"model": "llama-3.1-8b"}}, "has the vocabulary of the model"),
        ({"speculative": DRAFT | {"draft_tensor_parallel_size": 2}}, "must be equal, as in vLLM"),
        ({"speculative": DRAFT | {"draft_on": {"cards": 4}}}, "more than the 8 cards"),
    ],
)
def test_drafts_that_the_cluster_cannot_make_are_refused(
    changed: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        resolve(scenario(**changed))


def test_a_measured_length_becomes_a_constant_rate(tmp_path: Any) -> None:
    table = tmp_path / "lengths.csv"
    table.write_text(
        "set,model,mode,num_speculative_tokens,mean_accepted_length\n"
        "mtp,m,on,1,1.8\nmtp,m,on,2,2.25\nmtp,m,off,1,1.9\n"
    )

    def found(**measured: str) -> list[float]:
        acceptance = Acceptance.model_validate({"measured": {"file": str(table), **measured}})
        drafts = Speculative(method="mtp", num_speculative_tokens=1, acceptance=acceptance)
        return list(probabilities(drafts))

    assert found(set="mtp", mode="on") == pytest.approx([0.2, 0.8])
    with pytest.raises(ValueError, match="did you mean mtp"):
        found(set="mpt")
    with pytest.raises(ValueError, match="name one by set and mode: off 1, on 1, on 2"):
        found(set="mtp")


def test_a_draft_model_lies_beside_the_last_stage_or_is_refused_with_what_it_lacks() -> None:
    plain = lay_out(resolve(scenario())).fit
    beside = lay_out(resolve(scenario(speculative=DRAFT))).fit

    taken = [each for each in beside.holdings[0][0] if each.tensor_class.startswith("draft")]
    assert [each.tensor_class for each in taken] == ["draft", "draft_kv"]
    assert beside.stages[0].sram_weight_bytes > plain.stages[0].sram_weight_bytes
    assert beside.blocks < plain.blocks
    crowded = scenario(hardware_set={"chiplet.sram_bytes": 1.65e8})
    assert lay_out(resolve(crowded)).fit.blocks > 0
    own = Speculative.model_validate(DRAFT | {"model": "qwen3-1.7b"})
    with pytest.raises(DoesNotFit, match=r"short by .* MB, with the draft model on the cards"):
        lay_out(resolve(crowded.model_copy(update={"speculative": own})))


def test_drafting_costs_a_first_pass_of_all_tokens_and_decodes_of_one_token_each() -> None:
    layout = lay_out(resolve(scenario(speculative=DRAFT)))
    prices = priced(layout).prices
    assert layout.draft is not None
    draft = price_tables(layout.draft.inputs)
    last = prices.stage_class[0, -1]
    one_layer_of_attention = measures_of(len(draft.kinds), decode_blocks=2)

    # Four tokens of one request: a pass over all four, then two more over one; three heads.
    assert prices.linear_ps[last, 4] == draft.linear_ps[0, 4]
    assert prices.collective_ps[last, 4] == draft.collective_ps[0, 4]
    passes_ps = 2 * (draft.linear_ps[0, 1] + draft.collective_ps[0, 1])
    assert prices.head_ps[last, 1] == passes_ps + 3 * draft.head_ps[0, 1]
    assert prices.head_ps[last, 0] == 0
    before = np.zeros(len(MEASURES) * (len(prices.kinds) - len(draft.kinds)), np.int64)
    measures = np.concatenate([before, one_layer_of_attention])
    twice = attention_ps(prices.attention[last], measures)
    assert twice == 2 * attention_ps(draft.attention[0], one_layer_of_attention)


def test_the_time_of_a_run_alone_is_its_verifications_with_their_drafts() -> None:
    run = simulate(scenario(speculative=DRAFT, store={"steps": True}))
    served, summary = run.outcome.served, run.summary

    assert summary["completed"] == 4
    assert summary["spec_decode_num_drafts"] == served.accepted_count.sum()
    accepted = int(served.accepted_count @ np.arange(4))
    assert summary["spec_decode_accepted_tokens"] == accepted
    assert summary["spec_decode_acceptance_length"] == 1 + accepted / served.accepted_count.sum()
    expected = 1 + (geometric(0.6, 3) @ np.arange(4))
    assert summary["spec_decode_acceptance_length"] == pytest.approx(expected, rel=0.25)
    assert summary["mean_itl_ms"] > summary["mean_tpot_ms"]  # several tokens in one gap


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"plan": {"tensor_parallel_size": 4, "pipeline_parallel_size": 2}},
        {"speculative": DRAFT | {"draft_on": {"cards": 2}}, "cluster": {"servers_per_rack": 2}},
    ],
    ids=["one stage", "two stages", "other cards"],
)
def test_the_causes_of_a_request_s_latency_add_up_to_it(changed: dict[str, Any]) -> None:
    run = simulate(
        scenario(**({"speculative": DRAFT} | changed), store={"latency_breakdown": True})
    )
    served, latency = run.outcome.served, run.outcome.latency

    assert latency is not None
    assert (latency.whole.sum(axis=1) == served.finish_ps - served.arrival_ps).all()
    drafts = dict(zip(latency.causes, latency.whole.sum(axis=0), strict=True)).get("drafts", 0)
    assert (drafts > 0) == ("cluster" in changed)


def test_drafts_on_other_hardware_wait_for_the_network_and_are_charged() -> None:
    changed = {
        "hardware": "h200",
        "plan": {"tensor_parallel_size": 1, "replicas": 1},
        "cluster": {"servers_per_rack": 2, "cards_per_server": 2},
    }
    near = {"cards": 2, "hardware": "corsair", "handover_s": 0.0}
    far = near | {"handover_s": 1e-3}
    runs = [
        simulate(scenario(speculative=DRAFT | {"draft_on": cards}, **changed))
        for cards in (near, far)
    ]

    # A millisecond there and one back for each row, but after a request's last.
    waits = [run.summary["duration"] for run in runs]
    rows = int(runs[0].outcome.served.accepted_count.sum())
    assert waits[1] - waits[0] == pytest.approx(2e-3 * rows, rel=1e-3)
    one = runs[0].summary
    assert one["draft_energy_j"] > 0
    each = one["joules_per_output_token"] + one["draft_energy_j"] / one["total_output_tokens"]
    assert one["joules_per_output_token_with_drafts"] == pytest.approx(each)
    assert one["cost_per_hour_usd"] > 0
