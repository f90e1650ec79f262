import pytest
from hypothesis import given
from hypothesis import strategies as st

from workloads.model import Model, load_model, parse_config
from workloads.plan import Plan, PlanError, check_plan, cut, kv_heads_of, stage_layers


def layered(layers: int) -> Model:
    config = {
        "model_type": "llama",
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "vocab_size": 128,
        "max_position_embeddings": 32,
    }
    return parse_config(config, "layered")


def test_cards_are_counted_over_all_three_axes() -> None:
    plan = Plan(tensor_parallel_size=4, pipeline_parallel_size=2, replicas=3)

    assert (plan.cards_per_replica, plan.cards) == (8, 24)


@pytest.mark.parametrize("value", [0, -1, 1.0, float("nan"), True, "4", None])
def test_a_size_that_is_no_whole_positive_number_is_refused(value: object) -> None:
    with pytest.raises(PlanError, match="replicas must be a whole number"):
        Plan(replicas=value)  # type: ignore[arg-type]


def test_every_wrong_size_is_named_at_once() -> None:
    with pytest.raises(PlanError, match=r"tensor_parallel_size must.*replicas must"):
        Plan(tensor_parallel_size=0, replicas=0)


def test_expert_parallelism_must_fit_into_the_tensor_group() -> None:
    with pytest.raises(PlanError, match="expert_parallel_size 3 does not divide"):
        Plan(tensor_parallel_size=4, expert_parallel_size=3)


def test_every_breach_of_a_model_is_named_at_once() -> None:
    plan = Plan(tensor_parallel_size=24, expert_parallel_size=24, pipeline_parallel_size=99)

    with pytest.raises(PlanError) as caught:
        check_plan(plan, load_model("mixtral-8x7b"))
    printed = str(caught.value)
    assert "pipeline_parallel_size 99 is more than the 32 layers" in printed
    assert "32 attention heads do not divide over tensor_parallel_size 24" in printed
    assert "8 experts do not divide over expert_parallel_size 24" in printed


def test_experts_of_a_dense_model_are_refused() -> None:
    with pytest.raises(PlanError, match="no experts"):
        check_plan(Plan(tensor_parallel_size=2, expert_parallel_size=2), load_model("qwen3-8b"))


@pytest.mark.parametrize(
    ("name", "plan"),
    [
        ("llama-3.1-8b", Plan(tensor_parallel_size=4, pipeline_parallel_size=2)),
        ("llama-3.1-70b", Plan(tensor_parallel_size=4, pipeline_parallel_size=16)),
        ("gpt-oss-20b", Plan(tensor_parallel_size=8, expert_parallel_size=8)),
        ("deepseek-v3", Plan(tensor_parallel_size=64, expert_parallel_size=32)),
        ("qwen3-30b-a3b", Plan(tensor_parallel_size=16)),
    ],
)
def test_plans_that_are_used_are_allowed(name: str, plan: Plan) -> None:
    check_plan(plan, load_model(name))


@pytest.mark.parametrize(
    ("layers", "stages", "counts"),
    [
        (32, 2, [16, 16]),
        (61, 4, [15, 15, 16, 15]),  # the last stage has the head, the first the embedding
        (62, 4, [15, 16, 16, 15]),
        (63, 4, [16, 16, 16, 15]),
        (5, 5, [1] * 5),
        (3, 1, [3]),
    ],
)
def test_extra_layers_go_to_the_middle_stages_first(
    layers: int, stages: int, counts: list[int]
) -> None:
    found = stage_layers(Plan(pipeline_parallel_size=stages), layered(layers))

    assert [len(part) for part in found] == counts


@given(st.integers(1, 130), st.data())
def test_stages_hold_every_layer_once_in_order(layers: int, data: st.DataObject) -> None:
    stages = data.draw(st.integers(1, layers))
    found = stage_layers(Plan(pipeline_parallel_size=stages), layered(layers))

    assert [layer for part in found for layer in part] == list(range(layers))
    assert max(map(len, found)) - min(map(len, found)) <= 1


def test_more_stages_than_layers_are_refused() -> None:
    with pytest.raises(PlanError, match="is more than the 2 layers"):
        stage_layers(Plan(pipeline_parallel_size=3), layered(2))


@given(st.integers(0, 5000), st.integers(1, 70), st.sampled_from([1, 64, 100]))
def test_a_cut_covers_everything_once_in_whole_units(length: int, parts: int, unit: int) -> None:
    found = cut(length, parts, unit)

    assert [index for part in found for index in part] == list(range(length))
    assert len(found) == parts
    assert all(part.start % unit == 0 or part.start == length for part in found)
    assert len(found[0]) == max(map(len, found))


@pytest.mark.parametrize(
    ("cards", "heads"),
    [(4, [(0, 2), (2, 4), (4, 6), (6, 8)]), (16, [(h, h + 1) for h in range(8) for _ in (0, 1)])],
)
def test_kv_heads_are_shared_out_or_replicated(cards: int, heads: list[tuple[int, int]]) -> None:
    attention = load_model("llama-3.1-8b").layers[0].attention
    plan = Plan(tensor_parallel_size=cards)

    assert [kv_heads_of(plan, attention, card) for card in range(cards)] == [
        range(*pair) for pair in heads
    ]


def test_the_latent_is_kept_by_every_card() -> None:
    attention = load_model("deepseek-v3").layers[0].attention

    kept = {kv_heads_of(Plan(tensor_parallel_size=8), attention, card) for card in range(8)}
    assert kept == {range(1)}
