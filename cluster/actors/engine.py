"""The engine of ``serve --engine ray``: the same run as in one process, on the cards' actors.

Nothing here imports Ray before it is connected to (see ``session``).
"""

from collections.abc import Iterator

from cluster.actors.session import ActorSession
from cluster.actors.worker import WorkerState
from cluster.perf_model.card import cards_of
from cluster.scenario.resolve import Resolved
from cluster.serving.arrivals import arrivals_of
from cluster.serving.interface import Arrivals, Observer, OnSteps
from cluster.serving.run import Machine, MapOf, Outcome, lay_out, priced
from cluster.serving.tables import Columns, card_parts


class RayEngine:
    """Prices, runs and accounts on actors; each method gives what its local counterpart gives."""

    def __init__(self, actor_session: ActorSession) -> None:
        self._actor_session = actor_session
        self._closed: set[int] = set()

    def beside(self) -> "RayEngine":
        """Another one on the same Ray, for the other pool; it is closed with this one."""
        return RayEngine(self._actor_session.beside())

    def assemble(self, resolved: Resolved, mapped: MapOf | None = None) -> Machine:
        """Lay the machine out, create an actor for every card that has a rank, and price it."""
        layout = lay_out(resolved, mapped)  # before anything is started: it may not fit
        cards = {card.index: card for card in cards_of(layout.routes, layout.cards, layout.fit)}
        servers = {index: int(layout.routes.server[index]) for index in cards}
        actor_group = self._actor_session.create_actors(WorkerState, cards, servers)
        return priced(
            layout,
            lambda inputs, jobs: actor_group.price(
                inputs, jobs, [int(job.cards[0]) for job in jobs]
            ),
        )

    def execute(
        self,
        resolved: Resolved,
        machine: Machine,
        *,
        arrivals: Arrivals | None = None,
        observer: Observer | None = None,
        on_steps: OnSteps | None = None,
    ) -> Outcome:
        """Serve the requests; every card accounts for its own time."""
        from cluster.actors.executor import Executor

        execute = Executor(
            self._actor_session.actor_group,
            machine,
            arrivals_of(resolved) if arrivals is None else arrivals,
            max_bins=resolved.scenario.store.most_bins,
            begin_ps=resolved.begin_ps,
            observer=observer,
            on_steps=on_steps,
        )
        outcome = execute.outcome()
        self._closed = execute.closed
        return outcome

    def card_parts(self, machine: Machine, outcome: Outcome) -> Iterator[Columns]:
        """One part per card, in card order, from the card's own actor."""
        from cluster.actors.remote_tables import ColumnSource

        source = ColumnSource(self._actor_session.actor_group, self._closed, machine, outcome)
        return card_parts(machine, outcome, source.of)
