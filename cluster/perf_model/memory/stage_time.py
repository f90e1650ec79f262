"""Time of one stage for a step of one size, priced without the full tables."""

from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from cluster.perf_model.attention import attention_ps, decode_measures
from cluster.perf_model.prices.inputs import PriceInputs, device_for
from cluster.perf_model.prices.stage import StagePrice, stage_of, stage_price
from cluster.perf_model.prices.stage_collectives import StageGroups, stage_groups_of
from cluster.perf_model.prices.tables import kinds_of, links_of

Steps: TypeAlias = tuple[tuple[int, int], ...]
"""Steps by their scheduled tokens and emitting rows; the first is of decoding rows."""


@dataclass(slots=True)
class StageWork:
    """Prices stages on a few steps, equal ones once."""

    context: int
    """Context tokens of each decoding row."""
    _prices: dict[tuple[object, ...], StagePrice] = field(default_factory=dict)
    _wires: dict[bytes, StageGroups] = field(default_factory=dict)

    def work_ps(self, inputs: PriceInputs, number: int, steps: Steps) -> list[int]:
        """[step] work of stage ``number``, without the attention of prompts."""
        price = self._price(inputs, number, steps)
        seen = decode_measures(kinds_of(inputs), steps[0][1], self.context)
        busy = price.linear_by_bound_ps.sum(axis=1) + price.collective_ps
        busy[0] += attention_ps(price.attention, seen)
        work = np.maximum(busy, price.floor_ps) + price.head_by_bound_ps.sum(axis=1)
        return [int(part) for part in work]

    def floor_ps(self, inputs: PriceInputs, number: int, steps: Steps) -> list[int]:
        """[step] the stream from LPDDR in parallel to the work of stage ``number``."""
        return [int(part) for part in self._price(inputs, number, steps).floor_ps]

    def _price(self, inputs: PriceInputs, number: int, steps: Steps) -> StagePrice:
        cards, stage = inputs.cards[0, number], stage_of(inputs, number)
        links = links_of(inputs, cards)
        key = (stage, links, steps)
        if key not in self._prices:
            tokens, rows = (np.array(part, np.int64) for part in zip(*steps, strict=True))
            if links not in self._wires:
                self._wires[links] = stage_groups_of(inputs, cards)
            groups = self._wires[links]
            self._prices[key] = stage_price(
                inputs, device_for(inputs), groups, stage, (tokens, rows)
            )
        return self._prices[key]
