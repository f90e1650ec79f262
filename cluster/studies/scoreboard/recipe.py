"""What no column of a point says: how its engine was set up and what its client did.

From the notes that come with the data; ``max_num_seqs`` is in no file, so it is vLLM's default.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MAX_NUM_SEQS = 256
"""vLLM's default; no file says what the points were measured with."""
ROUNDS = 10
"""Requests that each user of the closed loop sends."""
SHORTEST = 0.8
"""Lengths are uniform from this share of the nominal one up to it."""
_KNOWN_CLIENT = re.compile(r"\d{4}-\d{2}-\d{2}\.csv|db-dump/.*")
_BUDGET = 8192
_BUDGETS = {"trtllm": 16384}
"""Tokens of a step where an engine has another budget."""
_FORMATS = {"fp4": "nvfp4", "fp8_block": "fp8"}
"""Precisions whose formats have other names here."""
_ASYNC_SINCE = (0, 14)
"""vLLM's version from which asynchronous scheduling is the default."""
_FP8_CACHE = ("llama-3.1-70b", "llama-3.3-70b")
"""Models whose points keep keys and values in FP8."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """What the client of a point did."""

    known: bool
    """False: only the time per further token can be compared."""
    shortest: float
    """Lengths are uniform from this share of the nominal one up to it."""


def client_of(provenance: str) -> Client:
    """All users start at once and send ROUNDS requests each; lengths as far as they are known.

    A warm-up came before; it only warms caches that nothing here has, so it is not simulated.
    """
    known = not provenance or bool(_KNOWN_CLIENT.fullmatch(provenance))
    return Client(known=known, shortest=SHORTEST if known else 1.0)


def scheduler_of(engine: str, version: str, stages: int) -> dict[str, Any]:
    """The scheduler's settings; engines other than vLLM run by the same rules here."""
    numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
    overlaps = engine != "vllm" or not numbers or numbers >= _ASYNC_SINCE
    return {
        "max_num_seqs": MAX_NUM_SEQS,
        "max_num_batched_tokens": _BUDGETS.get(engine, _BUDGET),
        "async_scheduling": overlaps and stages == 1,
        "enable_prefix_caching": False,
    }


def figures_of(engine: str) -> dict[str, float]:
    """Figures of the hardware that are vLLM's doing, as another engine has them."""
    return {} if engine == "vllm" else {"gpu.eager_layer_s": 0.0}


def formats_of(row: Mapping[str, Any], model: str) -> dict[str, str]:
    """Number formats of a point; a precision that is not stated is bf16."""
    precision = str(row["precision"]) or "bf16"
    cache = "fp8" if model in _FP8_CACHE and precision != "bf16" else "bf16"
    if precision == "fp4" and model.startswith("gpt-oss"):
        weights, activations = "mxfp4", "bf16"  # as published: only the weights are of 4 bits
    else:
        weights = activations = _FORMATS.get(precision, precision)
    return {"weights": weights, "activations": activations, "kv": cache, "wire": "bf16"}
