"""The group of Ray actors of one run: one placement bundle per server; lost actors are
restarted."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, ClassVar, Protocol, TypeAlias

import ray
from ray.exceptions import (
    NodeDiedError,
    ObjectLostError,
    OutOfMemoryError,
    RayActorError,
    RayTaskError,
    WorkerCrashedError,
)
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from cluster.actors.import_guard import block_pandas
from cluster.actors.placement import Packing

Ref: TypeAlias = Any
"""``ray.ObjectRef``, whose stubs know nothing of what it refers to."""

SLOW_S = 1.5
"""Who has to wait longer than this is told why."""

REBUILDS = 3
"""So often a card's actor is made anew; the next loss ends the run."""

FRUITLESS = 3
"""So often in a row something may be lost though no actor is."""

PLACING_S = 120.0
"""If no actor comes up within this, there is no node that can take one."""

RETRY_S = 0.5
"""Pause before an actor that did not come up is started again."""

BUNDLE = {"CPU": 0.001}
"""A bundle must ask for something; the actors themselves ask for nothing."""

LOSSES = (RayActorError, ObjectLostError, NodeDiedError, WorkerCrashedError, OutOfMemoryError)


class CardLostError(RuntimeError):
    """The process of some card is lost again and again."""

    exit_code: ClassVar[int] = 1


class ActorGroupError(RuntimeError):
    """The Ray cluster cannot host the cards; says why."""

    exit_code: ClassVar[int] = 3


class Lost(Exception):  # noqa: N818 - no error: work that has to be done again
    """A process or an object on the way has gone; what was asked for must be asked again."""


class Worker(Protocol):
    """A share of some cards: what is asked of it is one of its methods."""

    def version(self) -> str:
        """What must be equal in all processes of a run for its bits to be so."""


WorkerState: TypeAlias = Callable[[Sequence[Any]], Worker]
"""Makes the share of some cards from their descriptions, of which the actor group reads only
``name``."""


class CardActor:
    """The shell around the share of some cards."""

    def __init__(self, share: WorkerState, cards: Sequence[Any]) -> None:
        block_pandas()
        self._share = share(cards)

    def node(self) -> str:
        return str(ray.get_runtime_context().get_node_id())

    def do(self, method: str, *args: object) -> Any:
        """Have the share do something."""
        return getattr(self._share, method)(*args)


def fetch(ref: Ref) -> Any:
    """Wait for an answer.

    Raises
    ------
    Lost
        It cannot come any more.
    ActorGroupError
        The actor cannot even be made: corsair-sim is not installed there, most likely.
    Exception
        Whatever the work itself has raised.
    """
    try:
        return ray.get(ref)
    except RayTaskError as error:
        if isinstance(error.cause, LOSSES):
            raise Lost from error
        raise error.cause from None
    except RayActorError as error:
        if "creation task" in str(error):
            reason = str(error).strip().splitlines()[-1].strip()
            raise ActorGroupError(f"a card's actor cannot be made on its node: {reason}") from error
        raise Lost from error
    except LOSSES as error:
        raise Lost from error


