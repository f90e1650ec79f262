"""The engine of ``--engine ray``: a run as in one process, carried out by the cards' actors.

Ray reads its environment when it is imported, so nothing here imports it before ``connected`` has
set that up: what needs it is imported inside functions.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Self

from cluster.actors.connect import Session, connected
from cluster.actors.packing import CardsPerActor, check_cards_per_actor, pack
from cluster.assembly import Layout, Machine, Outcome, arrivals_of, lay_out, max_bins, priced
from cluster.machine.card import cards_of
from cluster.outputs import Columns, card_parts
from cluster.scenario.resolve import Resolved
from cluster.serving.problem import Arrivals, Observer, OnSteps

if TYPE_CHECKING:
    from cluster.actors.crew import Crew


class RayEngine:
    """Prices, runs and accounts on actors; each method gives what its local counterpart gives."""

    def __init__(
        self,
        address: str | None = None,
        *,
        cards_per_actor: CardsPerActor = "auto",
        notice: Callable[[str], None] = lambda _: None,
    ) -> None:
        check_cards_per_actor(cards_per_actor)
        self._address = address
        self._cards_per_actor = cards_per_actor
        self._notice = notice
        self._open = ExitStack()
        self._crew: Crew | None = None
        self._session: Session | None = None
        self._leader: RayEngine | None = None
        self._closed: set[int] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self._open.close()

    def beside(self) -> "RayEngine":
        """Another one on the same Ray, for the other pool; it is closed with this one."""
        other = RayEngine(self._address, cards_per_actor=self._cards_per_actor, notice=self._notice)
        other._leader = self
        return other

    def assemble(self, resolved: Resolved) -> Machine:
        """Lay the machine out, hire an actor for every card that has a rank, and price it."""
        layout = lay_out(resolved)  # what does not fit is refused before anything is started
        self._crew = self._hire(layout, self._connected())
        return priced(layout, self._crew.price)

    def play(
        self,
        resolved: Resolved,
        machine: Machine,
        *,
        arrivals: Arrivals | None = None,
        observer: Observer | None = None,
        on_steps: OnSteps | None = None,
    ) -> Outcome:
        """Serve the requests; every card accounts for its own time."""
        from cluster.actors.play import Play

        play = Play(
            self._hired(),
            machine,
            arrivals_of(resolved) if arrivals is None else arrivals,
            max_bins=max_bins(resolved),
            observer=observer,
            on_steps=on_steps,
        )
        outcome = play.outcome()
        self._closed = play.closed
        return outcome

    def card_parts(self, machine: Machine, outcome: Outcome) -> Iterator[Columns]:
        """One part per card, in card order, from the card's own actor."""
        from cluster.actors.column_source import ColumnSource

        source = ColumnSource(self._hired(), self._closed, machine, outcome)
        return card_parts(machine, outcome, source.of)

    def _connected(self) -> Session:
        """The Ray of this engine, or of the one that it stands beside."""
        if self._leader is not None:
            session = self._leader._connected()
            self._leader._open.callback(self._open.close)  # before the Ray that it needs
            return session
        if self._session is None:
            self._session = self._open.enter_context(connected(self._address))
        return self._session

    def _hire(self, layout: Layout, session: Session) -> "Crew":
        from cluster.actors.crew import Crew

        cards = {card.index: card for card in cards_of(layout.routes, layout.cards, layout.fit)}
        servers = {index: int(layout.routes.server[index]) for index in cards}
        packing = pack(servers, self._cards_per_actor, cpus=session.cpus)
        crew = Crew(packing, cards, self._notice, at_once=max(1, int(session.cpus)))
        self._open.callback(crew.dismiss)
        nodes = crew.hire()
        where = "a private Ray" if session.private else "the Ray cluster"
        self._notice(
            f"ray: {len(cards)} cards in {len(crew)} actors ({packing.cards_per_actor} per actor) "
            f"on {nodes} node{'s' * (nodes > 1)} of {where}"
        )
        return crew

    def _hired(self) -> "Crew":
        if self._crew is None:
            raise RuntimeError("the machine is assembled first")
        return self._crew
