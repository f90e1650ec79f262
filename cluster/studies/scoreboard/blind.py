"""Devices predicted blind: from their data sheet, with every fitted constant of other devices.

The what-if devices have just this: constants of their kernels are the geometric means over the GPUs
that were measured, one set for all number formats. So the errors of measured GPUs predicted in the
same way, without any row of their own, are what to expect of a what-if device.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from topology.catalog import Figure, Hardware, load_hardware

KERNELS = (
    *(f"gpu.{kernel}_{figure}" for kernel in ("gemm", "attention")
      for figure in ("bandwidth_efficiency", "flop_efficiency", "latency_s")),
    *(f"gpu.all_reduce_{figure}" for figure in ("latency_s", "latency_growth",
                                               "bandwidth_efficiency")),
)  # fmt: skip
"""Fitted constants that every GPU has."""
OWN = (
    *(f"gpu.{kernel}_{figure}" for kernel in ("fp8_gemm", "fp8_attention", "expert", "fp8_expert")
      for figure in ("bandwidth_efficiency", "flop_efficiency", "latency_s")),
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
        "h100": {"engine.step_s": 0.845e-3, "engine.sequence_s": 20.7e-6, "engine.request_s": 0.0},
        "rtx-pro-6000": {
            "engine.step_s": 0.892e-3,
            "engine.sequence_s": 26.4e-6,
            "engine.request_s": 0.161e-3,
        },
    }
)
"""Host times of vLLM fitted without the device's rows: on the first 100 requests of the RTX PRO
6000 log alone, and on the three H100 rows alone. Other devices have no part in the shared ones."""


def donors_of(device: str) -> tuple[str, ...]:
    """Measured devices other than this one and those of the same chip.

    >>> donors_of("h100")
    ('a100', 'b200', 'rtx-pro-6000')
    """
    barred = (device, *SAME_CHIP.get(device, ()))
    return tuple(name for name in MEASURED if name not in barred)


def blind_hardware(device: str, donors: Sequence[str], folder: Path) -> Path:
    """Write the hardware file of a device with the donors' constants in place of its own.

    Returns
    -------
    The file's path. A constant is the geometric mean over the donors that were measured for it.
    """
    own = load_hardware(device)
    shared = load_hardware(UNMEASURED)
    others = [load_hardware(name) for name in donors]
    figures: dict[str, Any] = {}
    for name in KERNELS:
        found = [other.figures[name] for other in others if _is_own(other, name, shared)]
        if found:
            value = float(np.exp(np.mean(np.log([figure.value for figure in found]))))
            figures[name] = _entry(own.figures[name], value, f"blind: from {', '.join(donors)}")
    for name, value in ENGINE.get(device, {}).items():
        figures[name] = _entry(own.figures[name], value, "blind: fitted without this device")
    if "gpu.eager_layer_s" in own.figures:
        figures["gpu.eager_layer_s"] = _entry(own.figures["gpu.eager_layer_s"], 0.0, "blind")
    figures |= {name: None for name in OWN if name in own.figures}
    path = folder / f"{device}-from-{'-'.join(donors)}.yaml"
    path.write_text(_yaml({"base": device, "kind": own.kind, "figures": figures}), "utf-8")
    return path


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
