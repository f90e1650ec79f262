"""Devices: one module for each kind of accelerator, behind one protocol.

A hardware file's ``kind`` names the module. ``module_of`` returns its facts that are independent of
a model (names, memories, internal links, energy), ``device_of`` a rank with the formats of a run.
"""

from importlib import import_module
from typing import cast

from cluster.perf_model.devices.protocol import Device, DeviceModule
from cluster.perf_model.protocols import Figures
from cluster.scenario.formats import Formats
from results.devices import Device as DeviceWords
from results.devices import of_kinds
from topology.catalog import load_hardware
from topology.catalog.kinds import DEFAULT_KIND, REFERENCES

MODULES = {"dimc_card": "dimc", "gpu": "gpu"}
"""By the kind of a hardware file."""


def module_of(figures: Figures) -> DeviceModule:
    """The module of the device that these figures describe; a DIMC card where they name no kind."""
    kind = getattr(figures, "kind", DEFAULT_KIND)
    return cast(DeviceModule, import_module(f"{__name__}.{MODULES[kind]}"))


def device_words(figures: Figures) -> DeviceWords:
    """How outputs name the device's units, memories and bounds."""
    return of_kinds((getattr(figures, "kind", DEFAULT_KIND),))


def weight_formats(figures: Figures) -> tuple[str, ...]:
    """Formats of weights that a hardware file names, its default first; of figures alone, those of
    the DIMC card."""
    formats = (
        getattr(figures, "formats", None) or load_hardware(REFERENCES[DEFAULT_KIND][0]).formats
    )
    return tuple(formats["weights"])


def device_of(
    figures: Figures, formats: Formats, *, cards: int, expert_ranks: int, streams: bool
) -> Device:
    """A rank of a group of ``cards``; ``streams``: weights come from its far memory."""
    return module_of(figures).device_of(
        figures, formats, cards=cards, expert_ranks=expert_ranks, streams=streams
    )
