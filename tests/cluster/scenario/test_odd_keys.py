"""A key that a scenario does not know is named as it was written, wherever it stands."""

from pathlib import Path
from typing import Any

import pytest

from cluster.scenario.load import ScenarioError, load
from cluster.studies.sweep.definition import read_definition
from cluster.studies.sweep.input_cache import Library
from cluster.studies.sweep.points import plan_points

MINIMAL = "model: llama-3.1-8b\nworkload: {trace: t.csv}\n"
POINTED: dict[str, Any] = {
    "model": "llama-3.1-8b",
    "workload": {"synthetic": {"preset": "azure-chat", "requests": 4}},
}

ODD = [
    ("warmup-s: 1", "'warmup-s'; did you mean 'warmup_s'?"),
    ("Warmup_S: 1", "'Warmup_S'; did you mean 'warmup_s'?"),
    ("warmup s: 1", "'warmup s'; did you mean 'warmup_s'?"),
    ("warmup.s: 1", "'warmup.s'; did you mean 'warmup_s'?"),
    ("int: 1", "'int'; allowed: cluster, "),
    ("'a[b]': 1", "'a[b]'; allowed: cluster, "),
    ("'': 1", "''; allowed: cluster, "),
    ("7: 1", "'7'; allowed: cluster, "),
    ("null: 1", "'null'; allowed: cluster, "),
    (
        "scheduler: {max-num-seqs: 32}",
        "'scheduler.max-num-seqs'; did you mean 'max_num_seqs'?",
    ),
    ("scheduler: {'': 32}", "\"scheduler.''\"; allowed: async_scheduling, "),
    ("scheduler: {int: 32}", "'scheduler.int'; allowed: async_scheduling, "),
    (
        "links: [{match: x, bandwidth-scale: 2}]",
        "'links.0.bandwidth-scale'; did you mean 'bandwidth_scale'?",
    ),
    (
        "pools: {prefill: {cards: 4, memory: {mo-de: sram}}, decode: {cards: 4}}",
        "'pools.prefill.memory.mo-de'; did you mean 'mode'?",
    ),
]


@pytest.mark.parametrize(("line", "said"), ODD)
def test_in_a_file_with_its_line(line: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(f"{MINIMAL}{line}\n")

    with pytest.raises(ScenarioError) as caught:
        load(tmp_path / "s.yaml")

    assert f"s.yaml:3: unknown key {said}" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    "word",
    [
        "scheduler.max-num-seqs=32",
        "scheduler={max-num-seqs: 32}",
        "scheduler.Max-Num-Seqs=32",
        "scheduler. max_num_seqs=32",
    ],
)
def test_in_a_set_word(word: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        load(sets=[word])

    assert str(caught.value).startswith(f"--set {word}: unknown key ")
    assert str(caught.value).endswith("did you mean 'max_num_seqs'?")


def test_beside_a_key_that_a_union_misses() -> None:
    with pytest.raises(ScenarioError) as caught:
        load(POINTED, sets=["workload.synthetic.arrivals={poisson: {rate-per-s: 2}}"])

    said = str(caught.value)
    assert "workload.synthetic.arrivals.poisson.rate_per_s is missing" in said
    assert "unknown key 'workload.synthetic.arrivals.poisson.rate-per-s'" in said


def test_in_the_axes_and_in_the_base_of_a_sweep(tmp_path: Path) -> None:
    axes = {"scheduler.max-num-seqs": [1, 2]}
    with pytest.raises(ValueError, match=r"unknown key 'scheduler\.max-num-seqs'; did you mean"):
        plan_points(read_definition({"base": POINTED, "axes": axes}), Library())
    (tmp_path / "sweep.yaml").write_text(
        "base: {model: llama-3.1-8b, workload: {trace: t.csv},\n  warmup-s: 3}\naxes: {seed: [1]}\n"
    )

    with pytest.raises(ValueError, match=r"sweep\.yaml:2: unknown key 'warmup-s'; did you mean"):
        plan_points(read_definition(tmp_path / "sweep.yaml"), Library())


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({1: 2}, "the key 1 of the scenario must be text"),
        ({"scheduler": {None: 2}}, "the key None of scheduler must be text"),
        ({"hardware_set": {1: 2.0}}, "the key 1 of hardware_set must be text"),
    ],
)
def test_in_python_where_a_key_need_not_even_be_text(given: dict[Any, Any], said: str) -> None:
    with pytest.raises(ScenarioError, match=said):
        load({**POINTED, **given})


def test_that_is_a_figure_of_the_catalogue(capsys: pytest.CaptureFixture[str]) -> None:
    from cluster.commands.app import main

    code = main(["check", "--set", "hardware_set.card.clock-hz=8.0e8"])

    assert code == 2
    assert "no figure 'card.clock-hz'; did you mean 'card.clock_hz'?" in capsys.readouterr().err
