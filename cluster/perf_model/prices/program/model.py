"""Rows of the current model, priced as in the price tables."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from cluster.perf_model.attention import BLOCK_TOKENS, WIDTH, Heads, layer_products
from cluster.perf_model.collectives import Cost
from cluster.perf_model.devices import module_of
from cluster.perf_model.devices.protocol import Device, DeviceModule
from cluster.perf_model.devices.work import Operation
from cluster.perf_model.memory.placement import LayerPlaces
from cluster.perf_model.prices.inputs import LayerKind, PriceInputs, kinds_in
from cluster.perf_model.prices.program.distinct import Request
from cluster.perf_model.prices.program.resident import layer_places
from cluster.perf_model.prices.stage_collectives import stage_groups_of
from cluster.perf_model.prices.stage_parts import (
    head_operations,
    layer_exchanges,
    layer_operations,
)
from cluster.perf_model.prices.tables import pass_clocks
from cluster.perf_model.tables import (
    DECODE_BLOCKS,
    PREFILL_BLOCKS,
    PREFILL_PAIRS,
    PREFILL_PASSES,
    Records,
)
from corsair_common.units import Integers
from workloads.plan import stage_layers
from workloads.program import Batch, ProgramInputs
from workloads.program.attention_rows import attention_rows
from workloads.program.mlp_rows import mlp_rows
from workloads.program.rows import Row
from workloads.program.schema import VARYING
from workloads.program.stage_rows import STREAM_NAME, end_rows, head_rows, outer_rows

FUSED = ("V tail",)
"""Rows without a dispatch of their own: they belong to the dispatch before."""

ENDS = {
    "residual": ("all-reduce+residual", "all-gather+residual"),
    "sharded residual": ("reduce-scatter+residual",),
}
"""The same of the additions that end a layer, if it has such a dispatch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkPrice:
    """Price of a card's own work."""

    ps: int
    """Without its dispatch."""
    bound: int
    dispatches: int = 1


def _names_of(module: DeviceModule, kind: LayerKind) -> tuple[str, ...]:
    """Names of the records of a kind, in order."""
    if not isinstance(kind.heads, Heads):
        return module.STATE_PRODUCTS
    return module.INDEX_PRODUCTS if kind.heads.picks else module.PRODUCTS


def _pair_flop(heads: Heads) -> int:
    """Of a query token and a key of a fused kernel, all heads of a rank."""
    queries = heads.kv_heads * heads.queries_per_kv_head
    return 2 * queries * (heads.key_dim + heads.value_dim)


