"""Block ids from what files hold instead: strings, 64-bit unsigned integers, or token ids."""

from collections.abc import Iterable, Sequence

import numpy as np

from corsair_common.units import Integers


def number_ids(lists: Iterable[Sequence[int | str]]) -> tuple[Integers, Integers]:
    """Number ids in order of first appearance: (offsets [n + 1], numbers).

    Equal ids get equal numbers, different ones never do; 1 and "1" differ.
    """
    numbers: dict[int | str, int] = {}
    offsets, found = [0], []
    for ids in lists:
        found.extend([numbers.setdefault(each, len(numbers)) for each in ids])
        offsets.append(len(found))
    return np.array(offsets, dtype=np.int64), np.array(found, dtype=np.int64)


def hash_tokens(
    offsets: Integers, tokens: Integers, block_tokens: int
) -> tuple[Integers, Integers]:
    """Give one id for each full block of ``block_tokens`` token ids, equal for equal tokens.

    ``tokens[offsets[i] : offsets[i + 1]]`` is prompt i. A partial last block gets no id.
    """
    numbers: dict[bytes, int] = {}
    counts = np.diff(offsets) // block_tokens
    ids = np.empty(int(counts.sum()), dtype=np.int64)
    at = 0
    for first, count in zip(offsets[:-1].tolist(), counts.tolist(), strict=True):
        for block in range(count):
            start = first + block * block_tokens
            content = tokens[start : start + block_tokens].tobytes()
            ids[at] = numbers.setdefault(content, len(numbers))
            at += 1
    return np.concatenate(([0], np.cumsum(counts))), ids
