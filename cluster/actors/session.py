"""Starts or joins Ray, creates the actors, and releases both on exit.

Ray reads its environment when it is imported, so nothing here imports it before ``connected`` has
set that up: what needs it is imported inside functions.
"""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Self

from cluster.actors.connect import Session, connected
from cluster.actors.placement import Packing, check_cards_per_actor, pack
from cluster.scenario.engine_names import CardsPerActor

if TYPE_CHECKING:
    from cluster.actors.actor_group import ActorGroup, WorkerState


class ActorSession:
    """What was asked of Ray, and what has been opened for it."""

    def __init__(
        self, address: str | None, cards_per_actor: CardsPerActor, notice: Callable[[str], None]
    ) -> None:
        check_cards_per_actor(cards_per_actor)
        self._address = address
        self._cards_per_actor = cards_per_actor
        self._notice = notice
        self._open = ExitStack()
        self._actor_group: ActorGroup | None = None
        self._session: Session | None = None
        self._leader: ActorSession | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self._open.close()

    @property
    def actor_group(self) -> "ActorGroup":
        """The actor group that has been created."""
        if self._actor_group is None:
            raise RuntimeError("the machine is assembled first")
        return self._actor_group

    def create_actors(
        self, share: "WorkerState", cards: Mapping[int, Any], servers: Mapping[int, int]
    ) -> "ActorGroup":
        """Start or join Ray and create an actor for every card; both maps are in card order.

        Raises
        ------
        RayStartError, ActorGroupError
            There is no such Ray, or it cannot host the cards.
        """
        session = self._connected()
        from cluster.actors.actor_group import ActorGroup

        packing = pack(servers, self._cards_per_actor, cpus=session.cpus)
        actor_group = ActorGroup(
            packing, share, cards, self._notice, at_once=max(1, int(session.cpus))
        )
        self._open.callback(actor_group.release)
        self._tell(packing, actor_group.create_actors(), session)
        self._actor_group = actor_group
        return actor_group

    def beside(self) -> "ActorSession":
        """For another actor group on the same Ray; it is let go with this one."""
        other = ActorSession(self._address, self._cards_per_actor, self._notice)
        other._leader = self
        return other

    def _connected(self) -> Session:
        """The Ray of this one, or of the one that it stands beside."""
        if self._leader is not None:
            session = self._leader._connected()
            self._leader._open.callback(self._open.close)  # before the Ray that it needs
            return session
        if self._session is None:
            self._session = self._open.enter_context(connected(self._address))
        return self._session

    def _tell(self, packing: Packing, nodes: int, session: Session) -> None:
        where = "a private Ray" if session.private else "the Ray cluster"
        self._notice(
            f"ray: {len(packing.handles)} cards in {len(packing.actors)} actors "
            f"({packing.cards_per_actor} per actor) on {nodes} node{'s' * (nodes > 1)} of {where}"
        )
