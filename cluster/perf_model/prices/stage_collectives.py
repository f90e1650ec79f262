"""The collectives of a stage, by token count; their dispatches are among the operations."""

from collections.abc import Hashable
from dataclasses import dataclass, replace

import numpy as np

from cluster.perf_model.attention import AnyHeads, StateHeads
from cluster.perf_model.collectives import (
    CARD_TIERS,
    Cost,
    Group,
    Tier,
    all_gather,
    all_reduce,
    all_to_all,
    reduce_scatter,
    shared_costs,
)
from cluster.perf_model.devices import module_of
from cluster.perf_model.devices.protocol import Device
from cluster.perf_model.prices.attention_layer import own_tokens
from cluster.perf_model.prices.inputs import PriceInputs
from cluster.perf_model.protocols import Figures
from corsair_common.lru import Same
from corsair_common.units import Integers
from workloads.model import Attention, Layer
from workloads.routing import ExpertTable


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StageGroups:
    """The groups of the cards of one stage, and their reductions."""

    stage: Group
    """All cards of the stage."""
    card: Group
    """The chiplets of one card."""
    expert: Group
    """The cards with slices of the same experts."""
    all_reduce: str
    chunks: int | str
    hardware: Figures

    @property
    def key(self) -> tuple[Hashable, ...]:
        """Of equal cost of all exchanges."""
        groups = Same(self.stage), Same(self.card), Same(self.expert)
        return (*groups, self.all_reduce, self.chunks, Same(self.hardware))

    @property
    def cost_key(self) -> tuple[Hashable, ...]:
        """Of equal cost of all exchanges, on any machine of this hardware."""
        return self.stage.cost_key, self.card.cost_key, self.expert.cost_key

    def reduce_all(self, payload_bytes: Integers) -> Cost:
        """By the device's own curve, if it has one and the scenario sets no algorithm."""
        own = None
        if self.all_reduce == "auto":
            device = module_of(self.hardware)
            own = device.all_reduce(self.hardware, self.stage, payload_bytes)
        return own or all_reduce(self.stage, payload_bytes, self.all_reduce, self.chunks)


def stage_groups_of(inputs: PriceInputs, cards: Integers) -> StageGroups:
    """Groups over the ``cards[position]`` of one stage, or over others of equal cost."""

    costs = shared_costs(inputs.hardware, inputs.routes)
    bits = float(inputs.formats.wire.bits_per_element)

    def group(members: Integers) -> Group:
        return costs.group(members, bits)

    stage, per_expert = group(cards), inputs.plan.cards_per_expert
    return StageGroups(
        stage=stage,
        card=group(cards[:1]),
        expert=stage if per_expert == len(cards) else group(cards[:per_expert]),
        all_reduce=inputs.all_reduce,
        chunks=inputs.chunks,
        hardware=inputs.hardware,
    )


def attention_exchanges(
    device: Device, groups: StageGroups, attention: Attention, heads: AnyHeads, tokens: Integers
) -> list[Cost]:
    """Inside a card: latents, queries to the chiplets that share a context, partial softmaxes.

    Partial outputs (with maximum and sum) are reduced over those chiplets; each gets an equal part
    of the head's output, for its rows of O. States are not divided: none of these.
    """
    costs: list[Cost] = []
    if isinstance(heads, StateHeads):
        return costs
    if attention.kind == "mla":
        latents = attention.q_lora_rank + attention.kv_lora_rank + attention.rope_dim
        costs.append(all_gather(groups.card, device.wire.bytes_of(tokens * latents)))
    parts = heads.parts(device.units)
    if parts > 1:
        group = context_group(groups.card, parts)
        queries = tokens * heads.queries_per_kv_head
        partial = queries * (heads.value_dim + 2)
        costs.append(all_gather(group, device.activations.bytes_of(queries * heads.key_dim)))
        costs.append(reduce_scatter(group, device.wire.bytes_of(partial)))
    return costs


