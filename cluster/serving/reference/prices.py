"""Price of a step: its measures, its passage through the stages, and its row in the log."""

from dataclasses import dataclass

import numpy as np

from cluster.perf_model.attention import attention_ps, fetch_ps
from cluster.perf_model.tables import KINDS, MEASURES, PriceTables
from cluster.serving.reference.blocks import BlockPool, ceil_div
from cluster.serving.reference.replica import Replica, Step
from corsair_common.names import STATE

ATTENTION_BLOCK_TOKENS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Measures:
    """The measures that the price of a step depends on."""

    tokens: int
    prefill_tokens: int
    emitted: int
    drafting: int
    """Requests for which tokens are drafted after the step."""
    finished: int
    by_kind: list[dict[str, int]]
    """For each kind of layers, its MEASURES."""

    def columns(self) -> list[int]:
        """Measures of all kinds in the order of the log's columns."""
        absent = [0] * len(MEASURES) * (KINDS - len(self.by_kind))
        return [sums[name] for sums in self.by_kind for name in MEASURES] + absent


class Prices:
    """The price tables as plain lists of integers."""

    def __init__(self, tables: PriceTables) -> None:
        self.stage_class: list[list[int]] = tables.stage_class.tolist()
        self.return_ps: list[int] = tables.return_ps.tolist()
        self.host_ps = tables.host_ps
        self._linear_ps: list[list[int]] = tables.linear_ps.tolist()
        self._collective_ps: list[list[int]] = tables.collective_ps.tolist()
        self._floor_ps: list[list[int]] = tables.floor_ps.tolist()
        self._send_ps: list[list[int]] = tables.send_ps.tolist()
        self._head_ps: list[list[int]] = tables.head_ps.tolist()
        self._attention = tables.attention
        self._far_block_ps = tables.far_block_ps
        self._ahead = tables.ahead
        self._drafts = tables.draft_stages
        self._draft_kinds = tables.draft_kinds
        self._apart = tables.draft_apart
        self._kinds: list[tuple[int, int, int, int]] = tables.kinds.tolist()

    def measure(self, step: Step, pool: BlockPool) -> Measures:
        """Sums over the rows of ``step``, whose tokens already count as computed.

        Blocks of ``pool`` in use beyond the near memory are in the far one.
        """
        by_kind = [self._sums(step, *kind) for kind in self._kinds]
        for kind in range(len(self._kinds) - self._draft_kinds, len(self._kinds)):
            by_kind[kind]["decode_blocks"] += self._drafted(step, *self._kinds[kind])
        tokens = sum(step.rows.values())
        self._add_far(by_kind, pool, ceil_div(tokens, ATTENTION_BLOCK_TOKENS))
        return Measures(
            tokens=tokens,
            prefill_tokens=sum(
                n - step.padded.get(row, 0)
                for row, n in step.rows.items()
                if row not in step.decoding
            ),
            emitted=len(step.emitting) + sum(step.drafts.values()) + sum(step.padded.values()),
            drafting=len(step.emitting) if pool.limits.drafts else 0,
            finished=sum(
                row.done_output + row.pending + step.emits(row) == row.output
                for row in step.emitting
            ),
            by_kind=by_kind,
        )

    def _sums(
        self, step: Step, window: int, clocks_per_query: int, clocks_per_pass: int, picked: int
    ) -> dict[str, int]:
        """Sums of layers with this window (0: full context, STATE: a state) or picked tokens."""
        sums = dict.fromkeys(MEASURES, 0)
        for request, tokens in step.rows.items():
            blocks = of_query = ceil_div(request.computed, ATTENTION_BLOCK_TOKENS)
            if window == STATE:
                blocks = of_query = 1
            elif window:
                reach = ceil_div(window + tokens - 1, ATTENTION_BLOCK_TOKENS) + 1
                blocks = of_query = min(blocks, reach)
            elif picked:
                of_query = min(blocks, ceil_div(picked, ATTENTION_BLOCK_TOKENS))
                blocks = min(blocks, of_query * tokens)
            if request in step.decoding and tokens == 1:
                sums["decode_blocks"] += of_query
                continue
            passes = ceil_div(tokens * clocks_per_query, clocks_per_pass)
            sums["prefill_blocks"] += blocks
            sums["prefill_passes"] += of_query * passes
            most = 1 if window == STATE else window or picked
            sums["prefill_pairs"] += sum(
                min(position + 1, most or position + 1)
                for position in range(request.computed - tokens, request.computed)
            )
        return sums

    def _drafted(self, step: Step, window: int, _: int, __: int, picked: int) -> int:
        """Blocks that later passes of a draft read: those of each emitting row, as a decode."""
        total = 0
        for request in step.emitting:
            blocks = ceil_div(request.computed, ATTENTION_BLOCK_TOKENS)
            if window == STATE:
                blocks = 1
            elif window:
                blocks = min(blocks, ceil_div(window, ATTENTION_BLOCK_TOKENS) + 1)
            elif picked:
                blocks = min(blocks, ceil_div(picked, ATTENTION_BLOCK_TOKENS))
            counted = request in step.decoding and step.rows[request] == 1
            total += 0 if counted else blocks
        return total

    def _add_far(self, by_kind: list[dict[str, int]], pool: BlockPool, written: int) -> None:
        """Far blocks of each kind of layer: a share of the blocks in use, old ones first."""
        used, full = pool.used, pool.used_by_full_layers()
        over = max(0, used - pool.sram_units)
        if not over:
            return
        seen = [sums["decode_blocks"] + sums["prefill_blocks"] for sums in by_kind]
        if len(pool.windows) == 1 and not pool.windows[0]:  # no layer frees blocks
            far = ceil_div((seen[0] + written) * over, used)
            for sums, own, (*_, picked) in zip(by_kind, seen, self._kinds, strict=True):
                anywhere = ceil_div((own + written) * over, used)
                sums["far_blocks"] = anywhere if picked else max(0, far - (seen[0] - own))
            return
        of_full = min(over, full)  # blocks inside a window are the last in the far memory
        for sums, own, (window, *_) in zip(by_kind, seen, self._kinds, strict=True):
            part, whole = (over - of_full, used - full) if window else (of_full, full)
            sums["far_blocks"] = ceil_div((own + written) * part, whole) if part else 0

    def cross(self, replica: Replica, step: Measures, now_ps: int) -> tuple[int, int, int]:
        """Run ``step`` through all stages of ``replica``, and make the drafts after it.

        Its start at the first stage, its end, and the time at which the drafts are back if they
        are made on cards of their own, else 0.
        """
        earliest_ps = end_ps = now_ps
        first_ps = max(now_ps, replica.free_ps[0])
        classes = self.stage_class[replica.number]
        stages = len(classes) - self._drafts
        for stage, price_class in enumerate(classes[:stages]):
            start_ps = max(earliest_ps, replica.free_ps[stage])
            end_ps = start_ps + self._work_ps(price_class, step, step.emitted)
            replica.free_ps[stage] = end_ps
            earliest_ps = end_ps + self._send_ps[price_class][step.tokens]
        for price_class in classes[stages:]:
            draft_ps = self._work_ps(price_class, step, step.drafting)
            if not self._apart:  # the last stage does both, one after the other
                end_ps = replica.free_ps[stages - 1] = end_ps + draft_ps
                continue
            drafted_ps = max(earliest_ps, replica.free_ps[-1]) + draft_ps
            replica.free_ps[-1] = drafted_ps
            if step.drafting:
                return first_ps, end_ps, drafted_ps + self._send_ps[price_class][step.tokens]
        return first_ps, end_ps, 0

    def _work_ps(self, price_class: int, step: Measures, rows: int) -> int:
        measures = np.array(step.columns(), np.int64)
        busy_ps = (
            self._linear_ps[price_class][step.tokens]
            + self._collective_ps[price_class][step.tokens]
            + int(attention_ps(self._attention[price_class], measures))
        )
        floor_ps = self._floor_ps[price_class][step.tokens]
        far_ps = int(fetch_ps(self._far_block_ps[price_class], measures))
        if self._ahead:
            layers_ps = max(floor_ps + far_ps, busy_ps)
        else:
            layers_ps = max(floor_ps, busy_ps + far_ps)
        return layers_ps + self._head_ps[price_class][rows]
