"""Our names of a row's device and model, and a machine of as many cards as its plan has."""

from functools import cache
from pathlib import Path
from typing import Any

from cluster.studies.scoreboard.names import device_of, model_of, nearest
from topology.catalog import list_hardware, load_hardware
from workloads.model import list_models


def named(system: str, path: str, models: Path | None) -> tuple[str, str, str]:
    """Our names of a device and a model, and why there is none."""
    gpus = _gpus()
    device = device_of(system, gpus) or ""
    model = model_of(path, list_models(), models) or ""
    refused = ""
    if not device:
        refused = f"no hardware file for {system!r}{nearest(system, gpus)}"
    elif not model:
        refused = f"no bundled model is {path!r}{nearest(path, list_models())}"
    return device, model, refused


def device_named(system: str) -> str | None:
    """Our name of a device, None where there is no hardware file for it."""
    return device_of(system, _gpus())


@cache
def _gpus() -> tuple[str, ...]:
    return tuple(name for name in list_hardware() if load_hardware(name).kind == "gpu")


def machine(device: str, model: str, ranks: int, stages: int, experts: int) -> dict[str, Any]:
    """As many servers as the plan's cards fill."""
    cards, most = ranks * stages, load_hardware(device).count("server.cards")
    return {
        "hardware": device,
        "cluster": {"servers_per_rack": -(-cards // most), "cards_per_server": min(cards, most)},
        "model": model,
        "plan": {
            "tensor_parallel_size": ranks,
            "pipeline_parallel_size": stages,
            "expert_parallel_size": experts,
            "replicas": 1,
        },
    }
