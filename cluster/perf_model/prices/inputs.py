"""Inputs of pricing, and their checks."""

from dataclasses import dataclass
from typing import ClassVar, Literal, TypeAlias

from cluster.perf_model.attention import Heads
from cluster.perf_model.devices import device_of, module_of
from cluster.perf_model.devices.protocol import Device
from cluster.perf_model.memory.placement import Residency, StagePlaces, uniform
from cluster.perf_model.protocols import Figures, RouteTables
from cluster.perf_model.tables import KINDS
from cluster.scenario.formats import Formats
from corsair_common.lru import LruCache, Same
from corsair_common.units import Integers
from workloads.model import Layer, Model, distinct_layers, not_modelled
from workloads.plan import Plan


class PriceError(ValueError):
    """Work that these cards cannot do, or that is not modelled; the message names it."""

    exit_code: ClassVar[int] = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceInputs:
    """A model cut by a plan and placed on cards; checked by ``check_inputs``."""

    hardware: Figures
    routes: RouteTables
    model: Model
    plan: Plan
    formats: Formats
    cards: Integers
    """[replica, stage, position] the card (index into the routes) of every rank."""
    max_tokens: int
    """Most tokens of one step of a slot."""
    max_rows: int
    """Most rows of one step that emit a token."""
    max_context: int
    """Most tokens of a sequence (max_model_len)."""
    residency: Residency | None = None
    """Placement of weights; None: all in SRAM."""
    all_reduce: str = "auto"
    """Algorithm of every all-reduce."""
    chunks: int | Literal["auto"] = "auto"
    """Chunks of every all-reduce; 1 is unpipelined."""
    expert_skew: float = 0.0
    """Zipf exponent of the routing over experts; 0 is uniform."""
    seed: int = 0
    composed_ahead: bool = False
    """Whether host time is hidden by the previous batch (asynchronous scheduling)."""

    @property
    def placed(self) -> Residency:
        """Placement of the weights of each stage."""
        return self.residency or uniform("performance", self.model, self.plan)

    def places(self, stage: int) -> StagePlaces:
        return self.placed.stages[stage]

    def queries_per_kv_head(self, layer: Layer) -> int:
        """Query heads per KV head on one card."""
        attention = layer.attention
        return attention.heads // self.plan.tensor_parallel_size // self.kv_heads(layer)

    def kv_heads(self, layer: Layer) -> int:
        """KV heads on one card; MLA has one latent for all heads."""
        if layer.attention.kind == "mla":
            return 1
        return max(1, layer.attention.kv_heads // self.plan.tensor_parallel_size)

    def heads_of(self, layer: Layer) -> Heads:
        """Heads of a layer on a rank: its KV heads and the query heads of each."""
        attention = layer.attention
        latent = attention.kind == "mla"
        key_dim = attention.kv_lora_rank + attention.rope_dim if latent else attention.head_dim
        return Heads(
            kv_heads=self.kv_heads(layer),
            queries_per_kv_head=self.queries_per_kv_head(layer),
            key_dim=key_dim,
            value_dim=attention.kv_lora_rank if latent else attention.value_dim,
            latent=latent,
        )


def device_for(inputs: PriceInputs) -> Device:
    """A rank of the tensor group, with these formats; equal inputs have one and the same."""
    plan, streams = inputs.plan, inputs.placed.streams
    group = plan.tensor_parallel_size, plan.expert_parallel_size

    def made() -> Device:
        return device_of(
            inputs.hardware, inputs.formats, cards=group[0], expert_ranks=group[1], streams=streams
        )

    return _DEVICES.get((Same(inputs.hardware), inputs.formats, *group, streams), made)


def check_inputs(inputs: PriceInputs) -> None:
    """Refuse by name what is not modelled.

    Raises
    ------
    PriceError
        Results of ``not_modelled``, attention in chunks shorter than the context, more than KINDS
        kinds of layers, an unsupported use of a format.
    """
    module = module_of(inputs.hardware)
    breaches = [*_attention(inputs), *module.format_breaches(inputs.hardware, inputs.formats)]
    if breaches:
        raise PriceError(f"{inputs.model.name} cannot be priced: " + "; ".join(breaches))


def _attention(inputs: PriceInputs) -> list[str]:
    kinds = {layer.attention: layer for layer in distinct_layers(inputs.model)[0]}
    breaches = [f"not modelled: {missing}" for missing in not_modelled(inputs.model)]
    chunk = min((attention.chunk for attention in kinds if attention.chunk), default=0)
    if 0 < chunk < inputs.max_context:
        breaches.append(
            f"attention in chunks of {chunk} tokens is modelled up to that context only,"
            f" got max_model_len {inputs.max_context}"
        )
    regular = all(attention.kind in ("gqa", "mla") for attention in kinds)
    found = layer_kinds(inputs) if regular else ()
    if len(found) > KINDS:
        seen = ", ".join(_described(window, heads) for window, heads in found)
        breaches.append(f"at most {KINDS} kinds of layers are modelled, got {len(found)} ({seen})")
    return breaches


def _described(window: int, heads: Heads) -> str:
    seen = f"window {window}" if window else "no window"
    return f"{seen} with {heads.queries_per_kv_head} query heads on each of {heads.kv_heads}"


LayerKind: TypeAlias = tuple[int, Heads]
"""Window (0: none) and heads of layers that are priced together."""


def layer_kinds(inputs: PriceInputs) -> tuple[LayerKind, ...]:
    """Kinds of layers, full context first, even if all layers have windows."""

    def made() -> tuple[LayerKind, ...]:
        each = [kind_of(inputs, layer) for layer in distinct_layers(inputs.model)[0]]
        first = next((kind for kind in each if kind[0] == 0), (0, each[0][1]))
        return tuple(dict.fromkeys((first, *each)))

    return _KINDS.get((Same(inputs.model), inputs.plan.tensor_parallel_size), made)


_DEVICES: LruCache[Device] = LruCache(256)
_KINDS: LruCache[tuple[LayerKind, ...]] = LruCache(64)


def kind_of(inputs: PriceInputs, layer: Layer) -> LayerKind:
    """The kind of one layer."""
    return layer.attention.window, inputs.heads_of(layer)
