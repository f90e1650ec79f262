"""The file of possible machines: written, read, and refused by name."""

import json
from pathlib import Path
from typing import Any

import pytest

from cluster.studies.machine_set import (
    MachineSet,
    MachineSetError,
    PossibleMachine,
    drawn,
    read_machines,
    write_machines,
)

ONE = PossibleMachine(figures={"card.dispatch_s": 5e-7}, settings={"wire": "fp16"})
TWO = PossibleMachine(figures={"card.dispatch_s": 8e-7}, settings={"wire": "mxint8"})
BOTH = MachineSet(hardware="corsair", rows=("8B",), machines=(ONE, TWO))


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write_machines(BOTH, tmp_path / "set.json")

    assert read_machines(tmp_path / "set.json") == BOTH


def test_every_machine_is_drawn_before_one_is_drawn_again() -> None:
    found = drawn(BOTH, 5, seed=0)

    assert {id(machine) for machine in found[:2]} == {id(ONE), id(TWO)}
    assert found[2:4] == found[:2]
    assert len(found) == 5


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"kind": "run"}, "is no set of machines"),
        ({"machines": []}, "holds no machine"),
        ({"hardware": "corsiar"}, "did you mean 'corsair'"),
        ({"machines": [{"figures": {"card.dispatch": 1}, "settings": {}}]}, "card.dispatch_s"),
        ({"machines": [{"figures": {"card.dispatch_s": "1"}, "settings": {}}]}, "found '1'"),
        ({"machines": [{"figures": {}, "settings": {"wier": "fp16"}}]}, "did you mean 'wire'"),
        ({"machines": 3}, "a torn set"),
    ],
)
def test_a_wrong_set_is_refused(change: dict[str, Any], error: str, tmp_path: Path) -> None:
    path = tmp_path / "set.json"
    write_machines(BOTH, path)
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))

    with pytest.raises(ValueError, match=error) as found:
        read_machines(path)
    assert getattr(found.value, "exit_code", None) == 2


def test_a_missing_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MachineSetError, match="cannot read"):
        read_machines(tmp_path / "none.json")
