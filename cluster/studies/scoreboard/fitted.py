"""Which measured points set figures of the hardware, so that they are no evidence for it."""

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from topology.catalog import list_hardware, load_hardware


@cache
def _fitted() -> tuple[Mapping[str, str | int], ...]:
    """Points that a bundled hardware file names, each once."""
    named = (point for name in list_hardware() for point in load_hardware(name).fitted)
    return tuple({tuple(point.items()): point for point in named}.values())


def is_fitted(described: Mapping[str, Any]) -> bool:
    """Whether a hardware file names this point among those that it was fitted on.

    Parameters
    ----------
    described
        ``device``, ``engine``, ``model``, ``precision``, ``tp_size``, ``isl``, ``osl``, ``users``.
    """
    rows = (point for point in _fitted() if "run" not in point)
    return any({"engine": "vllm", **point}.items() <= described.items() for point in rows)


def first_fitted(device: str, run: str) -> int:
    """How many of the first requests of a log of this run figures were fitted on."""
    return max(_of_log(device, run), default=0)


def _of_log(device: str, run: str) -> Iterator[int]:
    for point in _fitted():
        if (point["device"], point.get("run")) == (device, run):
            yield int(point["requests"])


def scored_requests(device: str, run: str, number: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """[request] Which requests of a log are evidence, by their numbers in it."""
    evidence: npt.NDArray[np.bool_] = number >= first_fitted(device, run)
    return evidence
