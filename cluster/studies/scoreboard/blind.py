"""Devices predicted blind: from their data sheet, with every fitted constant of other devices.

The what-if devices have just this: constants of their kernels are the geometric means over the GPUs
that were measured, one set for all number formats. So the errors of measured GPUs predicted in the
same way, without any row of their own, are what to expect of a what-if device.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from topology.catalog import Figure, Hardware, load_hardware

KERNELS = (
    *(f"gpu.{kernel}_{figure}" for kernel in ("gemm", "attention")
      for figure in ("bandwidth_efficiency", "flop_efficiency", "latency_s")),
    "gpu.attention_query_bandwidth_efficiency",
    *(f"gpu.all_reduce_{figure}" for figure in ("latency_s", "latency_growth",
                                               "bandwidth_efficiency")),
)  # fmt: skip
"""Fitted constants that every GPU has."""
OWN = (
    *(f"gpu.{kernel}_{figure}" for kernel in ("fp8_gemm", "fp8_attention", "expert", "fp8_expert")
      for figure in ("bandwidth_efficiency", "flop_efficiency", "latency_s")),
    "gpu.fp8_attention_query_bandwidth_efficiency",
    "gpu.switch_all_reduce_latency_s",
)  # fmt: skip
"""Fitted constants that a device only has where it was measured: a blind one has none of them."""
UNMEASURED = "mi300x"
"""A device with none but the shared constants: whose figures equal its own has no own ones."""

SAME_CHIP: Mapping[str, tuple[str, ...]] = MappingProxyType({"h100": ("h200",), "h200": ("h100",)})
"""Devices whose rows would give a device's constants away."""
MEASURED = ("a100", "h100", "h200", "b200", "rtx-pro-6000")
"""Devices with constants of their own."""

ENGINE: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {
        "h100": {
            "engine.step_s": 0.271e-3,
            "engine.sequence_s": 23.3e-6,
            "engine.eager_layer_s": 1.09e-3,
        },
        "b200": {"engine.eager_layer_s": 0.55e-3},
        "rtx-pro-6000": {"engine.step_s": 0.866e-3, "engine.sequence_s": 6.83e-6},
    }
)
"""Constants of vLLM fitted without the device's rows, by ``benchmarks/fit_gpu.py``: H100's on the
first 100 requests of the RTX PRO 6000 log and on the B200 rows, B200's launches on the H100 rows,
the RTX PRO 6000's on the H100 rows. The other shared ones had no part of the device."""
PARTS: Mapping[str, str] = MappingProxyType(
    {
        "products": "gpu.*gemm_*",
        "attention": "gpu.*attention_*",
        "collectives": "gpu.*all_reduce_*",
        "experts": "gpu.*expert_*",
        "engine": "engine.*",
    }
)
"""Fitted constants by the part of a step that they describe, as patterns of names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Blind:
    """A device predicted with constants of others."""

    device: str
    donors: tuple[str, ...]
    keeps: tuple[str, ...] = ()
    """``PARTS`` whose constants are its own."""


def donors_of(device: str) -> tuple[str, ...]:
    """Measured devices other than this one and those of the same chip.

    >>> donors_of("h100")
    ('a100', 'b200', 'rtx-pro-6000')
    """
    barred = (device, *SAME_CHIP.get(device, ()))
    return tuple(name for name in MEASURED if name not in barred)


CONSTANTS: Mapping[str, tuple[Blind, ...]] = MappingProxyType(
    {
        "others": tuple(
            Blind(device=name, donors=donors_of(name)) for name in ("h100", "b200", "rtx-pro-6000")
        ),
        "data-sheet": tuple(
            Blind(device=name, donors=donors_of(name), keeps=("products", "engine"))
            for name in ("h100", "b200")
        ),
        "other-log": (
            Blind(
                device="h100",
                donors=("rtx-pro-6000",),
                keeps=("products", "attention", "collectives", "experts"),
            ),
        ),
    }
)
"""Ways to predict devices with less than their own constants: with none, as the what-if devices
are; with three of products a generation and the engine's; with an engine's of one log of another
device."""


def write_blind(chosen: Sequence[Blind], folder: Path) -> dict[str, str]:
    """Hardware files by the devices that they stand for."""
    return {one.device: str(blind_hardware(one, folder)) for one in chosen}


def blind_hardware(blind: Blind, folder: Path) -> Path:
    """Write the hardware file of a device with the donors' constants in place of its own.

    Returns
    -------
    The file's path in ``folder``. A constant is the geometric mean over the donors that were
    measured for it.
    """
    device, donors = blind.device, blind.donors
    own, others = load_hardware(device), [load_hardware(name) for name in donors]
    kept = [PARTS[part] for part in blind.keeps]

    def taken(names: Iterable[str]) -> list[str]:
        return [name for name in names if not any(fnmatchcase(name, part) for part in kept)]

    values = {name: _mean(others, name) for name in taken(KERNELS)}
    values |= {name: ENGINE[device][name] for name in taken(ENGINE.get(device, ()))}
    figures: dict[str, Any] = {
        name: _entry(own.figures[name], value, f"blind: from {', '.join(donors)}")
        for name, value in values.items()
        if value is not None
    }
    figures |= {name: None for name in taken(OWN) if name in own.figures}
    path = folder / f"{device}-from-{'-'.join(donors)}.yaml"
    path.write_text(_yaml({"base": device, "kind": own.kind, "figures": figures}), "utf-8")
    return path


def _mean(others: Sequence[Hardware], name: str) -> float | None:
    """Geometric, over those that were measured for it; None where there are none."""
    shared = load_hardware(UNMEASURED)
    found = [other[name] for other in others if _is_own(other, name, shared)]
    return float(np.exp(np.mean(np.log(found)))) if found else None


def _is_own(hardware: Hardware, name: str, shared: Hardware) -> bool:
    return asdict(hardware.figures[name]) != asdict(shared.figures[name])


def _entry(figure: Figure, value: float, source: str) -> dict[str, Any]:
    """Of a hardware file, in SI."""
    return {
        "value": value,
        "unit": figure.unit,
        "confidence": "derived",
        "low": value,
        "high": value,
        "source": source,
    }


def _yaml(document: Mapping[str, Any]) -> str:
    import json

    return json.dumps(document, indent=1)  # JSON is YAML, too
