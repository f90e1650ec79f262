"""Kinds of device in words: what can set the time of each, where its energy goes, its memories.

Every label, colour, meaning and piece of advice that a table, a figure or a report shows of a bound
or a part of energy stands here once. Which bounds and parts there are, and in which order, is what
a run or a file says; here they are only looked up.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """What can set the time of a device."""

    name: str
    meaning: str
    """In a column's meaning, after "time bound by"."""
    label: str
    """In a sentence: most of the busy time goes into ..."""
    colour: str
    advice: str
    """What helps where most of the time is bound so."""
    figures: tuple[str, ...] = ()
    """How the names of the catalogue figures begin that such time rests on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Where energy of a device goes."""

    name: str
    meaning: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """One kind of device."""

    kind: str
    """Of its files in the hardware catalogue."""
    bounds: tuple[Bound, ...]
    parts: tuple[Part, ...]
    memories: tuple[str, ...]
    """The near memory, and the far one where KV can be kept in one."""
    unit: str
    """What weights and KV lie on: a chiplet, a GPU."""
    room_for_kv: str
    """What makes more room for KV."""
    calibrated: bool = False
    """Whether its model has a constant fitted to published points, whose range a report checks."""

    def memory_label(self, position: int) -> str:
        """Of the near memory (0) or the far one (1), as a sentence names it."""
        return self.memories[position].upper()

    @property
    def bound_names(self) -> tuple[str, ...]:
        return tuple(bound.name for bound in self.bounds)

    @property
    def part_names(self) -> tuple[str, ...]:
        return tuple(part.name for part in self.parts)


BLUE, GREEN, SKY = "#0072b2", "#009e73", "#56b4e9"
ORANGE, RED, PINK, GREY = "#e69f00", "#d55e00", "#cc79a7", "#999999"
"""Colours of Okabe and Ito and a grey; what is alike on two kinds of device has the same one."""
_NETWORK_FIGURES = ("links.", "server.", "rack.", "card.pcie")
_KERNELS = ("gemm", "fp8_gemm", "attention", "fp8_attention", "expert", "fp8_expert")
"""Of a GPU, each with constants of its own."""

DIMC = Device(
    kind="dimc_card",
    bounds=(
        Bound(
            name="stream",
            meaning="streaming weights or KV from SRAM into the DIMC arrays",
            label="streaming weights and KV from SRAM",
            colour=BLUE,
            advice="more cards per tensor group, narrower weights (mxint4), or larger batches, "
            "which use each streamed weight more often",
            figures=("dimc.stream", "dimc.fill", "card.clock"),
        ),
        Bound(
            name="mac",
            meaning="multiply-accumulate in the DIMC arrays",
            label="multiply-accumulate",
            colour=GREEN,
            advice="narrower formats or more cards: the rare case in which the arrays are the "
            "limit",
            figures=("dimc.clocks", "dimc.fill", "card.clock", "chiplet.noc"),
        ),
        Bound(
            name="simd",
            meaning="vector work",
            label="vector work",
            colour=SKY,
            advice="more cards per tensor group share softmax and activations; norms are "
            "replicated",
            figures=("simd.", "card.clock"),
        ),
        Bound(
            name="lpddr",
            meaning="LPDDR",
            label="LPDDR",
            colour=ORANGE,
            advice="keep more in SRAM (memory.mode performance or auto, more cards), or narrower "
            "weights",
            figures=("chiplet.lpddr", "chiplet.prefetch"),
        ),
        Bound(
            name="network",
            meaning="the network: collectives that the card takes part in",
            label="collectives",
            colour=RED,
            advice="smaller or tighter tensor groups (the four cards under one PCIe switch), a "
            "narrower wire format, or larger batches, which spread a collective's latency over "
            "more tokens",
            figures=(*_NETWORK_FIGURES, "pair.", "package.", "card.package"),
        ),
        Bound(
            name="dispatch",
            meaning="dispatching operations",
            label="dispatching operations",
            colour=PINK,
            advice="larger batches, or plans with fewer operations in a row: each operation pays "
            "to be dispatched, however little it does",
            figures=("card.dispatch",),
        ),
    ),
    parts=(
        Part(name="mac", meaning="multiply-accumulate in the DIMC arrays"),
        Part(name="sram", meaning="reading and writing SRAM"),
        Part(name="lpddr", meaning="LPDDR"),
        Part(name="noc", meaning="the network on each chiplet"),
        Part(name="simd", meaning="vector work"),
        Part(name="d2d", meaning="links between chiplets of a package"),
        Part(name="pcie", meaning="PCIe: package links, switches and NICs' ports"),
        Part(name="bridge", meaning="bridges between two cards"),
        Part(name="ethernet", meaning="Ethernet switches, per bit"),
        Part(name="static", meaning="static power: leakage, clocks, controllers, also while idle"),
    ),
    memories=("sram", "lpddr"),
    unit="chiplet",
    room_for_kv="more cards per replica or replicas, narrower weights or KV, or KV that may spill "
    "to LPDDR",
    calibrated=True,
)