@dataclass(slots=True)
class ModelRows:
    """Looks up rows of this model.

    Results are cached: rows of one layer and token count are computed together.
    """

    inputs: PriceInputs
    program_inputs: ProgramInputs
    device: Device
    _rows: dict[tuple[int, int], dict[str, Row]] = field(default_factory=dict)
    _operations: dict[tuple[int, int], dict[str, Operation]] = field(default_factory=dict)
    _attention: dict[LayerKind, Records] = field(default_factory=dict)
    _places: tuple[LayerPlaces, ...] = ()
    _head_device: Device = field(init=False)

    def __post_init__(self) -> None:
        self._places = layer_places(self.inputs)
        self._head_device = self.device.holding(self.inputs.placed.stages[-1].head)

    @property
    def _module(self) -> DeviceModule:
        return module_of(self.inputs.hardware)

    def _bound(self, name: str | None) -> int:
        return self._module.BOUNDS.index(name or "")

    def price(self, request: Request) -> WorkPrice | None:
        """The work of a row, or None if the model has no such row."""
        if request.name == "host" and request.kind == "vector":
            host_ps = int(self.device.host_ps(np.array([request.m]))[0])
            return WorkPrice(ps=host_ps, bound=self._bound(self._module.HOST_BOUND), dispatches=0)
        if request.name == STREAM_NAME and request.kind == "load":
            return WorkPrice(
                ps=self._floor_ps(request), bound=self._bound(self._module.FAR_BOUND), dispatches=0
            )
        if not self._is_model_row(request):
            return None
        if self.over_cache(request):
            values = {name: np.array([getattr(request, name)]) for name in VARYING}
            ps, bound = (int(part[0]) for part in self._over_cache(request, values))
            return WorkPrice(ps=ps, bound=bound)
        return self._looked_up(request)

    def cache_ps(self, request: Request, values: Mapping[str, Integers]) -> Integers:
        """[...] a product over the cache, for these values of the columns, no dispatch."""
        ps, _ = self._over_cache(request, values)
        return ps.reshape(values["n"].shape)

    def over_cache(self, request: Request) -> bool:
        """Whether a row is a product over the KV cache, or over states."""
        return self._cached(request) is not None

    def _is_model_row(self, request: Request) -> bool:
        if not -1 <= request.layer < len(self.inputs.model.layers):
            return False
        if not 0 < request.tokens <= self.inputs.max_tokens:
            return False
        row = self._expected(request).get(request.name)
        if row is None or (row.kind, row.k, row.count) != (request.kind, request.k, request.count):
            return False
        return self.over_cache(request) or (row.m, row.n) == (request.m, request.n)

    def _expected(self, request: Request) -> dict[str, Row]:
        key = (request.layer, request.tokens)
        if key not in self._rows:
            self._rows[key] = {row.name: row for row in self._written(*key)}
        return self._rows[key]

    def _written(self, number: int, tokens: int) -> Iterable[Row]:
        """Rows of the generator for a layer, or outside layers."""
        if number < 0:
            outside = outer_rows(self.program_inputs, 0, tokens)
            return [*outside, *head_rows(self.program_inputs, tokens)]
        layer = self.inputs.model.layers[number]
        batch = Batch(chunk_tokens=tokens, chunk_contexts=(tokens,))
        own = self.program_inputs
        return [
            *(
                row
                for sharded in self._norms
                for row in (
                    *attention_rows(own, layer.attention, batch, sharded=sharded),
                    *mlp_rows(own, layer, tokens, sharded=sharded),
                )
            ),
            *(end_rows(own, tokens) if layer.mlp.kind != "none" else ()),
        ]

    @property
    def _norms(self) -> tuple[bool, ...]:
        """Replicated, and sharded by token if a stage may have them so; rows differ by name."""
        return (False,) if self.program_inputs.sharded is None else (False, True)

    def _looked_up(self, request: Request) -> WorkPrice | None:
        operations = self._priced(request.layer, request.tokens)
        name, fused = request.name, request.name in FUSED
        if name in ENDS:  # the additions of the dispatch that ends the layer
            ends = [known for known in operations if known in ENDS[name]]
            name, fused = (ends[0], True) if ends else (name, False)
        found = operations.get(name)
        if found is None:
            return None
        ps, bound = int(found.ps[0]), int(found.bound[0])
        if name == "LM head" and self._head_device.memory == "prefetched":
            extra = max(0, int(found.far_ps[0]) - ps)
            ps, bound = ps + extra, self._bound(self._module.FAR_BOUND) if extra else bound
        return WorkPrice(ps=ps, bound=bound, dispatches=int(not fused))

    def _priced(self, number: int, tokens: int) -> dict[str, Operation]:
        key = (number, tokens)
        if key not in self._operations:
            rows = np.array([tokens], np.int64)
            if number < 0:
                table = self.device.holding(self.inputs.placed.stages[0].embedding)
                outside = table.lookup("embedding", rows, self.inputs.model.hidden)
                found = [outside, *head_operations(self.inputs, self._head_device, rows)]
            else:
                layer, places = self.inputs.model.layers[number], self._places[number]
                exchanges = self._exchanges(number, rows)
                found = [
                    operation
                    for sharded in self._norms
                    for operation in layer_operations(
                        self.inputs, self.device, layer, places, rows, exchanges, sharded=sharded
                    )
                ]
            self._operations[key] = {operation.name: operation for operation in found}
        return self._operations[key]

    def _exchanges(self, number: int, rows: Integers) -> list[Cost]:
        """Collectives of a layer, where what the software adds to it depends on them."""
        if self.device.layer_end_above is None:
            return []
        inputs = self.inputs
        stage = next(
            at for at, held in enumerate(stage_layers(inputs.plan, inputs.model)) if number in held
        )
        groups = stage_groups_of(inputs, inputs.cards[0, stage])
        return layer_exchanges(inputs, self.device, groups, inputs.model.layers[number], rows)

    def _over_cache(
        self, request: Request, values: Mapping[str, Integers]
    ) -> tuple[Integers, Integers]:
        """[...] picoseconds, no dispatch, and bound of a product over the KV cache.

        What the device does with the same operation by count of tokens belongs to it.
        """
        found = self._cached(request)
        assert found is not None, request.name
        kind, which = found
        per_query, per_pass = pass_clocks(self.device, kind)
        passes = -(-request.m * per_query // per_pass)
        decode, n = (values["context_tokens"] - values["n"]).ravel(), values["n"].ravel()
        measures = np.zeros((n.size, WIDTH), np.int64)
        measures[:, DECODE_BLOCKS] = -(-decode // BLOCK_TOKENS)
        measures[:, PREFILL_BLOCKS] = blocks = -(-n // BLOCK_TOKENS)
        measures[:, PREFILL_PASSES] = blocks * passes
        measures[:, PREFILL_PAIRS] = blocks * request.m
        if isinstance(kind.heads, Heads):
            pairs = values["flop"].ravel() // _pair_flop(kind.heads) - decode
            measures[:, PREFILL_PAIRS] = pairs
        records = self._records(kind)
        ps, bounds = layer_products(records, measures)
        beside = self._priced(request.layer, request.tokens).get(request.name)
        more_ps = 0 if beside is None else int(beside.ps[0])
        return np.where(records["layers"][which] > 0, ps[:, which], 0) + more_ps, bounds[:, which]

    def _cached(self, request: Request) -> tuple[LayerKind, int] | None:
        """The kind whose records price a row, and the position of its record; None: no such."""
        if not 0 <= request.layer < len(self.inputs.model.layers):
            return None
        for kind in kinds_in(self.inputs, self.inputs.model.layers[request.layer]):
            names = _names_of(self._module, kind)
            if request.name in names:
                return kind, names.index(request.name)
        return None

    def _records(self, kind: LayerKind) -> Records:
        if kind not in self._attention:
            self._attention[kind] = self.device.attention_records(kind.heads, 1, 0)
        return self._attention[kind]

    def _floor_ps(self, request: Request) -> int:
        """Lower bound of the stage's time: the stream of its layers' weights from LPDDR."""
        if self.device.memory != "prefetched" or not 0 < request.tokens <= self.inputs.max_tokens:
            return 0
        plan = self.inputs.plan
        stage = request.rank // plan.tensor_parallel_size % plan.pipeline_parallel_size
        kinds = [*zip(self.inputs.model.layers, self._places, strict=True)]
        total = 0
        for number in stage_layers(plan, self.inputs.model)[stage]:
            same = kinds.index(kinds[number])
            operations = self._priced(same, request.tokens).values()
            total += sum(int(operation.far_ps[0]) for operation in operations)
        return total
