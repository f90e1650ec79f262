"""Digests of a run's input files, for its manifest."""

from hashlib import file_digest
from pathlib import Path


def described(use: str, path: Path) -> dict[str, object]:
    """Use, name, sha256 and bytes of a file; of a model's folder, its config."""
    file = path / "config.json" if path.is_dir() else path
    with file.open("rb") as content:
        digest = file_digest(content, "sha256").hexdigest()
    return {"use": use, "name": file.name, "sha256": digest, "bytes": file.stat().st_size}
