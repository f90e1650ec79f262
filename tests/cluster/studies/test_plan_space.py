"""Which plans the search looks at."""

from dataclasses import replace

import pytest

from cluster.perf_model.devices import module_of
from cluster.scenario.load import load
from cluster.scenario.resolve import resolve
from cluster.studies.plan.space import Choices, plans_of
from cluster.studies.plan.study import plan
from topology.catalog import load_hardware
from workloads.formats import get_format
from workloads.model import load_model
from workloads.plan import Plan, stage_layers


def test_a_stage_more_is_searched_where_it_lightens_an_outer_stage() -> None:
    # 80 layers: 27 stages have 3, 3 .. 3, 2 and 28 have 2, 3 .. 2, 2: the embedding's stage gets
    # lighter, the longest does not. 29 to 39 stages change neither.
    model = load_model("llama-3.1-70b")
    found = {
        plan.pipeline_parallel_size
        for plan in plans_of(model, 80, Choices(tensor_parallel_size=(1,)))
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

    plans = plans_of(model, layers, Choices(tensor_parallel_size=(1,)))
    kept = {plan.pipeline_parallel_size for plan in plans}
    for stages in set(range(1, layers + 1)) - kept:
        fewer = [outline(each) for each in range(1, stages)]
        for position, layers_there in enumerate(outline(stages)):
            assert layers_there >= min(each[position] for each in fewer)


@pytest.mark.parametrize(
    ("hardware", "formats", "expected"),
    [
        ("h100", {"weights": "fp8"}, "fp8_e4m3"),
        ("b200", {"weights": "nvfp4"}, "nvfp4"),
        ("b200", {"weights": "mxfp4"}, "bf16"),  # gpt-oss: a format of weights alone
        ("h100", {"weights": "fp8", "activations": "bf16"}, "bf16"),
        ("a100", {"weights": "fp8"}, "bf16"),  # no FP8 tensor cores: expanded
        ("h100", {}, "bf16"),
        ("corsair", {"weights": "mxint4"}, "mxint8"),
    ],
)
def test_activations_follow_the_weights_where_tensor_cores_multiply_their_format(
    hardware: str, formats: dict[str, str], expected: str
) -> None:
    scenario = load(hardware=hardware, formats=formats)

    assert resolve(scenario).formats.activations.name == expected
    few = Choices(
        tensor_parallel_size=(8,),
        pipeline_parallel_size=(1,),
        replicas=(1,),
        max_num_seqs=(8,),
        max_num_batched_tokens=(512,),
    )
    if formats:
        few = replace(few, weights=(formats["weights"],))
        found = plan(scenario, choices=few, finalists=0)
        assert set(found.columns["activations"]) == {expected}
        assert found.scenario(found.candidates[0]).formats.activations == expected


def test_the_peak_of_weights_of_4_bits_is_that_of_the_activations() -> None:
    b200, nvfp4 = load_hardware("b200"), get_format("nvfp4")
    peak = {bits: module_of(b200).peak_flop_per_s(b200, nvfp4, bits) for bits in (4, 8, 16)}
    assert peak == {4: 9000e12, 8: 4500e12, 16: 2250e12}  # dense, by the data sheet
