"""The algorithms of collectives: one file each, by their names in scenarios.

The closed form (``schedule``) and the transfers (``coflows``, ``messages``) derive from its rounds.
"""

from collections.abc import Sequence
from difflib import get_close_matches
from functools import cache, lru_cache
from importlib import import_module
from typing import get_args

from cluster.perf_model.collectives.algorithms.rounds import Algorithm, Round
from cluster.scenario.collectives import AlgorithmName

ALGORITHMS = tuple(name for name in get_args(AlgorithmName) if name != "auto")
"""In the order of ``auto``: the first of equally fast ones is chosen."""


class CollectiveError(ValueError):
    """A collective, a group or an algorithm that does not exist."""

    exit_code = 2


@cache
def registered() -> dict[str, Algorithm]:
    """Every algorithm by name, in the order of ALGORITHMS."""
    return {name: import_module(f"{__name__}.{name}").ALGORITHM for name in ALGORITHMS}


def algorithms_of(collective: str, *, levels: bool = True) -> tuple[str, ...]:
    """The names of its algorithms; without ``levels`` only of those that need none.

    Raises
    ------
    CollectiveError
        There is no such collective.
    """
    known = registered()
    found = [name for name, one in known.items() if collective in one.collectives]
    if not found:
        collectives = dict.fromkeys(name for one in known.values() for name in one.collectives)
        near = get_close_matches(collective, collectives, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise CollectiveError(
            f"there is no collective {collective!r}, but {', '.join(collectives)}{hint}"
        )
    return tuple(name for name in found if levels or not known[name].by_level)


@lru_cache(maxsize=256)
def candidates(
    collective: str, algorithm: str, ranks: int, sizes: tuple[int, ...]
) -> tuple[tuple[Round, ...], ...]:
    """The rounds of every schedule that the choice allows; ``auto`` allows all.

    Raises
    ------
    CollectiveError
        There is no such collective, or it has no such algorithm.
    """
    known = algorithms_of(collective)
    _check(collective, algorithm, ("auto", *known))
    return tuple(
        tuple(rounds)
        for name in (known if algorithm == "auto" else (algorithm,))
        for rounds in registered()[name].candidates(collective, ranks, sizes)
    )


def rounds_of(collective: str, algorithm: str, ranks: int) -> tuple[Round, ...]:
    """The rounds of an algorithm over equal ranks; none for a single one.

    Raises
    ------
    CollectiveError
        As ``candidates``.
    """
    _check(collective, algorithm, algorithms_of(collective))
    return candidates(collective, algorithm, ranks, (ranks,))[0] if ranks > 1 else ()


def _check(collective: str, algorithm: str, allowed: Sequence[str]) -> None:
    if algorithm not in allowed:
        raise CollectiveError(
            f"{collective} has no algorithm {algorithm!r}; it has {', '.join(allowed)}"
        )
