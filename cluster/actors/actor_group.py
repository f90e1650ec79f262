"""The group of Ray actors of one run: one placement bundle per server; Ray restarts lost actors.

Ray retries calls until they return, in any order and perhaps twice. So a call either depends on
its arguments alone, or carries a sequence number that identifies a repeated or late call
(``cluster.actors.worker``).
"""

import os
import sys
from collections import defaultdict, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any, ClassVar, TypeAlias

import ray
from ray.exceptions import RayActorError, RayError, RayTaskError
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from cluster.actors.code_version import code_version
from cluster.actors.placement import Packing

Ref: TypeAlias = Any
"""``ray.ObjectRef``, which has no type parameter in Ray's stubs."""

Call: TypeAlias = tuple[int, Ref]
"""An actor and the reference of its result."""

SLOW_S = 1.5
"""Seconds of waiting after which a notice reports the reason."""

REBUILDS = 3
"""Restarts of an actor by Ray; the next loss ends the run."""

PLACING_S = 120.0
"""Timeout of scheduling: if no actor starts within it, no node has room."""

AHEAD = 2
"""Calls of ``in_order`` in flight."""

BUNDLE = {"CPU": 0.001}
"""Resources of a bundle, which must not be empty; the actors themselves request none."""


class CardLostError(RuntimeError):
    """The process of a card was lost more often than Ray may restart it."""

    exit_code: ClassVar[int] = 1


class ActorGroupError(RuntimeError):
    """The Ray cluster cannot host the cards; the message has the reason."""

    exit_code: ClassVar[int] = 3


class ObjectsLostError(ActorGroupError):
    """Ray has lost an argument or a result and cannot reconstruct it."""


class WithoutPandas:
    """An import finder that hides pandas.

    Arrow imports pandas if it is installed: 43 MB and a quarter of a second per actor.
    """

    @staticmethod
    def find_spec(name: str, _path: object = None, _target: object = None) -> None:
        """Raise for pandas; None for all other modules."""
        if name == "pandas":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


class CardActor:
    """The Ray actor of some cards; wraps their state.

    Results carry the process that they come from: a new process means a restart.
    """

    def __init__(self, make: Callable[[Sequence[Any]], Any], cards: Sequence[Any]) -> None:
        sys.meta_path.insert(0, WithoutPandas)
        self._process = str(ray.get_runtime_context().get_node_id()), os.getpid()
        self._state = make(cards)

    def call(self, function: Callable[..., Any], *args: object) -> tuple[object, Any]:
        """Call a function of its arguments alone."""
        return self._process, function(*args)

    def do(self, method: str, *args: object) -> tuple[object, Any]:
        """Call a method of the state."""
        return self._process, getattr(self._state, method)(*args)

    @ray.method(num_returns=2)
    def window(self, *args: object) -> tuple[tuple[object, Any], Any]:
        """Advance a part; the log is an object of its own, since other actors read it."""
        progress, log = self._state.window(*args)
        return (self._process, progress), log


