"""The manifest: inputs, versions and times of a run."""

import hashlib
import json
import platform as machine
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from corsair_common.limits import read_bounded
from results.errors import ResultsError
from results.schema import SCHEMA_VERSION

MOST_MANIFEST_BYTES = 2**28
"""Of a manifest; one of a sweep lists its points' settings."""
PACKAGES = ("numpy", "numba", "pyarrow", "networkx", "pydantic")
"""Packages whose versions may affect a result."""

SEAL = "sha256"
"""Field of a manifest: digest of all others."""
FIELDS: Mapping[str, type | tuple[type, ...]] = MappingProxyType(
    {
        "schema_version": int,
        "run_id": str,
        "model_version": int,
        "corsair_sim": str,
        "versions": dict,
        "platform": dict,
        "scenario": dict,
        "inputs": list,
        "hardware": dict,
        "started_utc": str,
        "finished_utc": str,
        "seconds": (int, float),
        "command": list,
        "tables": dict,
    }
)
"""Fields of a manifest. ``tables`` is added by the store: rows, bytes and sha256 of each file."""


def manifest(
    *,
    run_id: str,
    model_version: int,
    scenario: Mapping[str, object],
    inputs: Iterable[Mapping[str, object]],
    hardware: Mapping[str, Mapping[str, object]],
    times: tuple[datetime, datetime],
    command: Iterable[str] = (),
) -> dict[str, object]:
    """The manifest of a run, without its tables.

    ``scenario`` is as resolved; ``inputs`` are the files read (name, sha256, bytes); ``hardware``
    maps each figure used to its value, unit, source, confidence, low and high; ``times`` are
    start and end, with their time zone.
    """
    started, finished = (moment.astimezone(UTC) for moment in times)
    return {
        "schema_version": SCHEMA_VERSION,
        "run_id": run_id,
        "model_version": model_version,
        "corsair_sim": _version("corsair-sim"),
        "versions": versions(),
        "platform": {
            "system": machine.system(),
            "release": machine.release(),
            "machine": machine.machine(),
            "implementation": sys.implementation.name,
        },
        "scenario": dict(scenario),
        "inputs": [dict(entry) for entry in inputs],
        "hardware": {key: dict(figure) for key, figure in hardware.items()},
        "started_utc": started.isoformat(),
        "finished_utc": finished.isoformat(),
        "seconds": (finished - started).total_seconds(),
        "command": list(command),
    }


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that a result may depend on."""
    return {
        "python": machine.python_version(),
        **{package: _version(package) for package in PACKAGES},
    }


def manifest_json(content: Mapping[str, object]) -> str:
    """The manifest as strict JSON: NumPy scalars are unwrapped, NaN and infinity refused."""
    return json.dumps(content, indent=2, allow_nan=False, default=_plain) + "\n"


def sealed(content: Mapping[str, object]) -> dict[str, object]:
    """``content`` with its own digest as ``sha256``: an altered manifest is noticed."""
    return {**content, SEAL: _digest(json.loads(manifest_json(content)))}


def check_seal(path: Path, content: Mapping[str, Any]) -> None:
    """Raise ResultsError if a manifest is not as it was written."""
    if SEAL not in content:
        raise ResultsError(
            f"{path}: the manifest lacks {SEAL!r}: altered, or written by an older corsair-sim; "
            "run it again"
        )
    if content[SEAL] != _digest(content):
        raise ResultsError(f"{path}: damaged or altered (its sha256 differs)")


def _digest(content: Mapping[str, Any]) -> str:
    rest = {name: value for name, value in content.items() if name != SEAL}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def read_manifest(path: Path) -> dict[str, Any]:
    """Read a manifest and check that this version supports it.

    Raises
    ------
    ResultsError
        The file is missing, no JSON, of a newer schema, or lacks a field or has one of a wrong
        type.
    """
    try:
        content = json.loads(read_bounded(path, MOST_MANIFEST_BYTES))
    except OSError as error:
        raise ResultsError(f"{path}: cannot read the manifest: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ResultsError(f"{path}: not a manifest, or a damaged one: {error}") from error
    if not isinstance(content, dict):
        raise ResultsError(f"{path}: not a manifest: one JSON object was expected")
    found = content.get("schema_version")
    if isinstance(found, int) and found > SCHEMA_VERSION:
        raise ResultsError(
            f"{path}: written by a newer corsair-sim ({content.get('corsair_sim', 'unknown')},"
            f" schema {found}); this one reads schemas up to {SCHEMA_VERSION}"
        )
    for field, kind in FIELDS.items():
        if field not in content:
            raise ResultsError(f"{path}: the manifest lacks {field!r}")
        if not isinstance(content[field], kind) or isinstance(content[field], bool):
            allowed = kind if isinstance(kind, tuple) else (kind,)
            raise ResultsError(
                f"{path}: {field!r} is {type(content[field]).__name__}, not"
                f" {' or '.join(each.__name__ for each in allowed)}"
            )
    check_seal(path, content)
    return content


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "not installed"


def _plain(value: object) -> object:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"a manifest cannot hold {type(value).__name__}: {value!r}")
