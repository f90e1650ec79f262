"""The engine of ``replay --engine ray``: cards price and account, the shared network is one part.

Nothing here imports Ray before it is connected to (see ``session``).
"""

from collections.abc import Iterator, Sequence

from cluster.actors.replay_worker import ReplayWorkerState
from cluster.actors.session import ActorSession
from cluster.perf_model.prices import PriceInputs
from cluster.perf_model.prices.program import RowJob, RowPrice
from cluster.replay.interface import Observer
from cluster.replay.op_tables import Seat
from cluster.replay.run import ReplayMachine, ReplayOutcome, assemble_replay, run_replay
from cluster.replay.tables import seats_of, seats_on
from cluster.scenario.resolve import ResolvedReplay
from results.remote_parts import Encoded


class RayReplayEngine:
    """Prices and accounts on actors; each method gives what its local counterpart gives."""

    def __init__(self, actor_session: ActorSession) -> None:
        self._actor_session = actor_session

    def assemble(self, resolved: ResolvedReplay) -> ReplayMachine:
        """Lay the machine out, create an actor for every card that has a rank, and price it.

        What cannot be laid out is refused before anything is started.
        """
        machine = assemble_replay(resolved, self._price)
        if resolved.planned is None:  # its operations bring their times or sizes along
            self._hire(seats_of(machine))
        return machine

    def execute(
        self, resolved: ResolvedReplay, machine: ReplayMachine, *, observer: Observer | None = None
    ) -> ReplayOutcome:
        """Run the program here: everybody shares one network, so that all is one part."""
        return run_replay(resolved, machine, observer=observer)

    def op_parts(self, machine: ReplayMachine, outcome: ReplayOutcome) -> Iterator[Encoded]:
        """One part per card that has a rank, in card order, from the card's own actor."""
        from cluster.actors.remote_operations import OpSource

        return iter(OpSource(self._actor_session.actor_group, machine, outcome))

    def _price(self, inputs: PriceInputs, jobs: Sequence[RowJob]) -> list[RowPrice]:
        self._hire(seats_on(inputs.routes, inputs.cards.ravel()))
        self._actor_session.actor_group.lead("warm")
        return self._actor_session.actor_group.price(
            inputs, jobs, [job.card(inputs) for job in jobs]
        )

    def _hire(self, seats: Sequence[Seat]) -> None:
        cards = {seat.index: seat for seat in sorted(seats, key=lambda seat: seat.index)}
        servers = {index: seat.server for index, seat in cards.items()}
        self._actor_session.create_actors(ReplayWorkerState, cards, servers)
