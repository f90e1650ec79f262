"""What the time of a step goes into: its passage through all stages, split by cause.

One row of picoseconds per step and column per cause, from the price tables: the device's bounds,
the tiers of links that collectives use, sends between stages, host time. What a step takes beyond
that is its wait for stages that other batches hold.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from cluster.perf_model.tables import (
    PriceTables,
    Records,
    alike_attention,
    as_integers,
    without_drafting,
)
from cluster.perf_model.timeline.kernel import attention_rows
from corsair_common.units import Integers
from results.causes import HOST, NETWORK, SEND, tier_cause

_NO_MEASURES = np.zeros(0, np.int64)


class StepCauses:
    """Tables of all causes by tokens and emitting rows; those that are never more than 0 are left
    out, but for the ``others``, which come last."""

    def __init__(self, prices: PriceTables, others: Sequence[str] = ()) -> None:
        prices = without_drafting(prices) if prices.draft_apart else prices
        self._prices = prices
        self._waits = bool(prices.floor_ps.any() or prices.far_block_ps.any())
        bounds = list(prices.bounds)
        names = [*bounds, *(name for name in (HOST, SEND) if name not in bounds)]
        tiers = prices.collective_by_tier_ps.shape[-1]
        names += [tier_cause(name) for name in prices.tiers[:tiers]]
        self._width, self._first_tier = len(bounds), len(names) - tiers
        self._host, self._send = names.index(HOST), names.index(SEND)
        by_tokens, heads = self._class_tables(names)
        attended = np.zeros(len(names), np.bool_)
        attended[: self._width] = self._attended()
        used = by_tokens.any(axis=(0, 1)) | heads.any(axis=(0, 1)) | attended
        self._kept = np.flatnonzero(used)
        self.names: tuple[str, ...] = tuple(names[column] for column in self._kept)
        """Of the columns."""
        added = [name for name in others if name not in self.names]
        self.names += tuple(added)
        self._bounds = np.flatnonzero(self._kept < self._width)
        self._busy_ps = prices.linear_ps + prices.collective_ps
        self._sum_kinds(*(self._padded(table, len(added)) for table in (by_tokens, heads)))

    def _padded(self, table: Integers, added: int) -> Integers:
        return np.pad(table[..., self._kept], ((0, 0), (0, 0), (0, added)))

    def whole(self, steps: Records, order: Integers, attention: Integers | None = None) -> Integers:
        """[n, cause] of the passage of steps, in this order, through all stages.

        ``attention`` of the steps, if it is known (``Account.attention``).
        """
        kind = self._kind[steps["replica"][order]]
        found = _looked_up(self._by_tokens, kind, steps["tokens"][order])
        found += _looked_up(self._heads, kind, steps["emitted"][order])
        if self._prices.draft_stages:
            found += _looked_up(self._drafts, kind, steps["drafting"][order])
        if attention is None:
            self._attention = self._attended_by(steps)
        else:
            classes = np.unique(self._alike).tolist()
            self._attention = dict(zip(classes, attention, strict=True))
        for number, classes in enumerate(self._classes):
            rows = self._rows_of(kind, number)
            self._add(found, rows, classes, steps, order)
        return found

    def first(self, steps: Records, order: Integers) -> Integers:
        """[n, cause] of their work at the first stage, after ``whole`` of the same steps."""
        kind = self._kind[steps["replica"][order]]
        found = _looked_up(self._first_by_tokens, kind, steps["tokens"][order])
        found += _looked_up(self._first_heads, kind, steps["emitted"][order])
        for number, first in enumerate(self._first_class):
            self._add(found, self._rows_of(kind, number), {first: 1}, steps, order)
        return found

    def _rows_of(self, kind: Integers, number: int) -> slice | Integers:
        return slice(None) if len(self._classes) == 1 else np.flatnonzero(kind == number)

    def _class_tables(self, names: Sequence[str]) -> tuple[Integers, Integers]:
        """[class, tokens, cause] and [class, emitting rows, cause] without attention."""
        prices = self._prices
        shape = (*prices.linear_ps.shape, len(names))
        by_tokens = np.zeros(shape, np.int64)
        by_tokens[..., : self._width] = prices.linear_by_bound_ps
        by_tokens[..., self._send] = prices.send_ps
        if self._first_tier < len(names):
            by_tokens[..., self._first_tier :] = prices.collective_by_tier_ps
        else:
            by_tokens[..., names.index(NETWORK)] += prices.collective_ps
        heads = np.zeros((*prices.head_ps.shape, len(names)), np.int64)
        heads[..., : self._width] = prices.head_by_bound_ps
        if prices.head_by_tier_ps.size:
            heads[..., self._first_tier :] = prices.head_by_tier_ps
            heads[..., names.index(NETWORK)] -= prices.head_by_tier_ps.sum(axis=-1)
        if prices.host_rows_ps.size and prices.bounds[prices.host_bound] != HOST:
            first = np.unique(prices.stage_class[:, 0])
            heads[first, :, prices.host_bound] -= prices.host_rows_ps
            heads[first, :, self._host] += prices.host_rows_ps
        return by_tokens, heads

    def _attended(self) -> npt.NDArray[np.bool_]:
        """[bound] whether attention, or waiting for the far memory, can be bound by it."""
        found = self._bound_by(self._prices.attention)
        found[self._prices.far_bound] |= self._waits
        return found

    def _bound_by(self, products: Records) -> npt.NDArray[np.bool_]:
        """[bound] whether one of these products can be bound by it."""
        found = np.zeros(len(self._prices.bounds), np.bool_)
        present = products[products["layers"] > 0]
        for name in ("decode_bound", "prefill_bound", "b_bound"):
            found[present[name].astype(np.int64)] = True
        return found

    def _sum_kinds(self, by_tokens: Integers, heads: Integers) -> None:
        """Sum over the stages of each kind of replica, those with the same classes."""
        stage_class = self._prices.stage_class
        kinds, kind = np.unique(stage_class, axis=0, return_inverse=True)
        self._kind = kind.ravel()
        self._by_tokens = np.stack([by_tokens[classes].sum(axis=0) for classes in kinds])
        stages = self._prices.stages
        self._heads = np.stack([heads[classes[:stages]].sum(axis=0) for classes in kinds])
        self._drafts = np.stack([heads[classes[stages:]].sum(axis=0) for classes in kinds])
        self._first_class = kinds[:, 0].tolist()
        self._first_by_tokens = by_tokens[kinds[:, 0]]
        if SEND in self.names:
            send = self.names.index(SEND)
            self._first_by_tokens[..., send] = 0
            self._by_tokens[..., send] -= by_tokens[kinds[:, -1]][..., send]
        self._first_heads = heads[kinds[:, 0]]
        self._classes = [Counter(classes.tolist()) for classes in kinds]
        self._alike = alike_attention(self._prices)
        self._attends = np.stack([self._bound_by(one) for one in self._prices.attention])

    def _attended_by(self, steps: Records) -> dict[int, Integers]:
        """[n, bounds | total, far memory] of the attention of each class, by the first alike."""
        log, prices, found = as_integers(steps), self._prices, dict[int, Integers]()
        for alike in np.unique(self._alike).tolist():
            rows = np.empty((len(steps), self._width + 2), np.int64)
            products, far_ps = prices.attention[alike], prices.far_block_ps[alike]
            attention_rows(products, far_ps, log, _NO_MEASURES, self._width, rows)
            found[alike] = rows
        return found

    def _add(
        self,
        out: Integers,
        rows: slice | Integers,
        classes: "Counter[int] | dict[int, int]",
        steps: Records,
        order: Integers,
    ) -> None:
        """Add attention, and waiting for the far memory, of so many stages of each class."""
        alike: Counter[int] = Counter()
        for number, times in classes.items():
            alike[int(self._alike[number])] += times
        kept = self._kept[self._bounds]
        for number, times in alike.items():
            attended = self._attention[number][order[rows]]
            for column, bound in enumerate(kept.tolist()):
                if self._attends[number, bound]:
                    out[rows, column] += times * attended[:, bound]
        if not self._waits:
            return
        far = int(np.searchsorted(kept, self._prices.far_bound))
        tokens = steps["tokens"][order[rows]]
        for number, times in classes.items():
            attended = self._attention[int(self._alike[number])][order[rows]]
            total_ps, fetch_ps = attended[:, -2], attended[:, -1]
            floor_ps = self._prices.floor_ps[number, tokens]
            busy_ps = self._busy_ps[number, tokens] + total_ps
            if self._prices.ahead:
                waited_ps = np.maximum(0, floor_ps + fetch_ps - busy_ps)
            else:
                waited_ps = np.maximum(fetch_ps, floor_ps - busy_ps)
            out[rows, far] += times * waited_ps


def _looked_up(tables: Integers, kind: Integers, size: Integers) -> Integers:
    """[n, cause] the rows of these kinds and sizes."""
    flat = tables.reshape(-1, tables.shape[-1])
    found: Integers = flat.take(kind * tables.shape[1] + size, axis=0)
    return found
