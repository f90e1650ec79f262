"""Reads the results of ``vllm bench serve --save-result``, and of ``export --format vllm``."""

import json
from collections.abc import Mapping
from pathlib import Path

from results.errors import ResultsError, explained

NEEDED = ("completed", "duration")
"""Numbers by which the file is recognised."""


def read_bench(path: Path) -> Mapping[str, float]:
    """Its numbers by their names, lists and texts left out.

    Raises
    ------
    ResultsError
        No such file, no JSON object, or one that misses what every such file has.
    """
    with explained(path, "read"):
        text = path.read_bytes()
    try:
        found = json.loads(text)
    except ValueError as error:
        raise ResultsError(f"{path}: not JSON ({error})") from None
    if not isinstance(found, dict):
        raise ResultsError(f"{path}: must hold one JSON object, as vllm bench serve writes it")
    numbers = {
        name: float(value)
        for name, value in found.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
    if missing := [name for name in NEEDED if name not in numbers]:
        raise ResultsError(
            f"{path}: misses {', '.join(missing)}: not the result of vllm bench serve --save-result"
        )
    return numbers