class ActorGroup:
    """All actors of a run."""

    def __init__(
        self,
        packing: Packing,
        share: WorkerState,
        cards: Mapping[int, Any],
        notice: Callable[[str], None],
        *,
        at_once: int,
    ) -> None:
        self.packing = packing
        self._share = share
        self.cards: list[tuple[Any, ...]] = [
            tuple(cards[card] for card in hosted) for hosted in packing.actors
        ]
        """By actor."""
        self.at_once = at_once
        """Parts of a run that are worth running at the same time."""
        self._notice = notice
        self._rebuilt = [0] * len(self.cards)
        self._fruitless = 0
        self._group = placement_group([BUNDLE] * (1 + max(packing.bundles)), strategy="SPREAD")
        self._actors: list[Any] = []
        self._leaders: list[int] = []
        self._homes: list[str] = []

    def __len__(self) -> int:
        return len(self.cards)

    def create_actors(self) -> int:
        """Start all actors; return on how many nodes, when every one has answered."""
        if not self._group.wait(PLACING_S):
            raise ActorGroupError(
                f"the Ray cluster has no room for {self._group.bundle_count} servers of cards: no "
                f"node with a free CPU within {PLACING_S:.0f} s"
            )
        self._actors = [self._make(actor) for actor in range(len(self))]
        self._renew()
        nodes = [fetch(actor.node.remote()) for actor in self._actors]
        versions = [fetch(self.ask(actor, "version")) for actor in range(len(self))]
        own = self._share([]).version()
        others = sorted({node for node, v in zip(nodes, versions, strict=True) if v != own})
        if others:
            raise ActorGroupError(
                f"another version of corsair-sim runs on node {others[0]}: install the same one "
                "on all nodes of the Ray cluster"
            )
        self._homes = nodes
        self._leaders = [nodes.index(node) for node in dict.fromkeys(nodes)]
        return len(self._leaders)

    def home(self, actor: int) -> str:
        """The node on which an actor was started."""
        return self._homes[actor]

    def lead(self, method: str, *args: object) -> None:
        """Have one actor of each node do something before the others; it may be slow."""
        refs = [self.ask(actor, method, *args) for actor in self._leaders]
        _, slow = ray.wait(refs, num_returns=len(refs), timeout=SLOW_S)
        if slow:
            self._notice("compiling the engine, once per node, about half a minute")
        for ref in refs:
            with suppress(Lost):  # the others then compile for themselves
                fetch(ref)

    def ask(self, actor: int, method: str, *args: object, answers: int = 1) -> Any:
        """Have an actor do something; the reference of its answer, or of several."""
        return self._actors[actor].do.options(num_returns=answers).remote(method, *args)

    def price(self, inputs: object, jobs: Sequence[Any], cards: Sequence[int]) -> list[Any]:
        """Have each job priced by the actor of the card beside it, which has such work, once."""
        shared = ray.put(inputs)
        todo: dict[int, list[int]] = defaultdict(list)
        for number, card in enumerate(cards):
            todo[self.actor_of(card)].append(number)
        done: dict[int, Any] = {}
        while todo:
            refs = {
                actor: self.ask(actor, "price", shared, [jobs[number] for number in numbers])
                for actor, numbers in todo.items()
            }
            for actor, ref in refs.items():
                with suppress(Lost):
                    done |= zip(todo[actor], fetch(ref), strict=True)
                    del todo[actor]
            if todo:
                self.mend()
        return [done[number] for number in range(len(jobs))]

    def actor_of(self, card: int) -> int:
        """The actor that hosts a card (its index in the map)."""
        return self.packing.handles[card].actor

    def mend(self) -> set[int]:
        """Something was lost: make every lost actor anew; return which they were.

        Raises
        ------
        CardLostError
            One has been lost too often.
        ActorGroupError
            There is no room for one any more, or again and again it was none of the actors.
        """
        lost = self._renew()
        self._fruitless = 0 if lost else self._fruitless + 1
        if self._fruitless > FRUITLESS:
            raise ActorGroupError("Ray loses objects again and again: look into its logs")
        return lost

    def _renew(self) -> set[int]:
        lost = self._silent(range(len(self)))
        for actor in sorted(lost):
            self._count(actor)
            self._replace(actor)
        deadline = time.monotonic() + PLACING_S
        waiting = self._silent(lost)
        while waiting:  # started on a node that has gone, of which Ray did not know yet
            if time.monotonic() > deadline:
                raise ActorGroupError(self._homeless(len(waiting)))
            time.sleep(RETRY_S)
            for actor in sorted(waiting):
                self._replace(actor)
            waiting = self._silent(waiting)
        return lost

    def release(self) -> None:
        """Let the actors and their bundles go."""
        for actor in self._actors:
            with suppress(Exception):
                ray.kill(actor, no_restart=True)
        with suppress(Exception):
            remove_placement_group(self._group)

    def _silent(self, actors: Iterable[int]) -> set[int]:
        """Those of the actors that are lost; waits for those that are starting."""
        refs = {actor: self._actors[actor].node.remote() for actor in actors}
        if not refs:
            return set()
        late = list(refs.values())
        while late:  # many actors may take minutes, but one after the other comes up
            come, late = ray.wait(late, num_returns=1, timeout=PLACING_S)
            if not come:
                raise ActorGroupError(self._homeless(len(late)))
        return {actor for actor, ref in refs.items() if not _answers(ref)}

    def _homeless(self, actors: int) -> str:
        return f"{actors} of {len(self)} actors have found no node within {PLACING_S:.0f} s"

    def _make(self, actor: int) -> Any:
        place = PlacementGroupSchedulingStrategy(
            placement_group=self._group,
            placement_group_bundle_index=self.packing.bundles[actor],
        )
        remote: Any = ray.remote(num_cpus=0, max_restarts=0)(CardActor)
        return remote.options(scheduling_strategy=place, name=None).remote(
            self._share, self.cards[actor]
        )

    def _count(self, actor: int) -> None:
        """Note that an actor is lost, and give up if it was so too often."""
        cards = self.cards[actor]
        names = cards[0].name + (f" (and {len(cards) - 1} more)" if len(cards) > 1 else "")
        if self._rebuilt[actor] == REBUILDS:
            raise CardLostError(
                f"the process of card {names} was lost {REBUILDS + 1} times: look for the reason "
                "in Ray's logs on its node (out of memory?)"
            )
        self._rebuilt[actor] += 1
        self._notice(f"ray: card {names} was lost; its work is done again")

    def _replace(self, actor: int) -> None:
        with suppress(Exception):
            ray.kill(self._actors[actor], no_restart=True)
        self._actors[actor] = self._make(actor)


def _answers(ref: Ref) -> bool:
    try:
        fetch(ref)
    except Lost:
        return False
    return True
