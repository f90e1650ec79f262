"""The work of a stage outside its layers by count of tokens: before the first, and before the
head."""

from cluster.perf_model.collectives import Cost, all_gather
from cluster.perf_model.devices.protocol import Device
from cluster.perf_model.devices.work import Operation
from cluster.perf_model.prices.inputs import PriceInputs
from cluster.perf_model.prices.stage_collectives import StageGroups, sharded_halves
from corsair_common.units import Integers


def before_layers(
    inputs: PriceInputs,
    device: Device,
    groups: StageGroups,
    table: tuple[bool, bool],
    tokens: Integers,
    *,
    sharded: bool,
) -> tuple[list[Operation], list[Cost]]:
    """Before the first layer: token embedding, or the gather of received activations. ``table``:
    whether the stage has it, and in the near memory.

    The table is cut by vocabulary: each chiplet writes its own rows (in the worst case all), cast
    to FP16, and an all-reduce merges them. With norms that are ``sharded`` by token they are only
    reduced, and what was received stays where it is: cards send their own tokens.
    """
    hidden = inputs.model.hidden
    whole = device.wire.bytes_of(tokens * hidden)
    first, near = table
    if sharded and not first:
        return [], []
    if sharded:
        look_up = device.holding(near).lookup("embedding", tokens, hidden)
        reduced = device.elsewhere("embedding reduce-scatter", tokens)
        return [look_up, reduced], [sharded_halves(device, groups, hidden, tokens)[1]]
    if not first:
        return [device.elsewhere("receive gather", tokens)], [all_gather(groups.stage, whole)]
    outer = [
        device.holding(near).lookup("embedding", tokens, hidden),
        device.elsewhere("embedding all-reduce", tokens),
    ]
    return outer, [groups.reduce_all(whole)]


def head_gather(
    inputs: PriceInputs, device: Device, groups: StageGroups, tokens: Integers
) -> tuple[Operation, Cost]:
    """The residual stream from the chiplets of its tokens to all.

    Of all tokens, before the rows of the logits are picked; so the price does not depend on how
    many may be emitted.
    """
    gathered = all_gather(groups.stage, device.wire.bytes_of(tokens * inputs.model.hidden))
    return device.elsewhere("head gather", tokens), gathered
