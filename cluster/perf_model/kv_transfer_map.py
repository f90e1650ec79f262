"""KV transfers between two plans of one model: source, target and part of a prompt's KV."""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from cluster.perf_model.attention import BLOCK_TOKENS
from cluster.perf_model.memory.shard import kv_block
from corsair_common.names import STATE
from corsair_common.units import Integers
from workloads.formats import Format
from workloads.model import Attention, Model
from workloads.plan import Plan, kv_heads_of, stage_layers


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class KvShares:
    """One row per pair of ranks with KV to transfer, in the order of the four ranks."""

    source_stage: Integers
    source_position: Integers
    target_stage: Integers
    target_position: Integers
    windows: Integers
    """[kind] windows of the kinds of layers: tokens behind one are not transferred; 0: all are;
    STATE: one state is."""
    block_bytes: Integers
    """[pair, kind] of each block of 64 tokens, including a partial one, or of a state."""
    tail_bytes: Integers
    """Additional bytes of V's FP16 tail, if the last block is not full."""
    first_layer: Integers
    """The lowest layer of the pair, in the whole model."""
    layers: Integers
    """How many layers the pair has in common."""

    def bytes_of(self, prompt_tokens: Integers) -> Integers:
        """[n, pair] bytes of prompts: whole blocks, as in memory.

        Layers with a window transfer the blocks of the window of the prompt's last token, recurrent
        ones their state.
        """
        tokens = prompt_tokens[:, None]
        behind = np.where(self.windows > 0, np.maximum(0, tokens - self.windows), 0)
        blocks: Integers = -(-tokens // BLOCK_TOKENS) - behind // BLOCK_TOKENS
        blocks = np.where(self.windows == STATE, 1, blocks)
        partial = tokens % BLOCK_TOKENS > 0
        return blocks @ self.block_bytes.T + partial * self.tail_bytes


def kv_shares(
    model: Model,
    source: Plan,
    target: Plan,
    chiplets: int,
    kv: Format,
    *,
    tail_bits: int = 16,
    whole: bool = False,
) -> KvShares:
    """Map the KV of every layer and head to the target rank that uses it.

    A head that several source ranks store is sent by one of them, in turn over the targets. Layers
    with a window transfer the tokens inside it, or all if ``whole``.

    Raises
    ------
    MemoryInputError
        Attention without a KV cache.
    """
    targets = _stage_of(target, model)
    each = [layer.attention for layer in model.layers]
    seen = [0 if whole and a.held != STATE else a.held for a in each]
    windows = sorted(set(seen))
    sums: defaultdict[tuple[int, ...], list[int]] = defaultdict(lambda: [0] * (3 + len(windows)))
    for layer, here in enumerate(_stage_of(source, model)):
        attention = model.layers[layer].attention
        dealt = _dealt(attention, source, target, chiplets, kv, tail_bits)
        for (giver, taker), (block_bytes, tail_bytes) in dealt.items():
            row = sums[here, giver, targets[layer], taker]
            row[0] += tail_bytes
            row[1] = row[1] if row[2] else layer
            row[2] += 1
            row[3 + windows.index(seen[layer])] += block_bytes
    pairs = sorted(sums)
    ranks = np.array(pairs, np.int64).reshape(-1, 4).T
    tail, first, count, *block = np.array([sums[pair] for pair in pairs], np.int64).T
    return KvShares(
        source_stage=ranks[0],
        source_position=ranks[1],
        target_stage=ranks[2],
        target_position=ranks[3],
        windows=np.array(windows, np.int64),
        block_bytes=np.stack(block, axis=1),
        tail_bytes=tail,
        first_layer=first,
        layers=count,
    )


def _stage_of(plan: Plan, model: Model) -> list[int]:
    """The stage of every layer."""
    return [stage for stage, layers in enumerate(stage_layers(plan, model)) for _ in layers]


def _dealt(
    attention: Attention, source: Plan, target: Plan, chiplets: int, kv: Format, tail_bits: int
) -> dict[tuple[int, int], tuple[int, int]]:
    """Bytes of a block and of a tail of one layer, by positions of source and target."""
    whole = kv_block(attention, Plan(), chiplets, kv, tail_bits)
    heads = len(kv_heads_of(Plan(), attention, 0))
    keepers = [
        [
            position
            for position in range(source.tensor_parallel_size)
            if head in kv_heads_of(source, attention, position)
        ]
        for head in range(heads)
    ]
    dealt: defaultdict[tuple[int, int], int] = defaultdict(int)
    for taker in range(target.tensor_parallel_size):
        for head in kv_heads_of(target, attention, taker):
            dealt[keepers[head][taker % len(keepers[head])], taker] += 1
    return {
        pair: (count * whole.card // heads, count * whole.tail_card // heads)
        for pair, count in dealt.items()
    }
