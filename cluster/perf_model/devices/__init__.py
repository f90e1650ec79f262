"""Devices: one module for each kind of accelerator, behind one protocol.

A hardware file's ``kind`` names the module. ``module_of`` returns its facts that are independent of
a model (names, memories, internal links, energy), ``device_of`` a rank with the formats of a run.
"""

from importlib import import_module
from typing import cast

from cluster.perf_model.devices.protocol import Device, DeviceModule
from cluster.perf_model.protocols import Figures
from cluster.scenario.formats import Formats

MODULES = {"dimc_card": "dimc", "gpu": "gpu"}
"""By the kind of a hardware file."""


def module_of(figures: Figures) -> DeviceModule:
    """The module of the device that these figures describe; a DIMC card if they name no kind."""
    kind = getattr(figures, "kind", "dimc_card")
    return cast(DeviceModule, import_module(f"{__name__}.{MODULES[kind]}"))


def device_of(
    figures: Figures, formats: Formats, *, cards: int, expert_ranks: int, streams: bool
) -> Device:
    """A rank of a group of ``cards``; ``streams``: weights come from its far memory."""
    return module_of(figures).device_of(
        figures, formats, cards=cards, expert_ranks=expert_ranks, streams=streams
    )
