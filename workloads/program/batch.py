"""What the slots of a pipeline work on in each step: sequences that decode, chunks of prompts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from workloads.program.schema import ProgramError

KV_BLOCK_TOKENS = 64
"""Keys and values are read in whole blocks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """One microbatch in one step. Contexts count the new tokens, too."""

    decode_contexts: tuple[int, ...] = ()
    """Tokens in the cache of each sequence that decodes one more."""
    chunk_tokens: int = 0
    """New tokens of each chunk of a prompt."""
    chunk_contexts: tuple[int, ...] = ()
    """Tokens in the cache of each chunk's sequence when the chunk is done."""
    last_chunks: int = 0
    """How many of the chunks end their prompt and emit its first token."""

    def __post_init__(self) -> None:
        least = min(self.decode_contexts, default=1)
        if not least >= 1:
            raise ProgramError(
                f"a decoding sequence has at least 1 token in its cache, got {least}"
            )
        if bool(self.chunk_contexts) != bool(self.chunk_tokens):
            raise ProgramError("chunk_tokens and chunk_contexts go together or not at all")
        if not 0 <= self.chunk_tokens <= min(self.chunk_contexts, default=0):
            raise ProgramError(
                f"chunks of {self.chunk_tokens} tokens cannot end with"
                f" {min(self.chunk_contexts, default=0)} tokens in the cache"
            )
        if not 0 <= self.last_chunks <= len(self.chunk_contexts):
            raise ProgramError(
                f"last_chunks is 0 to {len(self.chunk_contexts)}, got {self.last_chunks}"
            )

    @property
    def tokens(self) -> int:
        """That run through the layers."""
        return len(self.decode_contexts) + self.chunk_tokens * len(self.chunk_contexts)

    @property
    def emitted(self) -> int:
        """Rows that run through the head."""
        return len(self.decode_contexts) + self.last_chunks

    @property
    def phase(self) -> str:
        if not self.chunk_contexts:
            return "decode"
        return "mixed" if self.decode_contexts else "prefill"

    def met(self, window: int) -> tuple[int, int]:
        """KV tokens that decode rows and chunks read, in whole blocks; ``window`` 0 reads all.

        A windowed row reads the blocks that its tokens' windows touch, one more for their offset;
        a state (STATE for a window) counts as one block.
        """
        decode = sum(_blocks(context, 1, window) for context in self.decode_contexts)
        chunks = sum(_blocks(c, self.chunk_tokens, window) for c in self.chunk_contexts)
        return decode * KV_BLOCK_TOKENS, chunks * KV_BLOCK_TOKENS

    def met_picks(self, picked: int, *, together: bool) -> tuple[int, int]:
        """The same where every query reads at most ``picked`` tokens: those of a chunk's query, or
        of all its queries ``together``."""
        most = -(-picked // KV_BLOCK_TOKENS)
        queries = self.chunk_tokens if together else 1
        decode = sum(min(_blocks(c, 1, 0), most) for c in self.decode_contexts)
        chunks = sum(
            min(_blocks(c, 1, 0), min(_blocks(c, 1, 0), most) * queries)
            for c in self.chunk_contexts
        )
        return decode * KV_BLOCK_TOKENS, chunks * KV_BLOCK_TOKENS

    @property
    def scan_chunks(self) -> int:
        """Chunks of 64 tokens, begun ones included, in which states take in the prompts."""
        return len(self.chunk_contexts) * -(-self.chunk_tokens // KV_BLOCK_TOKENS)

    def pairs(self, window: int) -> int:
        """Pairs of a query of a chunk and a key that it sees, all chunks together."""
        return sum(_pairs(c, self.chunk_tokens, window) for c in self.chunk_contexts)


Steps: TypeAlias = Sequence[Sequence[Batch | None]]
"""[step][slot] batch of each slot; None if it has none."""


def decode_steps(
    *, batch: int, context: int, steps: int, slots: int, growing: bool = True
) -> Steps:
    """``batch`` sequences over ``slots``, the first taking the remainder, one token each a step.

    Each sequence has ``context`` tokens in its cache in the first step, its new one among them, and
    one more in each later step unless ``growing`` is false.
    """
    _at_least_one(batch=batch, context=context, steps=steps, slots=slots)
    sizes = _shares(batch, slots)
    return [
        [_decode(size, context + (step if growing else 0)) for size in sizes]
        for step in range(steps)
    ]


def prefill_steps(*, prompts: int, prompt_tokens: int, chunk_tokens: int, slots: int) -> Steps:
    """Equal prompts one after the other, cut into chunks of ``chunk_tokens``, the last shorter.

    A prompt's next chunk is in the batch of the next slot, whether or not the one before is still
    under way. More prompts than slots are read in as many groups as there are slots: those of a
    group side by side in each batch.
    """
    _at_least_one(
        prompts=prompts, prompt_tokens=prompt_tokens, chunk_tokens=chunk_tokens, slots=slots
    )
    ends = [*range(chunk_tokens, prompt_tokens, chunk_tokens), prompt_tokens]
    chunks = [
        Batch(
            chunk_tokens=end - start,
            chunk_contexts=(end,) * size,
            last_chunks=size if end == prompt_tokens else 0,
        )
        for size in _shares(prompts, slots)
        if size
        for start, end in zip([0, *ends[:-1]], ends, strict=True)
    ]
    empty = [None] * (-len(chunks) % slots)
    turns = [*chunks, *empty]
    return [turns[first : first + slots] for first in range(0, len(turns), slots)]


def mixed_steps(
    *, batch: int, context: int, prompt_tokens: int, chunk_tokens: int, slots: int
) -> Steps:
    """``batch`` decoding sequences over ``slots``, and as many prompts as slots, read beside.

    Every batch has the next chunk of the prompt that is being read, the first of the next prompt
    after a last one, which emits its prompt's first token. There are as many steps as a prompt has
    chunks.
    """
    _at_least_one(batch=batch, context=context)
    prefill = prefill_steps(
        prompts=slots, prompt_tokens=prompt_tokens, chunk_tokens=chunk_tokens, slots=slots
    )
    sizes = _shares(batch, slots)
    return [
        [
            Batch(
                decode_contexts=(context + step,) * size,
                chunk_tokens=chunk.chunk_tokens,
                chunk_contexts=chunk.chunk_contexts,
                last_chunks=chunk.last_chunks,
            )
            for size, chunk in zip(sizes, chunks, strict=True)
            if chunk is not None
        ]
        for step, chunks in enumerate(prefill)
    ]


def _blocks(context: int, tokens: int, window: int) -> int:
    blocks = -(-context // KV_BLOCK_TOKENS)
    if not window:
        return blocks
    return min(blocks, max(1, -(-(window + tokens - 1) // KV_BLOCK_TOKENS) + 1))


def _pairs(context: int, tokens: int, window: int) -> int:
    """The query at position p sees the ``min(p + 1, window)`` keys up to it."""
    whole = tokens * context - tokens * (tokens - 1) // 2
    if not window or context <= window:
        return whole
    if context - tokens >= window:
        return tokens * window
    return whole - (context - window) * (context - window + 1) // 2


def _decode(size: int, context: int) -> Batch | None:
    return Batch(decode_contexts=(context,) * size) if size else None


def _shares(total: int, slots: int) -> list[int]:
    return [total // slots + (slot < total % slots) for slot in range(slots)]


def _at_least_one(**counts: int) -> None:
    for name, count in counts.items():
        if not count >= 1:
            raise ProgramError(f"{name} must be at least 1, got {count}")
