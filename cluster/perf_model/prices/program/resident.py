"""LPDDR bytes of a program's products."""

from collections.abc import Callable
from functools import cache

from cluster.perf_model.devices.protocol import Device
from cluster.perf_model.memory.placement import OF_ROLE, LayerPlaces
from cluster.perf_model.prices.inputs import PriceInputs
from cluster.perf_model.prices.mlp_layer import routed
from workloads.plan import stage_layers
from workloads.program.rows import Row


def layer_places(inputs: PriceInputs) -> tuple[LayerPlaces, ...]:
    """[layer] placement of its weights."""
    return tuple(
        inputs.places(stage).layers[index]
        for stage, layers in enumerate(stage_layers(inputs.plan, inputs.model))
        for index in range(len(layers))
    )


def loads_of(inputs: PriceInputs, device: Device) -> Callable[[Row, int], int]:
    """Bytes that a product of a layer loads from LPDDR; for experts, those of cold ones."""
    places = layer_places(inputs)

    @cache
    def experts(layer: int, tokens: int) -> tuple[int, int]:
        found = routed(inputs, device, inputs.model.layers[layer].mlp, places[layer])
        return (
            (0, 1) if found is None else (int(found.cold[tokens]), int(found.table.active[tokens]))
        )

    def loads(row: Row, layer: int) -> int:
        where, chosen = places[layer], OF_ROLE.get(row.weight_class, "mlp")
        if chosen == "experts":
            cold, active = experts(layer, row.tokens)
            return row.read_bytes * cold // max(1, active)
        return 0 if getattr(where, chosen) else row.read_bytes

    return loads
