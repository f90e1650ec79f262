"""Errors of operations by kind, device and precision."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from cluster.studies.scoreboard.machines import device_named
from cluster.studies.scoreboard.operations.shapes import (
    Columns,
    Seconds,
    all_reduce_s,
    attention_s,
    gemm_s,
    moe_s,
)
from corsair_common.units import Floats, Integers
from topology.catalog import Hardware, load_hardware
from workloads.measured import Measured, find_measured, read_measured

Mask: TypeAlias = npt.NDArray[np.bool_]

_FLOATS = {
    "bfloat16": "bf16", "half": "bf16", "float16": "bf16", "fp8": "fp8", "fp8_block": "fp8",
    "nvfp4": "nvfp4", "w4a16_mxfp4": "mxfp4",
}  # fmt: skip
"""Types of the tables and our formats; rows of another type are not scored."""
ENGINE = "VLLM"
"""Whose kernels the device model has the constants of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of operation: where it stands, what is scored of it, and how long it takes."""

    name: str
    layout: str
    about: str
    """What is scored."""
    precision: str
    """Column of the precision."""
    apart: tuple[str, ...]
    """Columns whose values are priced one at a time."""
    along: tuple[str, ...]
    least: Mapping[str, int]
    most: Mapping[str, int]
    seconds: Seconds
    words: Mapping[str, str]
    """Columns that have to have this value."""


_HEADS = ("num_heads", "num_key_value_heads", "head_dim", "window_size")
_BATCH = ("batch_size", "isl", "step")

KINDS = (
    Kind(
        name="gemm", layout="gemm", precision="gemm_dtype", seconds=gemm_s,
        about="n and k of 1,024 to 16,384, up to 16,384 rows, quantization included",
        apart=("n", "k"), along=("m",), least={"n": 1024, "k": 1024},
        most={"n": 16384, "k": 16384, "m": 16384}, words={"framework": ENGINE},
    ),
    Kind(
        name="decode attention", layout="attention", precision="kv_cache_dtype",
        seconds=attention_s, about="contexts of 256 to 65,536 tokens, up to 256 sequences",
        apart=_HEADS, along=_BATCH, least={"step": 255},
        most={"window_size": 0, "batch_size": 256, "step": 65536, "isl": 1},
        words={"framework": ENGINE},
    ),
    Kind(
        name="prompt attention", layout="attention", precision="kv_cache_dtype",
        seconds=attention_s, about="prompts of 256 tokens and more", apart=_HEADS, along=_BATCH,
        least={"isl": 256}, most={"window_size": 0, "step": 0}, words={"framework": ENGINE},
    ),
    Kind(
        name="decode attention, window", layout="attention", precision="kv_cache_dtype",
        seconds=attention_s, about="contexts of 256 to 65,536 tokens, up to 256 sequences",
        apart=_HEADS, along=_BATCH, least={"window_size": 1, "step": 255},
        most={"batch_size": 256, "step": 65536, "isl": 1},
        words={"framework": ENGINE},
    ),
    Kind(
        name="prompt attention, window", layout="attention", precision="kv_cache_dtype",
        seconds=attention_s, about="prompts of 256 tokens and more", apart=_HEADS, along=_BATCH,
        least={"window_size": 1, "isl": 256}, most={"step": 0}, words={"framework": ENGINE},
    ),
    Kind(
        name="experts", layout="moe", precision="moe_dtype", seconds=moe_s,
        about="balanced experts on up to 8 GPUs, up to 8,192 tokens",
        apart=("hidden_size", "inter_size", "topk", "num_experts", "moe_tp_size", "moe_ep_size"),
        along=("num_tokens",), least={"num_tokens": 1},
        most={"num_tokens": 8192, "moe_tp_size": 8, "moe_ep_size": 8},
        words={"framework": ENGINE, "distribution": "balanced"},
    ),
    Kind(
        name="all-reduce", layout="collectives", precision="dtype", seconds=all_reduce_s,
        about="vLLM's own kernels in a graph, 4 Ki to 64 Mi elements",
        apart=("num_gpus",), along=("message_size",), least={"message_size": 4096},
        most={"message_size": 1 << 26},
        words={"op_name": "all_reduce", "implementation": "vllm_graph"},
    ),
    Kind(
        name="all-reduce (NCCL)", layout="collectives", precision="dtype", seconds=all_reduce_s,
        about="NCCL's, which vLLM takes where its own do not apply, 4 Ki to 64 Mi elements",
        apart=("num_gpus",), along=("message_size",), least={"message_size": 4096},
        most={"message_size": 1 << 26}, words={"op_name": "all_reduce", "table": "nccl_perf"},
    ),
)  # fmt: skip


LAYOUTS = frozenset(kind.layout for kind in KINDS)
"""Of the tables that are scored."""


def operations(folder: str | Path) -> list[dict[str, Any]]:
    """Errors as fractions by kind, device and precision, of every operation table below a folder.

    ``kind``, ``device``, ``precision``, ``n`` (shapes), ``median``, ``p90`` (of sizes of errors),
    ``bias`` (median of signed ones); empty where there is no such table.

    Raises
    ------
    TraceError
        A file of a known layout is wrong.
    """
    rows = []
    for path, layout in find_measured(folder):
        if layout.name in LAYOUTS:
            table = read_measured(path, layout)
            for kind in KINDS:
                if kind.layout == layout.name:
                    rows += list(_scored(kind, table))
    return rows


def _scored(kind: Kind, table: Measured) -> Iterator[dict[str, Any]]:
    all_rows = chosen(kind, table)
    systems, types = table["system"], table[kind.precision]
    for system in dict.fromkeys(systems[all_rows].tolist()):
        device = device_named(system)
        for precision in dict.fromkeys(_FLOATS.values()) if device else ():
            names = [name for name, ours in _FLOATS.items() if ours == precision]
            rows = np.flatnonzero(
                all_rows & (systems == system) & np.isin(types.astype(str), names)
            )
            if rows.size:
                errors = errors_of(kind, table, rows, load_hardware(str(device)), precision)
                yield {
                    "kind": kind.name,
                    "device": device,
                    "precision": precision,
                    "n": int(errors.size),
                    "median": float(np.median(np.abs(errors))),
                    "p90": float(np.percentile(np.abs(errors), 90)),
                    "bias": float(np.median(errors)),
                }


def chosen(kind: Kind, table: Measured) -> Mask:
    """[row] Whether it is in the range that is scored."""
    found: Mask = np.ones(len(table), np.bool_)
    for name, word in kind.words.items():
        found &= table[name] == word
    for name, least in kind.least.items():
        found &= _whole(table[name]) >= least
    for name, most in kind.most.items():
        found &= _whole(table[name]) <= most
    return found


def errors_of(
    kind: Kind, table: Measured, rows: Integers, hardware: Hardware, precision: str
) -> Floats:
    """[shape] Predicted over measured, less one, of the fastest kernel of each shape."""
    names = (*kind.apart, *kind.along)
    shapes = np.stack([_whole(table[name][rows]) for name in names], axis=1)
    measured_s = table.si("latency")[rows]
    order = np.lexsort([measured_s, *shapes.T[::-1]])
    shapes, measured_s = shapes[order], measured_s[order]
    first = np.r_[True, (np.diff(shapes, axis=0) != 0).any(axis=1)]
    shapes, measured_s = shapes[first], measured_s[first]
    predicted_s = np.concatenate(
        [kind.seconds(hardware, precision, part) for part in _parts(shapes, names, len(kind.apart))]
    )
    errors: Floats = predicted_s / measured_s - 1
    return errors


def _whole(column: npt.NDArray[Any]) -> Integers:
    return np.nan_to_num(np.asarray(column, np.float64)).astype(np.int64)


def _parts(shapes: Integers, names: Sequence[str], apart: int) -> Iterator[Columns]:
    """Runs of sorted shapes that are equal in their first columns."""
    starts = np.flatnonzero(np.r_[True, (np.diff(shapes[:, :apart], axis=0) != 0).any(axis=1)])
    for part in np.split(shapes, starts[1:]):
        yield dict(zip(names, part.T, strict=True))
