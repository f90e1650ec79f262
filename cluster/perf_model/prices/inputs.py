"""Inputs of pricing, and their checks."""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from cluster.perf_model.attention import AnyHeads, Heads, StateHeads
from cluster.perf_model.devices import device_of, module_of
from cluster.perf_model.devices.protocol import Device
from cluster.perf_model.memory.placement import Residency, StagePlaces, uniform
from cluster.perf_model.protocols import Figures, RouteTables
from cluster.perf_model.tables import KINDS
from cluster.scenario.formats import Formats
from corsair_common.lru import LruCache, Same
from corsair_common.names import STATE
from corsair_common.units import Integers
from workloads.model import Attention, Layer, Model, distinct_layers, not_modelled
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
    norms: str = "auto"
    """Where norms, residual adds and quantising are done (``collectives.norms``)."""
    overlap: str = "none"
    """Whether collectives run beside products (``collectives.overlap``)."""
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

    def heads_of(self, layer: Layer) -> AnyHeads:
        """Heads of a layer on a rank: its KV heads and the query heads of each, or its states."""
        attention, cards = layer.attention, self.plan.tensor_parallel_size
        if attention.held == STATE:
            return StateHeads(
                attention=attention,
                heads=attention.heads // cards,
                groups=attention.kv_heads // cards,
            )
        latent = attention.kind == "mla"
        key_dim = attention.kv_lora_rank + attention.rope_dim if latent else attention.head_dim
        return Heads(
            kv_heads=self.kv_heads(layer),
            queries_per_kv_head=self.queries_per_kv_head(layer),
            key_dim=key_dim,
            value_dim=attention.kv_lora_rank if latent else attention.value_dim,
            latent=latent,
            picked=attention.index_tokens,
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
    breaches = [
        *_attention(inputs),
        *_compiled(inputs),
        *module.format_breaches(inputs.hardware, inputs.formats),
    ]
    if breaches:
        raise PriceError(f"{inputs.model.name} cannot be priced: " + "; ".join(breaches))


def _compiled(inputs: PriceInputs) -> list[str]:
    """Schedules of a compiler, of a device that has none."""
    if device_for(inputs).compiled:
        return []
    wanted = {
        "norms: sharded": (inputs.norms == "sharded", "auto or replicated"),
        "overlap: chunked": (inputs.overlap == "chunked", "none"),
    }
    return [
        f"collectives.{name} is modelled for cards of chiplets, not for GPUs: set {other}"
        for name, (found, other) in wanted.items()
        if found
    ]


def _attention(inputs: PriceInputs) -> list[str]:
    layers = distinct_layers(inputs.model)[0]
    missing = not_modelled(inputs.model)
    breaches = [f"not modelled: {structure}" for structure in missing]
    chunk = min((layer.attention.chunk for layer in layers if layer.attention.chunk), default=0)
    if 0 < chunk < inputs.max_context:
        breaches.append(
            f"attention in chunks of {chunk} tokens is modelled up to that context only,"
            f" got max_model_len {inputs.max_context}"
        )
    found = () if missing else layer_kinds(inputs)
    if len(found) > KINDS:
        seen = ", ".join(_described(kind) for kind in found)
        breaches.append(f"at most {KINDS} kinds of layers are modelled, got {len(found)} ({seen})")
    return breaches


def _described(kind: "LayerKind") -> str:
    heads = kind.heads
    if isinstance(heads, StateHeads):
        return f"states of {heads.heads} heads"
    seen = f"window {kind.window}" if kind.window else "no window"
    seen = f"{kind.picked} picked tokens" if kind.picked else seen
    return f"{seen} with {heads.queries_per_kv_head} query heads on each of {heads.kv_heads}"


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerKind:
    """Layers, or parts of layers, that are priced together by the same sums of a step."""

    window: int
    """0: none; STATE: a state of fixed size."""
    heads: AnyHeads

    @property
    def picked(self) -> int:
        """Most tokens that a query reads of those before it; 0: all."""
        return 0 if isinstance(self.heads, StateHeads) else self.heads.picked


def layer_kinds(inputs: PriceInputs) -> tuple[LayerKind, ...]:
    """Kinds of layers, full context first, even if the model has no such layer."""
    return _KINDS.get(
        (Same(inputs.model), inputs.plan.tensor_parallel_size), lambda: _layer_kinds(inputs)
    )


_DEVICES: LruCache[Device] = LruCache(256)
_KINDS: LruCache[tuple[LayerKind, ...]] = LruCache(64)


def _layer_kinds(inputs: PriceInputs) -> tuple[LayerKind, ...]:
    layers = distinct_layers(inputs.model)[0]
    each = [kind for layer in layers for kind in kinds_in(inputs, layer)]
    if not each:
        raise PriceError(f"{inputs.model.name} has no layer with attention or a state")
    first = next((kind for kind in each if kind.window == kind.picked == 0), None)
    heads = (
        each[0].heads if isinstance(each[0].heads, StateHeads) else replace(each[0].heads, picked=0)
    )
    return tuple(dict.fromkeys((first or LayerKind(window=0, heads=heads), *each)))


def kinds_in(inputs: PriceInputs, layer: Layer) -> tuple[LayerKind, ...]:
    """The kinds of one layer: its attention or state, and its indexer over the whole context."""
    attention = layer.attention
    if attention.kind == "none":
        return ()
    own = LayerKind(window=attention.held, heads=inputs.heads_of(layer))
    if not attention.index_heads:
        return (own,)
    return own, LayerKind(window=0, heads=index_heads(attention))


def index_heads(attention: Attention) -> Heads:
    """The indexer's heads, all on every rank, over one key per token."""
    return Heads(
        kv_heads=1,
        queries_per_kv_head=attention.index_heads,
        key_dim=attention.index_dim,
        value_dim=0,
        picks=attention.index_tokens,
    )
