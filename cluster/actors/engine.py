"""The engines of ``serve --engine ray`` and ``replay --engine ray``: the same runs as in one
process, on the cards' actors.

Ray is imported only once it is connected (see ``session``).
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from cluster.actors.session import ActorSession
from cluster.perf_model.attention import ATTENTION, WIDTH, layer_products
from cluster.perf_model.card import Card, cards_of
from cluster.perf_model.prices import PriceInputs, price_stages
from cluster.perf_model.prices.program import RowJob, RowPrice, price_rows
from cluster.replay.interface import Observer as ReplayObserver
from cluster.replay.op_tables import NamedCard, encoded_ops
from cluster.replay.run import ReplayMachine, ReplayOutcome, assemble_replay, run_replay
from cluster.replay.tables import by_card, card_ops, cards_of_ranks, named_cards
from cluster.scenario.load import ScenarioError
from cluster.scenario.resolve import Resolved, ResolvedReplay
from cluster.serving.arrivals import arrivals_of
from cluster.serving.interface import Arrivals, Observer, OnSteps
from cluster.serving.outcome import Outcome
from cluster.serving.run import Machine, MapOf, lay_out, priced
from cluster.serving.tables import Columns, card_parts, rank_columns
from results.remote_parts import ArrowBytes

if TYPE_CHECKING:
    from cluster.actors.actor_group import ActorGroup


class RayEngine:
    """Prices, runs and accounts on actors, with the same results as in one process."""

    _actor_group: "ActorGroup"
    """Of the assembled machine."""

    def __init__(self, actor_session: ActorSession) -> None:
        self._actor_session = actor_session

    def beside(self) -> "RayEngine":
        """A second engine on the same Ray, for the other pool."""
        return RayEngine(self._actor_session)

    def assemble(self, resolved: Resolved, mapped: MapOf | None = None) -> Machine:
        """Assemble the machine, create an actor for every card that has a rank, and price it."""
        from cluster.actors.worker import WorkerState

        if resolved.scenario.speculative is not None:
            raise ScenarioError("speculative runs in one process: use --engine local")
        layout = lay_out(resolved, mapped)  # before actors start: it may not fit
        cards = {card.index: card for card in cards_of(layout.routes, layout.cards, layout.fit)}
        servers = {index: int(layout.routes.server[index]) for index in cards}
        self._actor_group = self._actor_session.create_actors(cards, servers, WorkerState)
        return priced(
            layout,
            lambda inputs, jobs: self._actor_group.price(
                price_stages, inputs, jobs, [int(job.cards[0]) for job in jobs]
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
        """Serve the requests; the actor of every card accumulates its time."""
        from cluster.actors.executor import Executor

        return Executor(
            self._actor_group,
            machine,
            arrivals_of(resolved) if arrivals is None else arrivals,
            store=resolved.scenario.store,
            begin_ps=resolved.begin_ps,
            observer=observer,
            on_steps=on_steps,
        ).outcome()

    def card_parts(self, machine: Machine, outcome: Outcome) -> Iterator[Columns]:
        """One part per card, in card order, from the card's own actor."""
        actor_group, pool = self._actor_group, machine.fit.pool
        bounds = machine.prices.bounds
        calls = (
            actor_group.do(actor, "columns", pool, bounds) for actor in range(len(actor_group))
        )
        answers = enumerate(actor_group.in_order(calls))
        current, columns = next(answers)

        def columns_of(card: Card) -> Columns:
            nonlocal current, columns
            while current != actor_group.actor_of(card.index):  # actors are in the order of cards
                current, columns = next(answers)
            place = (card.replica, card.stage)
            if place not in columns:  # its actor was lost, but the driver has its sums
                columns[place] = rank_columns(outcome.bins, place, pool, bounds)
            own: Columns = columns[place]
            return own

        return card_parts(machine, outcome, columns_of)


class RayReplayEngine:
    """Prices and encodes on actors, with the same results as in one process."""

    _actor_group: "ActorGroup"
    """Of the assembled machine."""

    def __init__(self, actor_session: ActorSession) -> None:
        self._actor_session = actor_session

    def assemble(self, resolved: ResolvedReplay) -> ReplayMachine:
        """Assemble the machine, create an actor for every card that has a rank, and price it.

        A machine that does not fit is refused before any actor starts.
        """
        machine = assemble_replay(resolved, self._price)
        if resolved.planned is None:  # else its operations have their times or sizes
            self._create_actors(cards_of_ranks(machine))
        return machine

    def execute(
        self,
        resolved: ResolvedReplay,
        machine: ReplayMachine,
        *,
        observer: ReplayObserver | None = None,
    ) -> ReplayOutcome:
        """Run the program in the driver: all ranks share one network, so it is one part."""
        return run_replay(resolved, machine, observer=observer)

    def op_parts(self, machine: ReplayMachine, outcome: ReplayOutcome) -> Iterator[ArrowBytes]:
        """One part per card that has a rank, in card order, from the card's own actor."""
        actor_group, cards = self._actor_group, cards_of_ranks(machine)
        return actor_group.in_order(
            actor_group.call(
                actor_group.actor_of(cards[rank].index),
                encoded_ops,
                cards[rank],
                card_ops(machine, outcome, rank),
            )
            for rank in by_card(cards)
        )

    def _price(self, inputs: PriceInputs, jobs: Sequence[RowJob]) -> list[RowPrice]:
        self._create_actors(named_cards(inputs.routes, inputs.cards.ravel()))
        self._actor_group.lead(
            layer_products, np.zeros(1, ATTENTION), np.zeros((0, WIDTH), np.int64)
        )
        return self._actor_group.price(price_rows, inputs, jobs, [job.card(inputs) for job in jobs])

    def _create_actors(self, named: Sequence[NamedCard]) -> None:
        cards = {card.index: card for card in sorted(named, key=lambda card: card.index)}
        servers = {index: card.server for index, card in cards.items()}
        self._actor_group = self._actor_session.create_actors(cards, servers)
