from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.studies.sweep.condition import read_condition
from cluster.studies.sweep.errors import SweepError

VALUES = {
    "plan.tensor_parallel_size": 4,
    "plan.pipeline_parallel_size": 2,
    "memory.mode": "performance",
    "hardware_set.card.clock_hz": 1e9,
    "workload.limit": None,
}


def look(name: str) -> Any:
    if name not in VALUES:
        raise SweepError(f"unknown name {name!r}")
    return VALUES[name]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plan.tensor_parallel_size * plan.pipeline_parallel_size > 8", False),
        ("plan.tensor_parallel_size * plan.pipeline_parallel_size >= 8", True),
        ("2 < plan.tensor_parallel_size < 5", True),
        ("memory.mode == 'capacity' or hardware_set.card.clock_hz < 2e9", True),
        ("memory.mode in ['capacity', 'auto']", False),
        ("not (memory.mode == 'performance')", False),
        ("max(plan.tensor_parallel_size, 7) % 4 == 3", True),
        ("-plan.tensor_parallel_size // 3 == -2", True),
        ("workload.limit == null and true", True),
        ("workload.limit > 3", False),
    ],
)
def test_a_condition_says_what_python_would(text: str, expected: bool) -> None:
    assert read_condition(text, "file:1").holds(look) is expected


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "open('x')",
        "(lambda: 1)()",
        "[x for x in (1, 2)]",
        "plan['tensor_parallel_size']",
        "2 ** 3",
        "f'{plan}'",
        "max(1, key=abs)",
        "(x := 1)",
        "b'bytes' == 1",
    ],
)
def test_what_is_no_comparison_of_values_is_refused_before_anything_is_computed(text: str) -> None:
    with pytest.raises(SweepError, match=r"^file:3: skip "):
        read_condition(text, "file:3")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("plan.size > 8", "unknown name 'plan.size'"),
        ("memory.mode * 3 == 1", "memory.mode is 'performance', which is no number"),
        ("plan.tensor_parallel_size / 0 > 1", "division by zero"),
        ("memory.mode < 3", "not supported between"),
    ],
)
def test_invalid_values_are_reported_with_file_and_line(text: str, said: str) -> None:
    with pytest.raises(SweepError, match=rf"^sweep.yaml:7: skip .*{said}"):
        read_condition(text, "sweep.yaml:7").holds(look)


@pytest.mark.parametrize("text", ["", "1 +", "a b", 3, None, "x" * 2000])
def test_what_is_no_expression_is_refused(text: object) -> None:
    with pytest.raises(SweepError, match=r"^file:1: "):
        read_condition(text, "file:1")


@given(st.integers(-99, 99), st.integers(-99, 99), st.sampled_from(["<", "<=", "==", "!=", ">"]))
def test_comparisons_agree_with_pythons(left: int, right: int, sign: str) -> None:
    printed = read_condition(f"{left} {sign} {right}", "file:1").holds(look)

    assert (
        printed
        == {
            "<": left < right,
            "<=": left <= right,
            "==": left == right,
            "!=": left != right,
            ">": left > right,
        }[sign]
    )
