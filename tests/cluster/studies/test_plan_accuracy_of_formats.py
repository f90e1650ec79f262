"""Plans show the error of formats of 4 bits, and take such KV only where it is named."""

import math
from typing import Any

import numpy as np
import pytest

from cluster import Choices, Plans, load, plan
from cluster.commands.plan import _ranking
from cluster.studies.formats import gaussian_sample, heavy_tailed_sample, sqnr_of
from workloads.formats import distortion, gaussian_noise, get_format

CHATS: dict[str, Any] = {"synthetic": {"requests": 20, "preset": "azure-conv-2023"}}
ONE = {
    "tensor_parallel_size": (4,),
    "pipeline_parallel_size": (2,),
    "memory_mode": ("performance",),
    "max_num_seqs": (16,),
    "max_num_batched_tokens": (512,),
}


def found(**choices: Any) -> Plans:
    scenario = load({"model": "llama-3.1-8b", "workload": CHATS})
    return plan(scenario, choices=Choices(**ONE, **choices))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["mxint4", "mxfp4", "nvfp4"])
def test_a_format_s_error_is_measured_on_normal_and_on_heavy_tailed_numbers(name: str) -> None:
    item = get_format(name)
    normal, heavy = sqnr_of(item)

    assert normal == pytest.approx(distortion(gaussian_sample(), item).sqnr_db, abs=0.2)
    assert heavy == pytest.approx(distortion(heavy_tailed_sample(), item).sqnr_db, abs=0.2)
    if name == "mxint4":  # the closed form knows it
        assert normal == pytest.approx(-10 * math.log10(gaussian_noise(item)), abs=0.2)


def test_rows_with_four_bits_have_the_error_of_their_coarsest_format_and_others_none() -> None:
    columns = found(kv=("mxint8", "mxint4")).columns
    normal, heavy = sqnr_of(get_format("mxint4"))
    four = (columns["weights"] == "mxint4") | (columns["kv"] == "mxint4")

    assert four.any()
    assert not four.all()
    assert set(columns["sqnr_db"][four]) == {normal}
    assert set(columns["sqnr_heavy_tailed_db"][four]) == {heavy}
    assert np.isnan(columns["sqnr_db"][~four]).all()


def test_kv_of_four_bits_is_tried_only_where_it_is_named() -> None:
    assert set(found().columns["kv"]) == {"mxint8"}
    assert set(found(kv=("mxint4",)).columns["kv"]) == {"mxint4"}
    assert set(found().columns["weights"]) == {"mxint8", "mxint4"}


def test_the_table_has_both_errors_of_a_row() -> None:
    normal, heavy = sqnr_of(get_format("mxint4"))
    (row,) = found(weights=("mxint4",), kv=("mxint8",)).candidates[:1]

    assert f"{normal:.1f}/{heavy:.1f}" in _ranking([row])
    assert "SQNR dB" in _ranking([row])