class ActorGroup:
    """All actors of a run."""

    def __init__(
        self,
        packing: Packing,
        make: Callable[[Sequence[Any]], object],
        cards: Mapping[int, Any],
        notice: Callable[[str], None],
        *,
        at_once: int,
    ) -> None:
        """Reserve bundles; ``make`` creates the state of an actor from its cards.

        Only ``name`` of the cards is read here.
        """
        self.packing = packing
        self.cards = [tuple(cards[card] for card in hosted) for hosted in packing.actors]
        """By actor."""
        self.at_once = at_once
        """Parts of a run that may run in parallel."""
        self.losses = 0
        """Restarts of actors that results have shown so far."""
        self.nodes: list[str] = []
        """Where each actor was started."""
        self._make = make
        self._notice = notice
        self._processes: list[set[object]] = [set() for _ in self.cards]
        self._group = placement_group([BUNDLE] * (1 + max(packing.bundles)), strategy="SPREAD")
        self._actors: list[Any] = []

    def __len__(self) -> int:
        return len(self.cards)

    def create_actors(self) -> int:
        """Start all actors, wait for them, and return their number of nodes."""
        if not self._group.wait(PLACING_S):
            raise ActorGroupError(
                f"the Ray cluster has no room for {self._group.bundle_count} servers of cards: no "
                f"node with a free CPU within {PLACING_S:.0f} s"
            )
        self._actors = [self._start(actor) for actor in range(len(self))]
        refs = [actor.call.remote(_where) for actor in self._actors]
        late = refs
        while late:  # many actors may take minutes, but they start one by one
            come, late = ray.wait(late, num_returns=1, timeout=PLACING_S)
            if not come:
                raise ActorGroupError(
                    f"{len(late)} of {len(self)} actors have found no node within {PLACING_S:.0f} s"
                )
        for answer in enumerate(refs):
            node, address, version = self.fetch(*answer)
            if version != code_version():
                other = f"another version of corsair-sim runs on node {address}"
                raise ActorGroupError(f"{other}: install the same one on all nodes of the cluster")
            self.nodes.append(node)
        return len(set(self.nodes))

    def _start(self, actor: int) -> Any:
        place = PlacementGroupSchedulingStrategy(
            placement_group=self._group,
            placement_group_bundle_index=self.packing.bundles[actor],
        )
        remote: Any = ray.remote(num_cpus=0, max_restarts=REBUILDS, max_task_retries=-1)(CardActor)
        return remote.options(scheduling_strategy=place, name=None).remote(
            self._make, self.cards[actor]
        )

    def release(self) -> None:
        """Stop the actors and remove their bundles."""
        for actor in self._actors:
            with suppress(Exception):
                ray.kill(actor, no_restart=True)
        with suppress(Exception):
            remove_placement_group(self._group)

    def actor_of(self, card: int) -> int:
        """The actor that hosts a card (its index in the topology)."""
        return self.packing.actor_of[card]

    def call(self, actor: int, function: Callable[..., Any], *args: object) -> Call:
        """Call a pure function on an actor."""
        return actor, self._actors[actor].call.remote(function, *args)

    def do(self, actor: int, method: str, *args: object) -> Call:
        """Call a method of an actor's state."""
        return actor, self._actors[actor].do.remote(method, *args)

    def window(self, actor: int, *args: object) -> tuple[Call, Ref]:
        """Advance a part on an actor; the call, and the reference of the log."""
        progress, log = self._actors[actor].window.remote(*args)
        return (actor, progress), log

    def first(self, refs: Collection[Ref]) -> Ref:
        """Wait for the first of these results, as long as the nodes have room for the actors."""
        while True:
            come, _ = ray.wait(list(refs), num_returns=1, timeout=PLACING_S)
            if come:
                return come[0]
            if not self._group.wait(1.0):
                raise ActorGroupError(f"a lost actor has found no node within {PLACING_S:.0f} s")

    def fetch(self, actor: int, ref: Ref) -> Any:
        """Wait for a result.

        Raises
        ------
        CardLostError
            The actor has been lost too often.
        ActorGroupError
            It cannot be created (is corsair-sim installed there?) or has no room; lost objects.
        Exception
            Raised by the work itself.
        """
        self.first([ref])
        try:
            process, answer = ray.get(ref)
        except RayTaskError as error:
            if isinstance(error.cause, RayError):
                raise ObjectsLostError(f"Ray has lost an object: {_line(error, 0)}") from error
            raise error.cause from None
        except RayActorError as error:
            raise self._ended(actor, error) from error
        except RayError as error:
            raise ObjectsLostError(f"Ray has lost an object: {_line(error, 0)}") from error
        self._note(actor, process)
        return answer

    def lead(self, function: Callable[..., Any], *args: object) -> None:
        """Run a function, perhaps a slow one, on one actor of each node before the others."""
        calls = [
            self.call(self.nodes.index(node), function, *args) for node in dict.fromkeys(self.nodes)
        ]
        refs = [ref for _, ref in calls]
        if ray.wait(refs, num_returns=len(refs), timeout=SLOW_S)[1]:
            self._notice("compiling the engine, once per node, about 15 seconds")
        for call in calls:
            self.fetch(*call)

    def price(
        self,
        pricing: Callable[[Any, Sequence[Any]], Sequence[Any]],
        inputs: object,
        jobs: Sequence[Any],
        cards: Sequence[int],
    ) -> list[Any]:
        """Price each job on the actor of its card; ``cards`` has one card for each job."""
        shared = ray.put(inputs)
        numbers: dict[int, list[int]] = defaultdict(list)
        for number, card in enumerate(cards):
            numbers[self.actor_of(card)].append(number)
        calls = [
            self.call(actor, pricing, shared, [jobs[number] for number in own])
            for actor, own in numbers.items()
        ]
        done: dict[int, Any] = {}
        for call in calls:
            done |= zip(numbers[call[0]], self.fetch(*call), strict=True)
        return [done[number] for number in range(len(jobs))]

    def in_order(self, calls: Iterable[Call]) -> Iterator[Any]:
        """Results in order; at most AHEAD calls are submitted ahead of them."""
        drawn = iter(calls)
        coming = deque(islice(drawn, AHEAD))
        while coming:
            yield self.fetch(*coming.popleft())
            coming.extend(islice(drawn, 1))

    def _note(self, actor: int, process: object) -> None:
        """Report a lost actor if its result comes from a new process."""
        known = self._processes[actor]
        if known and process not in known:
            self.losses += 1
            self._notice(f"ray: card {self._names(actor)} was lost; its work is repeated")
        known.add(process)

    def _ended(self, actor: int, error: RayActorError) -> Exception:
        if "creation task" in str(error):
            return ActorGroupError(
                f"a card's actor cannot be created on its node: {_line(error, -1)}"
            )
        return CardLostError(
            f"the process of card {self._names(actor)} was lost {REBUILDS + 1} times: see Ray's "
            "logs on its node (out of memory?)"
        )

    def _names(self, actor: int) -> str:
        first, *others = self.cards[actor]
        return str(first.name) + (f" (and {len(others)} more)" if others else "")


def _where() -> tuple[str, str, str]:
    """This process's node, its address, and the version of the code."""
    address = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
    return ray.get_runtime_context().get_node_id(), address, code_version()


def _line(error: Exception, number: int) -> str:
    return str(error).strip().splitlines()[number].strip()
