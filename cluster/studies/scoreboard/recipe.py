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
EXPERTS = {"routing": "zipf", "skew": 0.5}
"""Routers prefer some experts, how strongly is in no file: Zipf's exponent, chosen knowing the TPOT
of gpt-oss-120b and Qwen3-235B (best near 0.8) and of MiniMax-M2.5 (between 0 and 0.5)."""
FP8_CACHE = ("llama-3.1-70b", "llama-3.3-70b")
"""Models whose recipe keeps keys and values in FP8."""
_WIDE_CACHE = ("h100", "h200")
"""Devices whose engines kept them in 16 bits all the same (docs/decisions/0035): with 64 users of
8,192 tokens on two H100s, Little's law has 29 requests running, of 7,834 tokens each. 226,000
tokens is what memory holds in 16 bits (231,000), and half of what it would in FP8. H200 is the same
chip under the same engine."""


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
    return {} if engine == "vllm" else {"engine.eager_layer_s": 0.0}


def formats_of(row: Mapping[str, Any], device: str, model: str) -> dict[str, str]:
    """Number formats of a point; a precision that is not stated is bf16."""
    precision = str(row["precision"]) or "bf16"
    narrow = model in FP8_CACHE and precision != "bf16" and device not in _WIDE_CACHE
    cache = "fp8" if narrow else "bf16"
    if precision == "fp4" and model.startswith("gpt-oss"):
        weights, activations = "mxfp4", "bf16"  # as published: only the weights are of 4 bits
    else:
        weights = activations = _FORMATS.get(precision, precision)
    return {"weights": weights, "activations": activations, "kv": cache, "wire": "bf16"}
