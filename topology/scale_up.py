"""Scale-up networks: cards that reach each other through an NVSwitch, or over links of a mesh."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from topology.paths import Network
from topology.types import SCALE_UP, LinkKind, NodeKind

Indices = npt.NDArray[np.int32]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleUp:
    """Which of C cards share a scale-up network, and their links in it."""

    kind: LinkKind | None
    """The first of SCALE_UP that the map has, None where it has none."""
    domain: Indices
    """[C] cards with the same number share a network; a card without one has a number alone."""
    place: Indices
    """[C] which card of its domain it is."""
    up: Indices
    """[C] link to the NVSwitch, -1 where there is none."""
    down: Indices
    """[C] the same cable the other way."""
    mesh: Indices
    """[C, k] link to the card at each place of the domain, -1 where there is none."""

    def kind_of(self, cards: Indices) -> LinkKind | None:
        """The kind of link that some of the cards have."""
        if (self.up[cards] >= 0).any():
            return LinkKind.NVLINK
        return LinkKind.MESH if self.mesh[cards].max(initial=-1) >= 0 else None

    def links(self, src: int, dst: int) -> list[int]:
        """The links from a card to another of its domain."""
        if self.up[src] >= 0:
            return [int(self.up[src]), int(self.down[dst])]
        return [int(self.mesh[src, self.place[dst]])]

    def latency_ps(self, link_ps: Integers, start: Integers, end: Integers) -> Integers:
        """Of the ways inside domains; without meaning for cards of different ones."""
        through = link_ps[self.up[start]] + link_ps[self.down[end]]
        if not self.mesh.shape[1]:
            return through
        place = np.minimum(self.place[end], self.mesh.shape[1] - 1)
        direct = link_ps[self.mesh[start, place]]
        return np.where(self.up[start] >= 0, through, direct)


def find_scale_up(network: Network, cards: Sequence[str], kinds: Sequence[LinkKind]) -> ScaleUp:
    """The scale-up networks of a map whose link l is of ``kinds[l]``."""
    up, domain = [], []
    meshed: list[dict[str, int]] = []
    for card in cards:
        switched = network.steps(card, NodeKind.NVSWITCH)
        direct = network.steps(card, NodeKind.CARD)
        mates = {name: link for link, name in direct if kinds[link] == LinkKind.MESH}
        up.append(switched[0][0] if switched else -1)
        meshed.append(mates)
        domain.append(switched[0][1] if switched else min([card, *mates]))
    numbers: dict[str, int] = {}
    members: dict[str, list[str]] = {}
    for card, name in zip(cards, domain, strict=True):
        numbers.setdefault(name, len(numbers))
        members.setdefault(name, []).append(card)
    width = max(
        (len(members[d]) for d, mates in zip(domain, meshed, strict=True) if mates), default=0
    )
    mesh = np.full((len(cards), width), -1, np.int32)
    for row, (name, mates) in enumerate(zip(domain, meshed, strict=True)):
        for place, mate in enumerate(members[name] if mates else ()):
            mesh[row, place] = mates.get(mate, -1)
    return ScaleUp(
        kind=next((kind for kind in SCALE_UP if kind in kinds), None),
        domain=np.array([numbers[name] for name in domain], np.int32),
        place=np.array(
            [members[name].index(card) for card, name in zip(cards, domain, strict=True)], np.int32
        ),
        up=np.array(up, np.int32),
        down=np.array([network.opposite[link] if link >= 0 else -1 for link in up], np.int32),
        mesh=mesh,
    )
