"""Assigns cards to actors. Results are per card and do not depend on it."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from cluster.scenario.engine_names import CardsPerActor

FEW_ACTORS = 8
"""This many actors start in seconds on any machine."""

ACTORS_PER_CPU = 4
"""Most actors per CPU: with more, starting them takes longer than their work (measured: 64 actors
on two CPUs start in half a minute)."""


class PackingError(ValueError):
    """An invalid number of cards per actor."""

    exit_code: ClassVar[int] = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Packing:
    """Cards to actors, actors to bundles; a bundle stays together on one node."""

    cards_per_actor: int
    actors: tuple[tuple[int, ...], ...]
    """The cards of each actor, in the order of the topology over all actors."""
    bundles: tuple[int, ...]
    """[actor] its bundle: that of the server of its first card."""
    actor_of: dict[int, int]
    """By card (its index in the topology)."""


def auto_cards_per_actor(cards: int, cpus: float) -> int:
    """1 if ``cpus`` can run that many actors, else the smallest sufficient power of 2.

    >>> auto_cards_per_actor(8, cpus=2), auto_cards_per_actor(64, cpus=2)
    (1, 8)
    """
    most = max(FEW_ACTORS, ACTORS_PER_CPU * int(cpus))
    each = 1
    while -(-cards // each) > most:
        each *= 2
    return each


def pack(servers: Mapping[int, int], cards_per_actor: CardsPerActor, *, cpus: float) -> Packing:
    """Assign consecutive cards to one actor; ``servers`` has the server of each card.

    An actor that is smaller than a server stays inside it.

    Raises
    ------
    PackingError
        ``cards_per_actor`` is neither ``auto`` nor at least 1.
    """
    check_cards_per_actor(cards_per_actor)
    requested = cards_per_actor
    each = auto_cards_per_actor(len(servers), cpus) if requested == "auto" else requested
    largest = max(Counter(servers.values()).values(), default=0)
    actors: list[list[int]] = []
    for card, server in servers.items():
        last = actors[-1] if actors else []
        full = len(last) == each
        elsewhere = bool(last) and each < largest and servers[last[0]] != server
        if not last or full or elsewhere:
            actors.append([])
        actors[-1].append(card)
    homes = [servers[cards[0]] for cards in actors]
    numbers = {server: bundle for bundle, server in enumerate(dict.fromkeys(homes))}
    return Packing(
        cards_per_actor=each,
        actors=tuple(tuple(cards) for cards in actors),
        bundles=tuple(numbers[home] for home in homes),
        actor_of={card: actor for actor, cards in enumerate(actors) for card in cards},
    )


def check_cards_per_actor(cards_per_actor: CardsPerActor) -> None:
    """Refuse values that are neither ``auto`` nor at least 1.

    Raises
    ------
    PackingError
        The value is named.
    """
    if cards_per_actor != "auto" and not cards_per_actor >= 1:
        raise PackingError(f"cards_per_actor is auto or at least 1, got {cards_per_actor!r}")
