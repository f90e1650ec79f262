"""The run's identity: a digest of everything that can change its results, and of nothing else."""

import hashlib
import json
from collections.abc import Mapping
from hashlib import file_digest
from pathlib import Path

MODEL_VERSION = 3
"""Raised whenever the same scenario gives other results; CHANGELOG.md says why."""


class Encoded(str):
    """A value that is JSON text already, for who names many runs with the same piece in them."""

    __slots__ = ()


def encoded(value: object) -> Encoded:
    """A value as the text that it has in the digest; what is such text already stays as it is."""
    if isinstance(value, Encoded):
        return value
    return Encoded(json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False))


def run_id(content: Mapping[str, object]) -> str:
    """Twelve letters that are the same for the same content on any machine.

    ``content`` holds plain JSON values; 1 and 1.0 are different content, NaN is refused.

    Examples
    --------
    >>> run_id({"seed": 0}) == run_id({"seed": 0})
    True
    >>> run_id({"seed": 0}) == run_id({"seed": 1})
    False
    """
    typed = {"model_version": MODEL_VERSION, **content}
    pieces = (f"{encoded(key)}:{encoded(value)}" for key, value in sorted(typed.items()))
    return hashlib.sha256(f"{{{','.join(pieces)}}}".encode()).hexdigest()[:12]


def described(use: str, path: Path) -> dict[str, object]:
    """What a file is read for, its name, sha256 and bytes; of a model's folder, its config."""
    file = path / "config.json" if path.is_dir() else path
    with file.open("rb") as content:
        digest = file_digest(content, "sha256").hexdigest()
    return {"use": use, "name": file.name, "sha256": digest, "bytes": file.stat().st_size}