GPU = Device(
    kind="gpu",
    bounds=(
        Bound(
            name="memory",
            meaning="HBM: reading weights or KV",
            label="reading weights and KV from HBM",
            colour=BLUE,
            advice="larger batches, which use each weight that is read more often, narrower "
            "weights or KV, or more GPUs per tensor group",
            figures=("gpu.memory_bandwidth", *(f"gpu.{each}_bandwidth" for each in _KERNELS)),
        ),
        Bound(
            name="tensor",
            meaning="the tensor cores",
            label="products on the tensor cores",
            colour=GREEN,
            advice="narrower formats (FP8, FP4) or more GPUs: the tensor cores are the limit",
            figures=(
                *(f"gpu.{each}_flop" for each in _KERNELS),
                *(f"gpu.{each}_flop" for each in ("bf16", "fp8", "nvfp4", "mxfp4")),
            ),
        ),
        Bound(
            name="vector",
            meaning="element-wise kernels",
            label="element-wise kernels",
            colour=SKY,
            advice="fused kernels, or more GPUs per tensor group, which share activations; norms "
            "are replicated",
            figures=("gpu.vector_bandwidth", "gpu.memory_bandwidth"),
        ),
        Bound(
            name="network",
            meaning="the network: collectives that the GPU takes part in",
            label="collectives",
            colour=RED,
            advice="tensor groups inside one scale-up domain (NVLink), smaller ones, or larger "
            "batches, which spread a collective's latency over more tokens",
            figures=(
                "gpu.all_reduce",
                "gpu.switch_all_reduce",
                "nvswitch.",
                "mesh.",
                *_NETWORK_FIGURES,
            ),
        ),
        Bound(
            name="launch",
            meaning="launching kernels",
            label="launching kernels",
            colour=PINK,
            advice="larger batches, or plans with fewer kernels in a row: each kernel pays to be "
            "launched, however little it does",
            figures=(
                *(f"gpu.{each}_latency" for each in _KERNELS),
                *("engine.eager_layer", "engine.layer", "engine.captured_tokens"),
            ),
        ),
        Bound(
            name="host",
            meaning="the host: scheduling a step and preparing its inputs",
            label="the host between steps",
            colour=ORANGE,
            advice="asynchronous scheduling, or larger batches, which spread the host's time over "
            "more tokens",
            figures=("engine.step", "engine.sequence", "host."),
        ),
    ),
    parts=(
        Part(name="tensor", meaning="products on the tensor cores"),
        Part(name="memory", meaning="reading and writing HBM"),
        Part(name="scale_up", meaning="links between the GPUs of a scale-up domain"),
        Part(name="pcie", meaning="PCIe links and switches, and NICs' ports"),
        Part(name="ethernet", meaning="network switches, per bit"),
        Part(name="static", meaning="static power: what a GPU draws at rest, also while idle"),
    ),
    memories=("hbm",),
    unit="GPU",
    room_for_kv="more GPUs per replica or replicas, or narrower weights or KV",
)

DEVICES = (DIMC, GPU)


@cache
def described(
    bounds: tuple[str, ...],
    parts: tuple[str, ...] | None = None,
    memories: tuple[str, ...] | None = None,
) -> Device:
    """The device with just these bounds and parts of energy, in this order; None: all of its kind.

    The words are those of the first kind of device that has all of the names; of a mixture each is
    looked up by itself, and a name that no kind has stands for itself.

    Examples
    --------
    >>> [bound.label for bound in described(("memory", "network")).bounds]
    ['reading weights and KV from HBM', 'collectives']
    >>> described(("network",)).kind, described(("network", "host")).kind
    ('dimc_card', 'gpu')
    """
    kind = next(
        (
            device
            for device in DEVICES
            if {*bounds} <= {*device.bound_names} and {*(parts or ())} <= {*device.part_names}
        ),
        MIXED,
    )
    known_bounds = {bound.name: bound for bound in kind.bounds}
    known_parts = {part.name: part for part in kind.parts}
    return replace(
        kind,
        bounds=tuple(known_bounds.get(name) or _bound_of_its_name(name) for name in bounds),
        parts=kind.parts
        if parts is None
        else tuple(
            known_parts.get(name) or Part(name=name, meaning=f"the part {name}") for name in parts
        ),
        memories=kind.memories if memories is None else memories,
    )


def of_kinds(kinds: Iterable[str]) -> Device:
    """The device that has all that these kinds have; of no kind, a DIMC card."""
    known = {device.kind: device for device in DEVICES}
    chosen = [known[kind] for kind in kinds] or [DIMC]
    return described(
        tuple(dict.fromkeys(name for device in chosen for name in device.bound_names)),
        tuple(dict.fromkeys(name for device in chosen for name in device.part_names)),
    )


def _mixed() -> Device:
    """All that any kind has; where several have a name, as the first of them says."""
    bounds: dict[str, Bound] = {}
    parts: dict[str, Part] = {}
    for device in reversed(DEVICES):
        bounds |= {bound.name: bound for bound in device.bounds}
        parts |= {part.name: part for part in device.parts}
    return Device(
        kind="mixed",
        bounds=tuple(bounds.values()),
        parts=tuple(parts.values()),
        memories=DIMC.memories,
        unit="card",
        room_for_kv="more cards per replica or replicas, or narrower weights or KV",
    )


def _bound_of_its_name(name: str) -> Bound:
    return Bound(
        name=name,
        meaning=name,
        label=name,
        colour=GREY,
        advice=f"nothing is known of what shortens {name}",
    )


MIXED = _mixed()
"""Of runs on several kinds of device, and of bounds that no kind has."""
