"""The format in which KV crosses between the pools, and its conversion to the decode pool's.

KV crosses in 64-token blocks of one pool's format, V's partial block as that pool keeps it. The
cards of the other pool convert it: before it is sent, or when all of it has arrived. Conversion
delays the request; the share of the cards that it takes from other steps is not counted, its energy
is.
"""

from dataclasses import dataclass, replace

import numpy as np

from cluster.perf_model.devices import module_of
from cluster.perf_model.kv_transfer_map import KvShares, kv_shares
from cluster.perf_model.memory.stage import chiplets_of
from cluster.perf_model.protocols import Figures
from cluster.scenario.resolve import Resolved
from cluster.scenario.schema import Transfer
from corsair_common.names import STATE
from corsair_common.units import PS_PER_S, Floats, Integers
from topology.route import Routes
from workloads.formats import Format, get_format

ELEMENTS = "fp8_e4m3"
"""A format of one byte an element, to count elements with."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class KvConversion:
    """KV read in one format and written in another."""

    on: int
    """Position in POOLS of the pool whose cards convert."""
    figures: Figures
    """Of those cards."""
    elements: KvShares
    """[pair] elements in place of bytes."""
    moved: tuple[KvShares, KvShares]
    """Bytes that are read, and written."""
    layers: int
    """Of one stage of that pool."""

    def ps_of(self, prompt_tokens: Integers, *, last_layer: bool) -> Integers:
        """[n] time of the card with the most to convert: of all layers, or of the last."""
        count = self._by_rank(self.elements.bytes_of(prompt_tokens))
        read, written = (self._by_rank(each.bytes_of(prompt_tokens)) for each in self.moved)
        seconds = module_of(self.figures).converted_s(self.figures, count, read + written)
        longest: Floats = seconds.max(axis=1, initial=0.0) / (self.layers if last_layer else 1)
        return np.rint(longest * PS_PER_S).astype(np.int64)

    def joules_per_byte(self, wire: KvShares) -> Floats:
        """[parts of the converting cards] for each byte on the wire: of full blocks."""
        sent = _block_sum(wire)
        if not sent:
            return np.zeros(len(module_of(self.figures).PARTS))
        moved = sum(_block_sum(each) for each in self.moved)
        elements = _block_sum(self.elements)
        spent = module_of(self.figures).converted_joules(self.figures, elements, moved)
        return spent / sent

    def _by_rank(self, of_pairs: Integers) -> Integers:
        """[n, rank] sums over the pairs of each rank of the converting pool."""
        shares = self.elements
        ends = (
            (shares.source_stage, shares.source_position),
            (shares.target_stage, shares.target_position),
        )[self.on]
        _, rank = np.unique(np.stack(ends), axis=1, return_inverse=True)
        sums = np.zeros((int(rank.max(initial=-1)) + 1, len(of_pairs)), np.int64)
        np.add.at(sums, rank.ravel(), of_pairs.T)
        return sums.T


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class KvPath:
    """The way of KV from the ranks of one pool to those of the other."""

    routes: Routes
    cards: tuple[Integers, Integers]
    """[replica, stage, position] of each pool."""
    figures: tuple[Figures, Figures]
    """Of the cards of each pool."""
    shares: KvShares
    """Bytes on the wire."""
    conversion: KvConversion | None
    """Where the pools' KV formats differ."""
    layers: int
    """Of the model."""

    @property
    def hand_over_ps(self) -> int:
        """What the serving software of both pools takes, beside the network."""
        return sum(round(each["host.hand_over_s"] * PS_PER_S) for each in self.figures)

    def conversion_ps(
        self, prompt_tokens: Integers, *, last_layer: bool
    ) -> tuple[Integers, Integers]:
        """[n] delays of messages, and after their arrival."""
        none = np.zeros(len(prompt_tokens), np.int64)
        if self.conversion is None:
            return none, none
        own = self.conversion.ps_of(prompt_tokens, last_layer=last_layer)
        return (own, none) if self.conversion.on == 0 else (none, own)


def kv_path(
    resolved: Resolved,
    pools: tuple[Resolved, Resolved],
    routes: Routes,
    cards: tuple[Integers, Integers],
) -> KvPath:
    """The way of KV between these ``cards``."""
    shares, conversion = _on_wire(resolved, pools)
    return KvPath(
        routes=routes,
        cards=cards,
        figures=(pools[0].hardware, pools[1].hardware),
        shares=shares,
        conversion=conversion,
        layers=len(resolved.model.layers),
    )


def _on_wire(
    resolved: Resolved, pools: tuple[Resolved, Resolved]
) -> tuple[KvShares, KvConversion | None]:
    """Bytes that cross for each pair of ranks, and the conversion if the pools' formats differ."""
    forms = tuple(_shares(pools, pool.formats.kv, pool) for pool in pools)
    first, second = (replace(pool.formats.kv, name="kv") for pool in pools)
    if first == second:
        return forms[0], None
    wanted = (resolved.scenario.transfer or Transfer()).format
    wire = int(wanted == "decode")
    if wanted == "narrower":
        wire = int(_block_sum(forms[1]) < _block_sum(forms[0]))
    on = 1 - wire
    elements = _shares(pools, get_format(ELEMENTS), None)
    elements = replace(
        elements, block_bytes=np.where(elements.windows == STATE, 0, elements.block_bytes)
    )
    conversion = KvConversion(
        on=on,
        figures=pools[on].hardware,
        elements=elements,
        moved=(forms[0], forms[1]),
        layers=-(-len(resolved.model.layers) // pools[on].plan.pipeline_parallel_size),
    )
    return forms[wire], conversion


def _shares(pools: tuple[Resolved, Resolved], kv: Format, layout: Resolved | None) -> KvShares:
    """KV in a format and in the layout of one pool's device; None: plain elements."""
    prefill, decode = pools
    return kv_shares(
        prefill.model,
        prefill.plan,
        decode.plan,
        1 if layout is None else chiplets_of(layout.hardware),
        kv,
        tail_bits=0 if layout is None else module_of(layout.hardware).TAIL_BITS,
        whole=prefill.prefix_caching and decode.prefix_caching,
    )


def _block_sum(shares: KvShares) -> int:
    """Bytes of a block of all layers and pairs."""
    return int(shares.block_bytes[:, shares.windows != STATE].sum())