def context_group(card: Group, parts: int) -> Group:
    """Sets of ``parts`` neighbouring chiplets of a card, all active at once."""
    if parts == card.ranks:
        return card
    name = CARD_TIERS[0] if parts <= card.fabric.interior.chiplets else CARD_TIERS[1]
    return replace(card, tiers=(Tier(name=name, members=parts),))


def mlp_exchanges(
    device: Device,
    groups: StageGroups,
    layer: Layer,
    hidden: int,
    tokens: Integers,
    table: ExpertTable | None,
) -> list[Cost]:
    """A reduction after each half of a layer, or their replacement with expert parallelism."""
    mlp, whole = layer.mlp, device.wire.bytes_of(tokens * hidden)
    attends = layer.attention.kind != "none"
    if table is None or device.expert_ranks == 1:
        return [groups.reduce_all(whole)] * (attends + (mlp.kind != "none"))
    scattered = [reduce_scatter(groups.stage, whole)] if attends else []
    parted = _expert_exchanges(device, groups, layer, hidden, tokens, table)
    return [*scattered, *parted, all_gather(groups.stage, whole)]


def _expert_exchanges(
    device: Device,
    groups: StageGroups,
    layer: Layer,
    hidden: int,
    tokens: Integers,
    table: ExpertTable,
) -> list[Cost]:
    """Tokens to the ranks of their experts and back, over the chiplets of an expert, and the shared
    experts' gather and reduction."""
    mlp, width = layer.mlp, layer.mlp.latent or hidden
    copies = min(mlp.experts_per_token, device.expert_ranks)
    crossing = table.crossing(tokens, copies, device.expert_ranks)
    exchanged = device.wire.bytes_of(-(-crossing // device.ranks) * width)
    present = device.wire.bytes_of(np.minimum(tokens, table.rows[tokens]) * width)
    across = all_to_all(groups.stage, exchanged)
    costs = [across, across]
    costs += [all_gather(groups.expert, present), reduce_scatter(groups.expert, present)]
    if mlp.shared_intermediate:
        whole = device.wire.bytes_of(tokens * hidden)
        costs += [all_gather(groups.stage, whole), reduce_scatter(groups.stage, whole)]
    return costs


def sharded_exchanges(
    device: Device,
    groups: StageGroups,
    layer: Layer,
    hidden: int,
    tokens: Integers,
    table: ExpertTable | None,
) -> list[Cost]:
    """The same with norms that are sharded by token: of each half a gather of its quantised input
    and a reduction whose parts stay where they are.

    Every chiplet has as many tokens as the fullest: collectives are of their number times ranks.
    """
    mlp, attends = layer.mlp, layer.attention.kind != "none"
    gathered, scattered = sharded_halves(device, groups, hidden, tokens)
    if table is None or device.expert_ranks == 1:
        return [gathered, scattered] * (attends + (mlp.kind != "none"))
    parted = _expert_exchanges(device, groups, layer, hidden, tokens, table)
    return [*([gathered, scattered] if attends else []), *parted]


def sharded_halves(
    device: Device, groups: StageGroups, hidden: int, tokens: Integers
) -> tuple[Cost, Cost]:
    """A gather of activations and a reduce-scatter, of whole tokens on every chiplet."""
    elements = own_tokens(device, tokens) * device.ranks * hidden
    return (
        all_gather(groups.stage, device.activations.bytes_of(elements)),
        reduce_scatter(groups.stage, device.wire.bytes_of(elements)),
    )


def total(costs: list[tuple[Cost, int]], rows: int, tiers: int) -> tuple[Integers, Integers]:
    """ps[rows, tier] and tier_bytes[rows, tier] of exchanges with their multiplicities."""
    ps = np.zeros((rows, tiers), np.int64)
    tier_bytes = np.zeros((rows, tiers), np.int64)
    for cost, times in costs:
        ps += cost.tier_ps * times
        tier_bytes += cost.tier_bytes * times
    return ps, tier_bytes
