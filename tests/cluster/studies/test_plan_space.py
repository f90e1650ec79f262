"""Which plans the search looks at."""

import pytest

from cluster.studies.plan.space import Choices, plans_of
from workloads.model import load_model
from workloads.plan import Plan, stage_layers


def test_a_stage_more_is_searched_where_it_lightens_an_outer_stage() -> None:
    # 80 layers: 27 stages have 3, 3 .. 3, 2 and 28 have 2, 3 .. 2, 2: the embedding's stage gets
    # lighter, the longest does not. 29 to 39 stages change neither.
    model = load_model("llama-3.1-70b")
    found = {
        plan.pipeline_parallel_size
        for plan in plans_of(model, 80, Choices(tensor_parallel_size=[1]))
    }
    assert {27, 28, 40, 41} <= found
    assert not found & set(range(29, 40))


@pytest.mark.parametrize("name", ["llama-3.1-8b", "gpt-oss-120b", "deepseek-v3"])
def test_every_number_of_stages_left_out_has_the_longest_and_the_outer_stages_of_fewer(
    name: str,
) -> None:
    model = load_model(name)
    layers = len(model.layers)

    def outline(stages: int) -> tuple[int, int, int]:
        counts = [len(each) for each in stage_layers(Plan(pipeline_parallel_size=stages), model)]
        return max(counts), counts[0], counts[-1]

    plans = plans_of(model, layers, Choices(tensor_parallel_size=[1]))
    kept = {plan.pipeline_parallel_size for plan in plans}
    for stages in set(range(1, layers + 1)) - kept:
        fewer = [outline(each) for each in range(1, stages)]
        for position, layers_there in enumerate(outline(stages)):
            assert layers_there >= min(each[position] for each in fewer)
