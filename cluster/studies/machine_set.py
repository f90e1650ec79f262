"""Possible machines as a file: what ``calibrate`` found, for other studies to draw from."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np

from corsair_common import files
from topology.catalog import load_hardware
from topology.catalog.figures import nearest

KIND = "corsair-sim machines"
SETTINGS: Mapping[str, str] = MappingProxyType(
    {
        "wire": "formats.wire",
        "norms": "collectives.norms",
        "overlap": "collectives.overlap",
    }
)
"""Keys of a scenario that hold settings of a machine's software."""

STREAM = 14
"""Separates the order of machines from other random numbers of the seed."""


class MachineSetError(ValueError):
    """A file that is no set of machines, or one of other hardware."""

    exit_code: ClassVar[int] = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class PossibleMachine:
    """One machine: its figures in SI, and its settings (SETTINGS)."""

    figures: Mapping[str, float]
    settings: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineSet:
    """Equally likely machines."""

    hardware: str
    """Whose other figures they have: a bundled name."""
    rows: tuple[str, ...]
    """What they were fitted on."""
    machines: tuple[PossibleMachine, ...]


def write_machines(found: MachineSet, path: Path) -> None:
    """Write the set as one JSON object."""
    content = {
        "kind": KIND,
        "hardware": found.hardware,
        "rows": list(found.rows),
        "machines": [
            {"figures": dict(each.figures), "settings": dict(each.settings)}
            for each in found.machines
        ],
    }
    files.write_text(path, json.dumps(content, indent=1) + "\n")


def read_machines(path: str | Path) -> MachineSet:
    """Read a set.

    Raises
    ------
    MachineSetError
        No such file, no JSON, or a machine whose figures or settings are unknown: the first error.
    """
    try:
        content = json.loads(Path(path).read_bytes())
    except OSError as error:
        raise MachineSetError(f"{path}: cannot read: {files.reason(error)}") from None
    except ValueError as error:
        raise MachineSetError(f"{path}: not JSON ({error})") from None
    if not isinstance(content, dict) or content.get("kind") != KIND:
        raise MachineSetError(
            f"{path}: is no set of machines: corsair-sim calibrate --machines FILE writes one"
        )
    try:
        known = load_hardware(content["hardware"]).figures
        machines = content["machines"]
        found = tuple(
            _machine(machine, known, f"{path}: machine {number}")
            for number, machine in enumerate(machines)
        )
        rows = tuple(map(str, content["rows"]))
    except (KeyError, TypeError, AttributeError) as error:
        raise MachineSetError(f"{path}: a torn set of machines ({error})") from None
    if not found:
        raise MachineSetError(f"{path}: holds no machine")
    return MachineSet(hardware=str(content["hardware"]), rows=rows, machines=found)


def _machine(
    machine: Mapping[str, Any], known: Mapping[str, object], where: str
) -> PossibleMachine:
    for name, value in machine["figures"].items():
        if name not in known:
            raise MachineSetError(f"{where}: no figure {nearest(name, known)}")
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise MachineSetError(f"{where}: {name} must be a number in SI, found {value!r}")
    for name in machine["settings"]:
        if name not in SETTINGS:
            raise MachineSetError(
                f"{where}: unknown setting {nearest(name, SETTINGS)} (known: {', '.join(SETTINGS)})"
            )
    return PossibleMachine(
        figures={name: float(value) for name, value in machine["figures"].items()},
        settings={name: str(value) for name, value in machine["settings"].items()},
    )


def drawn(found: MachineSet, count: int, seed: int) -> list[PossibleMachine]:
    """``count`` machines in an order of the seed; each again where there are fewer."""
    order = np.random.default_rng([seed, STREAM]).permutation(len(found.machines))
    return [found.machines[order[number % len(order)]] for number in range(count)]
