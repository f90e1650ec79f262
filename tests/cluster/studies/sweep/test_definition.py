from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cluster.studies.sweep.axes import nested
from cluster.studies.sweep.definition import of_content, read_definition
from cluster.studies.sweep.errors import SweepError


def points(axes: Any, **keys: Any) -> list[dict[str, Any]]:
    grid = read_definition({"axes": axes, **keys}).grid
    return [grid[number] for number in range(len(grid))]


def test_a_mapping_of_lists_is_a_grid_whose_last_axis_turns_fastest() -> None:
    assert points({"a": [1, 2], "b.c": ["x", "y"]}) == [
        {"a": 1, "b.c": "x"},
        {"a": 1, "b.c": "y"},
        {"a": 2, "b.c": "x"},
        {"a": 2, "b.c": "y"},
    ]


def test_blocks_multiply_and_zips_go_together() -> None:
    found = points(
        [
            {"zip": {"plan.tensor_parallel_size": [4, 8], "plan.pipeline_parallel_size": [2, 1]}},
            {"list": [{"model": "m"}, {"model": "n", "seed": 3}]},
        ]
    )

    assert found == [
        {"plan.tensor_parallel_size": 4, "plan.pipeline_parallel_size": 2, "model": "m"},
        {"plan.tensor_parallel_size": 4, "plan.pipeline_parallel_size": 2, "model": "n", "seed": 3},
        {"plan.tensor_parallel_size": 8, "plan.pipeline_parallel_size": 1, "model": "m"},
        {"plan.tensor_parallel_size": 8, "plan.pipeline_parallel_size": 1, "model": "n", "seed": 3},
    ]


def test_a_value_that_holds_keys_becomes_its_leaves_and_figures_keep_their_dots() -> None:
    (point,) = points({"plan": [{"replicas": 2}], "hardware_set.card.clock_hz": [1e9]})

    assert point == {"plan.replicas": 2, "hardware_set.card.clock_hz": 1e9}
    assert nested(point) == {"plan": {"replicas": 2}, "hardware_set": {"card.clock_hz": 1e9}}


def test_columns_have_the_type_of_their_values() -> None:
    axes = {"a": [1, None], "b": [1, 2.5], "c": ["x", 1], "d": [True], "e": [[1], [2]]}

    assert read_definition({"axes": axes}).grid.types == {
        "a": "int64",
        "b": "float64",
        "c": "string",
        "d": "bool",
        "e": "string",
    }


def test_rows_and_numbers_of_numpy_are_what_a_file_would_hold() -> None:
    axes = {"a": np.arange(2), "b": [np.float64(0.5)], "c": range(1), "d": (Path("x"), "y")}
    grid = read_definition({"axes": axes}).grid

    assert grid.types == {"a": "int64", "b": "float64", "c": "int64", "d": "string"}
    assert grid[3] == {"a": 1, "b": 0.5, "c": 0, "d": "y"}
    assert [type(value) for value in grid[2].values()] == [int, float, int, str]


def test_repeat_gives_every_point_seeds_from_the_base_on() -> None:
    assert points({"router": ["random"]}, base={"seed": 5}, repeat=2) == [
        {"router": "random", "seed": 5},
        {"router": "random", "seed": 6},
    ]


def test_a_definition_survives_its_manifest(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("base: {model: m}\naxes: {seed: [1, 2]}\nskip: [seed > 1]\n")
    requested = read_definition(file)

    again = of_content(requested.content, requested.name)

    assert (again.name, again.folders, again.base.data) == (
        "mine",
        (tmp_path, tmp_path),
        {"model": "m"},
    )
    assert again.grid == requested.grid
    assert again.skip[0].text == "seed > 1"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("axis: {}", r":1: unknown key 'axis'; did you mean 'axes'\?"),
        ("name: x", ":1: axes is missing"),
        ("axes: 3", ":1: axes are keys with lists of values"),
        ("axes: {a: 3}", ":1: a is 3; an axis is a list of values"),
        ("axes: {a: []}", r":1: a is \[\]; an axis is a list of values"),
        ("axes:\n- gird: {a: [1]}", r":2: unknown kind 'gird'; did you mean 'grid'\?"),
        (
            "axes:\n- zip: {a: [1], b: [1, 2]}",
            ":2: zip takes lists of one length; a has 1, b has 2",
        ),
        ("axes: {a: [1]}\nskip: a > 1", ":2: skip is a list, found 'a > 1'"),
        ("axes: {a: [1]}\nskip:\n- a >", ":3: skip 'a >' is no condition"),
        ("axes: {a: [1]}\nstore: run", r":2: store is 'run'; did you mean 'runs'\?"),
        ("axes: {a: [1]}\nrepeat: 0", ":2: repeat is 0; must be a whole number from 1"),
        ("axes: {a: [1]}\ntimeout_s: .nan", ":2: timeout_s is nan; must be a number above 0"),
        ("axes: {a: [1]}\nname: ../x", ":2: name '../x' is also a folder's"),
        ("axes: {plan: [{replicas: 1}], plan.replicas: [2]}", ":1: 'plan.replicas' is set by two"),
        ("axes: {seed: [1]}\nrepeat: 2", r":1: 'seed' is set by two .*repeat sets it too"),
        ("axes:\n- grid:\n    a: [1, .nan]", ":3: nan is no value of a scenario"),
        ("axes: {a: [1]}\nbase:\n  a: {b: -.inf}", ":3: -inf is no value of a scenario"),
        ("axes: {a: [1]}\nbase: 3", ":2: base is a scenario file or its keys, found 3"),
        (
            "axes:\n- sample: {count: 2, of: {a: {low: 1, high: 1}}}",
            ":2: a needs numbers low < high, found 1 and 1",
        ),
        (
            "axes:\n- sample: {count: 2, of: {a: {low: 0, high: 1, scale: log}}}",
            ":2: a on a log scale needs low above 0",
        ),
        (
            "axes:\n- sample: {count: 2, method: lhs, of: {a: {low: 0, high: 1}}}",
            ":2: unknown method 'lhs'; allowed: random, latin_hypercube",
        ),
        (
            "axes: {a: [1, 2, 3], b: &b [" + ", ".join("1" * 1000) + "], c: *b, d: *b}",
            "3,000,000,000 points",
        ),
    ],
)
def test_errors_are_reported_with_their_line(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "sweep.yaml"
    file.write_text(text)

    with pytest.raises(SweepError, match=said):
        read_definition(file)
