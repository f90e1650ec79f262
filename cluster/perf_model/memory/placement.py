"""Placement of each class of weights of each layer in SRAM or LPDDR.

Classes: ``attention``, ``mlp`` (dense, shared expert, router), ``experts``, ``embedding``, ``head``
and ``vectors``. Vectors (norms, biases, taps) are operands of the vector units and always in SRAM:
they are few, and every chiplet has whole rows of them.
"""

from dataclasses import dataclass, replace

from cluster.scenario.memory_modes import KvPlace, Mode, Place
from corsair_common.lru import LruCache, Same
from workloads.model import Layer, Model, Tensor
from workloads.plan import Plan, stage_layers

OF_ROLE = {
    "attention": "attention",
    "mlp": "mlp",
    "shared_expert": "mlp",
    "router": "mlp",
    "expert": "experts",
    "embedding": "embedding",
    "head": "head",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pins:
    """The user's placement; None leaves it to the mode."""

    attention: Place | int | None = None
    """A number: in SRAM in that many first layers of each stage."""
    mlp: Place | int | None = None
    experts: Place | int | None = None
    """A number: that many most popular experts of each layer are in SRAM."""
    embedding: Place | None = None
    head: Place | None = None
    kv: KvPlace = "sram"


NO_PINS = Pins()


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """Expected load of a replica, for which ``auto`` places weights."""

    batch: int = 1
    """Sequences that decode at the same time."""
    context: int = 1024
    """Tokens of a sequence, on average over its decoding."""
    prompt_share: float = 1.0
    """Computed prompt tokens per output token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerPlaces:
    """One layer's weights."""

    attention: bool
    """Whether they are in SRAM, else in LPDDR."""
    mlp: bool
    hot_experts: int
    """Number of most popular experts of each rank in SRAM; ALL in a dense layer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StagePlaces:
    """The weights of one stage."""

    layers: tuple[LayerPlaces, ...]
    """In the order of its layers."""
    embedding: bool
    """Whether it is in SRAM, if the stage has it."""
    head: bool

    @property
    def streams(self) -> bool:
        """Whether any matrix of a layer, the table or the head is in LPDDR."""
        whole = all(each == ALL_IN_SRAM for each in self.layers)
        return not (whole and self.embedding and self.head)


ALL = 1 << 30
"""More experts than any rank has."""

ALL_IN_SRAM = LayerPlaces(attention=True, mlp=True, hot_experts=ALL)
ALL_IN_LPDDR = LayerPlaces(attention=False, mlp=False, hot_experts=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Residency:
    """Memory placement of a replica."""

    mode: Mode
    stages: tuple[StagePlaces, ...]
    kv: KvPlace = "sram"

    @property
    def streams(self) -> bool:
        """Whether any matrix of a layer or the head is in LPDDR."""
        return any(stage.streams for stage in self.stages)


def class_of(tensor: Tensor) -> str:
    """The placement class of a tensor."""
    if not tensor.product and tensor.role != "embedding":
        return "vectors"
    return OF_ROLE.get(tensor.role, "mlp")


def layer_hot(tensor: Tensor, places: LayerPlaces) -> int:
    """Number of the equal matrices of a layer's tensor on a card in SRAM; ALL: all."""
    chosen = class_of(tensor)
    if chosen == "vectors":
        return ALL
    if chosen == "experts":
        return places.hot_experts
    return ALL if getattr(places, chosen) else 0


def outer_hot(tensor: Tensor, places: StagePlaces) -> int:
    """The same for a tensor outside layers."""
    chosen = class_of(tensor)
    return ALL if chosen == "vectors" or getattr(places, chosen) else 0


def uniform(mode: Mode, model: Model, plan: Plan, pins: Pins = NO_PINS) -> Residency:
    """One place per class: SRAM in performance mode, else LPDDR, except for pins.

    A tied table is placed by the head's pin, else by that of the embedding.
    """
    key = mode, Same(model), replace(plan, replicas=1), pins
    return _UNIFORM.get(key, lambda: _uniform(mode, model, plan, pins))


def _uniform(mode: Mode, model: Model, plan: Plan, pins: Pins) -> Residency:
    in_sram = mode == "performance"
    head, table = pins.head, pins.embedding
    if model.tied_embeddings:
        head = table = head or table
    stages = tuple(
        StagePlaces(
            layers=tuple(
                LayerPlaces(
                    attention=_pinned(pins.attention, in_sram, index),
                    mlp=_pinned(pins.mlp, in_sram, index),
                    hot_experts=hot_experts(pins.experts, plan, model.layers[layer], in_sram),
                )
                for index, layer in enumerate(layers)
            ),
            embedding=_pinned(table, in_sram, 0),
            head=_pinned(head, in_sram, 0),
        )
        for layers in stage_layers(plan, model)
    )
    return Residency(mode=mode, stages=stages, kv=pins.kv)


_UNIFORM: LruCache[Residency] = LruCache(16)


def experts_per_rank(plan: Plan, layer: Layer) -> int:
    """Experts of each expert rank; 0 in a dense layer."""
    return layer.mlp.experts // plan.expert_parallel_size


def hot_experts(pin: Place | int | None, plan: Plan, layer: Layer, in_sram: bool) -> int:
    """Experts of each rank in SRAM: as pinned, else all or none."""
    each = experts_per_rank(plan, layer)
    wanted = each if pin == "sram" or (pin is None and in_sram) else 0
    if isinstance(pin, int):
        wanted = pin // plan.expert_parallel_size
    return ALL if wanted >= each else wanted


def _pinned(pin: Place | int | None, in_sram: bool, index: int) -> bool:
    if isinstance(pin, int):
        return index < pin
    return pin == "sram" or (pin is None and in_sram)
