"""The comments of the scenario that ``corsair-sim init`` writes are true."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster.commands.app import main
from cluster.scenario.load import load, template_text
from cluster.scenario.resolve import resolve
from cluster.scenario.schema import Scenario
from topology.strict_yaml import parse_document

TEMPLATE = template_text()
EXAMPLE = ("name", "model", "workload", "slo")
"""Keys whose values are said to be no defaults."""
FILES = ("network", "endpoint", "trace", "format", "program", "chakra", "columns")
"""Examples that need a file, or go with one."""
CUTS = ("limit", "start_s", "duration_s", "time_unit", "hash_block_tokens", "later_prompts")
"""Examples that are for a trace."""


def template() -> dict[str, Any]:
    return dict(parse_document(TEMPLATE, "template").mapping())


def examples() -> Iterator[tuple[str, dict[str, Any]]]:
    """Each key that is commented out, and the scenario's keys that its lines set."""
    parent, block = "", list[str]()
    for line in [*TEMPLATE.splitlines()[5:], ""]:
        text, inner = line.strip(), line.startswith("  ")
        example = text[2:] if text.startswith("# ") else ""
        goes_on = bool(block) and example.startswith("  ")
        if block and not goes_on:
            found = parse_document("\n".join(block), "example").data
            if isinstance(found, dict):
                yield next(iter(found)), {parent: found} if parent else found
            block = []
        if goes_on and not example.strip().startswith("#"):
            block.append(example)
        elif example and example.split(":")[0].isidentifier():
            block = [example]
        if line and not line.startswith(("#", " ")):
            parent_key = line.split(":")[0]
        parent = parent_key if inner and line else ""


CASES = dict(examples())


def test_every_value_but_the_example_s_is_the_default() -> None:
    shown, least = load(template()), load({name: template()[name] for name in EXAMPLE})

    assert set(template()) | set(CASES) >= set(Scenario.model_fields)
    assert shown == least


def test_the_plan_of_the_template_is_found() -> None:
    run = resolve(load(template()))

    assert "plan auto took" in run.plan_reasons[0]


def test_the_template_runs_other_models_and_other_clusters(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(TEMPLATE, "utf-8")

    for model, cards in (("llama-3.1-8b", 1), ("llama-3.1-70b", 1), ("gpt-oss-120b", 8)):
        words = ("--set", f"model={model}", "--set", f"cluster.cards_per_server={cards}")
        assert main(["check", str(path), *words]) == 0


@pytest.mark.parametrize("key", [key for key in CASES if key not in FILES])
def test_every_example_in_a_comment_can_be_set(key: str) -> None:
    pools = CASES["pools"] if key == "transfer" else {}
    scenario = load(template(), **pools, **CASES[key])

    if key not in CUTS:
        assert resolve(scenario, wanted="either").run_id


@pytest.mark.parametrize("key", [key for key in CASES if key in FILES])
def test_an_example_that_needs_a_file_is_a_valid_key(key: str) -> None:
    plain = {"network": "r.yml", "workload": {"chakra": "folder"}}
    base = plain if key in {"network", "endpoint"} else template()

    given = load(base, **CASES[key]).model_fields_set

    assert set(CASES[key]) <= given
