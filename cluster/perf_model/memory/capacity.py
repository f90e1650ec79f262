"""KV capacity of a replica by kind of layers: one inequality per stage."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from cluster.perf_model.kv_capacity import KvCapacity
from cluster.perf_model.memory.stage import StageMemory
from corsair_common.units import Integers


@dataclass(frozen=True, slots=True, kw_only=True)
class StageRoom:
    """KV capacity of the fullest chiplet of a stage, in the largest units that divide all its
    blocks, so that sums over all sequences fit 64 bits."""

    units: tuple[int, ...]
    """[k] of a scheduler block of each kind."""
    sram: int
    lpddr: int

    @property
    def room(self) -> int:
        return self.sram + self.lpddr

    def taken(self, held: Sequence[int]) -> int:
        """Units of ``held[k]`` blocks."""
        return sum(each * count for each, count in zip(self.units, held, strict=True))

    def sequences(self, held: Sequence[int]) -> int:
        """Number of sequences with ``held[k]`` blocks each that fit."""
        return self.room // self.taken(held)

    def implies(self, other: "StageRoom") -> bool:
        """Whether any blocks that fit here fit ``other`` as well."""
        return all(
            there * self.room <= here * other.room
            for here, there in zip(self.units, other.units, strict=True)
        )


def units_of(kind_bytes: Sequence[Fraction]) -> tuple[tuple[int, ...], Fraction]:
    """[k] units of a block of each kind, and the bytes of the largest possible unit."""
    scale = math.lcm(*(each.denominator for each in kind_bytes))
    whole = [int(each * scale) for each in kind_bytes]
    unit = math.gcd(*whole) or 1  # nothing is stored
    return tuple(each // unit for each in whole), Fraction(unit, scale)


def room_of(stage: StageMemory) -> StageRoom:
    """Count a stage's room in whole units."""
    units, unit_bytes = units_of(stage.kind_bytes)
    return StageRoom(
        units=units,
        sram=int(stage.kv_sram_bytes // unit_bytes),
        lpddr=int(stage.kv_lpddr_bytes // unit_bytes),
    )


def capacity_of(stages: Sequence[StageMemory], windows: tuple[int, ...]) -> KvCapacity:
    """The inequalities of all stages that store KV except those implied by another one.

    The first is the stage with the fewest sequences of maximum length. Its SRAM part is the amount
    that all stages have in SRAM when they are full of such sequences.
    """
    held = stages[0].long_blocks
    rooms = sorted(
        {room_of(stage) for stage in stages if stage.stores_kv},
        key=lambda each: (Fraction(each.room, each.taken(held)), each.units),
    )
    binding: list[StageRoom] = []
    for each in rooms:
        if not any(other.implies(each) for other in binding):
            binding = [other for other in binding if not each.implies(other)] + [each]
    first = binding[0]
    sram = min(each.sram * first.taken(held) // each.taken(held) for each in rooms)
    return KvCapacity(
        windows=np.array(windows, np.int64),
        block_units=np.array([each.units for each in binding], np.int64),
        room_units=np.array([each.room for each in binding], np.int64),
        sram_units=min(first.room, sram),
    )


def sequences_of(capacity: KvCapacity, tokens: int, block_size: int) -> int:
    """Number of sequences of ``tokens`` that decode at once, with divisible blocks."""
    return int((capacity.room_units * block_size // _taken(capacity, tokens, block_size)).min())


def tokens_each(capacity: KvCapacity, sequences: int, block_size: int, most: int) -> int:
    """Longest possible tokens of ``sequences`` equal sequences, with divisible blocks.

    At most ``most``, since layers with a window bound the blocks of long sequences.
    """
    whole = int(capacity.room_units.min()) * block_size // sequences
    if not capacity.windows.any():
        return whole
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        if sequences_of(capacity, middle, block_size) >= sequences:
            low = middle
        else:
            high = middle - 1
    return low


def in_sram(capacity: KvCapacity) -> KvCapacity:
    """The part of the capacity in SRAM, in units of the first constraint."""
    return replace(
        capacity,
        block_units=capacity.block_units[:1],
        room_units=np.array([capacity.sram_units], np.int64),
    )


def _taken(capacity: KvCapacity, tokens: int, block_size: int) -> Integers:
    """[m] units x tokens of a sequence of ``tokens`` while it decodes."""
    behind = np.maximum(-(-capacity.windows // block_size) + 1, 1) * block_size
    held = np.where(capacity.windows == 0, tokens, np.minimum(tokens, behind))
    taken: Integers = capacity.block_units @ held
    return taken
