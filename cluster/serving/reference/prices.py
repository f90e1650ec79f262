"""What a step costs: its measures, its way across the stages, and its row in the log."""

from dataclasses import dataclass

from cluster.perf_model.attention import attention_ps, kv_ps
from cluster.perf_model.tables import PriceTables
from cluster.serving.reference.blocks import BlockPool, ceil_div
from cluster.serving.reference.replica import Replica, Step

ATTENTION_BLOCK_TOKENS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Measures:
    """All that the price of a step depends on."""

    tokens: int
    prefill_tokens: int
    emitted: int
    finished: int
    decode_blocks: int
    prefill_passes: int
    decode_blocks_windowed: int
    prefill_passes_windowed: int
    lpddr_blocks: int
    lpddr_blocks_windowed: int


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
        self._clocks_per_query = tables.clocks_per_query
        self._window_tokens = tables.window_tokens

    def measure(self, step: Step, pool: BlockPool) -> Measures:
        """Sums over the rows of ``step``, whose tokens are counted as computed already.

        What ``pool`` has in use beyond SRAM lies in LPDDR.
        """
        decode, decode_windowed, passes, passes_windowed, seen, seen_windowed = 0, 0, 0, 0, 0, 0
        for request, tokens in step.rows.items():
            blocks = ceil_div(request.computed, ATTENTION_BLOCK_TOKENS)
            windowed = self._windowed(blocks, tokens)
            seen += blocks
            seen_windowed += windowed
            if request in step.decoding:
                decode += blocks
                decode_windowed += windowed
            else:
                chunk_passes = ceil_div(tokens * self._clocks_per_query, ATTENTION_BLOCK_TOKENS)
                passes += blocks * chunk_passes
                passes_windowed += windowed * chunk_passes
        tokens = sum(step.rows.values())
        lpddr, lpddr_windowed = self._from_lpddr(pool, tokens, seen, seen_windowed)
        return Measures(
            tokens=tokens,
            prefill_tokens=sum(n for row, n in step.rows.items() if row not in step.decoding),
            emitted=len(step.emitting),
            finished=sum(row.done_output + row.pending + 1 == row.output for row in step.emitting),
            decode_blocks=decode,
            prefill_passes=passes,
            decode_blocks_windowed=decode_windowed,
            prefill_passes_windowed=passes_windowed,
            lpddr_blocks=lpddr,
            lpddr_blocks_windowed=lpddr_windowed,
        )

    def _from_lpddr(
        self, pool: BlockPool, tokens: int, seen: int, seen_windowed: int
    ) -> tuple[int, int]:
        """Blocks that full and windowed layers move: a share of all that is in use, old ones first.

        ``seen`` blocks are read in layers with full context, ``seen_windowed`` in the others.
        """
        used, full = pool.used, pool.used_by_full_layers()
        over, written = max(0, used - pool.sram_units), ceil_div(tokens, ATTENTION_BLOCK_TOKENS)
        if not over:
            return 0, 0
        if len(pool.windows) == 1 and not pool.windows[0]:  # all layers keep all their blocks
            moved = ceil_div((seen + written) * over, used)
            outside = seen - seen_windowed
            return moved, max(0, moved - outside) if self._window_tokens else 0
        of_full = min(over, full)  # what lies inside a window is the last to go
        of_windowed = over - of_full
        moved = ceil_div((seen + written) * of_full, full) if full else 0
        if not of_windowed:
            return moved, 0
        return moved, ceil_div((seen_windowed + written) * of_windowed, used - full)

    def cross(self, replica: Replica, step: Measures, now_ps: int) -> tuple[int, int]:
        """Take ``step`` through all stages of ``replica``; its start at the first, and its end."""
        earliest_ps = end_ps = now_ps
        first_ps = max(now_ps, replica.free_ps[0])
        for stage, price_class in enumerate(self.stage_class[replica.number]):
            start_ps = max(earliest_ps, replica.free_ps[stage])
            end_ps = start_ps + self._work_ps(price_class, step)
            replica.free_ps[stage] = end_ps
            earliest_ps = end_ps + self._send_ps[price_class][step.tokens]
        return first_ps, end_ps

    def _windowed(self, blocks: int, tokens: int) -> int:
        """Those of ``blocks`` that the queries of ``tokens`` see through the window."""
        if not self._window_tokens:
            return 0
        reach = self._window_tokens + tokens - 1
        return min(blocks, ceil_div(reach, ATTENTION_BLOCK_TOKENS) + 1)

    def _work_ps(self, price_class: int, step: Measures) -> int:
        attention = int(
            attention_ps(
                self._attention[price_class],
                step.decode_blocks,
                step.prefill_passes,
                step.decode_blocks_windowed,
                step.prefill_passes_windowed,
            )
        )
        busy_ps = (
            self._linear_ps[price_class][step.tokens]
            + self._collective_ps[price_class][step.tokens]
            + attention
        )
        floor_ps = self._floor_ps[price_class][step.tokens]
        shapes = self._attention[price_class]
        fetch_ps = int(kv_ps(shapes, step.lpddr_blocks, step.lpddr_blocks_windowed))
        if shapes[0].ahead:
            layers_ps = max(floor_ps + fetch_ps, busy_ps)
        else:
            layers_ps = max(floor_ps, busy_ps + fetch_ps)
        return layers_ps + self._head_ps[price_class][step.emitted]
