"""``hold`` of a sweep file: a size that follows, so that the area or the price stays."""

from pathlib import Path
from typing import Any

import pytest

from cluster.studies.sweep.api import sweep
from cluster.studies.sweep.definition import of_content, read_definition
from cluster.studies.sweep.errors import SweepError
from cluster.studies.sweep.input_cache import Library
from cluster.studies.sweep.points import plan_points, scenario_of
from topology.catalog import load_hardware
from topology.catalog.parts import card_usd

BASE: dict[str, Any] = {
    "model": "llama-3.1-8b",
    "plan": {"tensor_parallel_size": 4, "pipeline_parallel_size": 2},
    "workload": {
        "synthetic": {
            "requests": 2,
            "arrivals": {"constant": {"rate_per_s": 1.0}},
            "prompt_tokens": {"fixed": 64},
            "output_tokens": {"fixed": 4},
        }
    },
}
SRAM = "hardware_set.chiplet.sram_bytes"
CORES = "hardware_set.chiplet.dimc_cores"


def defined(axes: dict[str, list[Any]], **keys: Any) -> Any:
    return read_definition({"name": "held", "base": BASE, "axes": axes, **keys})


def followed(definition: Any) -> list[float]:
    return [
        scenario_of(definition, number).hardware_set["chiplet.dimc_cores"]
        for number in range(len(definition.grid))
    ]


def test_cores_give_way_to_sram_on_a_die_of_the_same_area() -> None:
    found = followed(
        defined({SRAM: [256e6, 384e6, 320e6, 300e6]}, hold={"chiplet.dimc_cores": "area"})
    )

    # 128 MB x 0.45 = 57.6 mm2 = 144 cores x 0.4; 64 MB = 72 cores, and cores come by sixteens;
    # 44 MB = 19.8 mm2 = 49.5 cores
    assert found == [256, 112, 176, 192]


def test_an_amount_may_be_named_and_memory_may_follow_cores() -> None:
    definition = defined({CORES: [256, 512]}, hold={"chiplet.sram_bytes": {"area_mm2": 502.4}})
    sizes = [scenario_of(definition, n).hardware_set["chiplet.sram_bytes"] for n in (0, 1)]

    # 102.4 mm2 more than 400 are 227.6 MB, or 256 cores
    assert sizes == pytest.approx([256e6 + 102.4 / 0.45 * 1e6, 256e6], rel=1e-9)


def test_the_price_from_parts_can_be_held() -> None:
    definition = defined(
        {"hardware_set.chiplet.lpddr_bytes": [32e9, 16e9]}, hold={"chiplet.sram_bytes": "usd"}
    )
    for number in (0, 1):
        moved = scenario_of(definition, number).hardware_set
        usd = card_usd(load_hardware("corsair", moved)).value
        # dies come whole from a wafer: the price rises in steps, 2 % at most at 143 a wafer
        assert 0.98 < usd / card_usd(load_hardware("corsair")).value <= 1 + 1e-9
    assert moved["chiplet.sram_bytes"] > 700e6  # half of the LPDDR is 896 USD


def test_a_point_that_cannot_keep_the_area_is_infeasible_with_a_reason(tmp_path: Path) -> None:
    definition = {
        "name": "held", "base": BASE, "axes": {SRAM: [256e6, 1e9]},
        "hold": {"chiplet.dimc_cores": "area"}, "metrics": ["output_throughput"],
    }  # fmt: skip
    done = sweep(definition, out=tmp_path / "held")
    rows = done.pandas().sort_values("point")

    assert list(rows["status"]) == ["completed", "infeasible"]
    assert "even with chiplet.dimc_cores at 16" in rows["reason"].iloc[1]
    assert rows[CORES].iloc[0] == 256


def test_a_manifest_brings_back_what_is_held() -> None:
    definition = defined({SRAM: [384e6]}, hold={"chiplet.dimc_cores": "area"})
    again = of_content(definition.content, "held")

    assert again.hold == definition.hold
    assert followed(again) == [112]
    assert again.types[CORES] == "float64"


def test_conditions_may_name_area_price_and_watts_of_a_point() -> None:
    definition = defined(
        {SRAM: [256e6, 512e6]},
        skip=["machine.area_mm2 > 450 and machine.usd > 10000 and machine.static_w > 80"],
    )
    planned = plan_points(definition, Library())

    assert [point.status for point in planned.points] == [None, "skipped"]


@pytest.mark.parametrize(
    ("hold", "expected"),
    [
        ("area", "hold is one figure and what it keeps"),
        ({"chiplet.cores": "area"}, "did you mean 'chiplet.dimc_cores'"),
        ({"chiplet.dimc_cores": "volume"}, "chiplet.dimc_cores keeps area, usd"),
        ({"chiplet.dimc_cores": {"usd": -1}}, "chiplet.dimc_cores keeps area, usd"),
        ({"chiplet.sram_bytes": "area"}, "chiplet.sram_bytes is an axis too"),
    ],
)
def test_a_wrong_hold_is_refused(hold: Any, expected: str) -> None:
    with pytest.raises(SweepError, match=expected):
        defined({SRAM: [256e6]}, hold=hold)
