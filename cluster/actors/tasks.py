"""Ray tasks with a bounded number in flight; lost tasks are reported, results are unordered.

The caller defines the work: a function that workers can import, and its arguments. Ray is
imported late, as in the whole package: it reads its environment when it is imported.
"""

import time
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from importlib import import_module
from typing import Any, ClassVar, Generic, Self, TypeAlias, TypeVar

from cluster.actors.code_version import code_version
from cluster.actors.session import Session, connected

Key = TypeVar("Key", bound=Hashable)
Ref: TypeAlias = Any
"""``ray.ObjectRef``, which has no type parameter in Ray's stubs."""

COUNTED_S = 5.0
"""How long a count of the cluster's CPUs is valid: nodes are added and removed."""
NO_NODE_S = 120.0
"""Timeout of a cluster without a CPU: the work cannot run."""


class TaskError(RuntimeError):
    """The Ray cluster cannot run the work; the message has the reason."""

    exit_code: ClassVar[int] = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer(Generic[Key]):
    """The result of a task: its value and a reference to its shared object, or why it was lost."""

    key: Key
    value: Any = None
    shared: Ref = None
    """Stays in the object store; may be an argument of later tasks."""
    lost: str | None = None
    """Why there is no value: process death, out of memory, lost node, timeout."""


@dataclass(slots=True)
class _InFlight:
    shared: Ref
    end_s: float | None
    overdue: bool = False


class TaskPool(Generic[Key]):
    """Tasks of one function; the caller submits as many as ``room`` allows and waits for some.

    ``work(*args)`` returns two objects: the result for the driver, and a shared object.
    """

    def __init__(self, work: Callable[..., tuple[Any, Any]], address: str | None = None) -> None:
        self._work = work
        self._address = address
        self._open = ExitStack()
        self._flights: dict[Ref, tuple[Key, _InFlight]] = {}
        self._counted = (0.0, 1)
        self._ray: Any = None
        self._remote: Any = None
        self.session: Session | None = None

    def __enter__(self) -> Self:
        self.session = self._open.enter_context(connected(self._address))
        self._ray = import_module("ray")
        # The caller resubmits a lost task: it can tell which part to suspect.
        self._remote = self._ray.remote(num_cpus=1, num_returns=2, max_retries=0)(_checked)
        return self

    def __exit__(self, *failure: object) -> None:
        for ref in self._flights:
            self._cancel(ref)
        self._open.close()

    def _cancel(self, ref: Ref) -> None:
        """Kill the process of a task."""
        with suppress(Exception):
            self._ray.cancel(ref, force=True)

    def __len__(self) -> int:
        """Tasks in flight."""
        return len(self._flights)

    @property
    def workers(self) -> int:
        """CPUs of the cluster, recounted every few seconds.

        Raises
        ------
        TaskError
            It has had none for two minutes.
        """
        counted_s, cpus = self._counted
        began_s = time.monotonic()
        if began_s - counted_s < COUNTED_S:
            return cpus
        while (cpus := int(self._ray.cluster_resources().get("CPU", 0))) < 1:
            if time.monotonic() - began_s > NO_NODE_S:
                raise TaskError(f"the Ray cluster has had no CPU for {NO_NODE_S:.0f} s")
            time.sleep(1.0)
        self._counted = (time.monotonic(), cpus)
        return cpus

    def put(self, value: object) -> Ref:
        """Put a value into the object store; it stays there while its reference exists."""
        return self._ray.put(value)

    def submit(self, key: Key, *args: object, end_after_s: float | None = None) -> None:
        """Submit work; references among the arguments are resolved.

        After ``end_after_s`` its process is killed.
        """
        answer, shared = self._remote.remote(self._work, code_version(), *args)
        end_s = None if end_after_s is None else time.monotonic() + end_after_s
        self._flights[answer] = (key, _InFlight(shared, end_s))

    def answers(self, timeout_s: float) -> Iterator[Answer[Key]]:
        """Results within ``timeout_s``; the first one ends the wait.

        Raises
        ------
        Exception
            Raised by the work itself.
        """
        now_s = time.monotonic()
        for ref, (_, flight) in self._flights.items():
            if flight.end_s is not None and now_s > flight.end_s and not flight.overdue:
                flight.overdue = True
                self._cancel(ref)
        wait = self._ray.wait
        come, _ = wait(list(self._flights), num_returns=1, timeout=timeout_s)
        if come:
            more, _ = wait(list(self._flights), num_returns=len(self._flights), timeout=0)
            come = list(dict.fromkeys([*come, *more]))
        for ref in come:
            key, flight = self._flights.pop(ref)
            yield self._answer(ref, key, flight)

    def _answer(self, ref: Ref, key: Key, flight: _InFlight) -> Answer[Key]:
        errors = self._ray.exceptions
        try:
            return Answer(key=key, value=self._ray.get(ref), shared=flight.shared)
        except errors.RayTaskError as error:
            if not isinstance(error.cause, errors.RayError):
                raise error.cause from None
            return Answer(key=key, lost=_why(error.cause, flight))
        except errors.RayError as error:
            return Answer(key=key, lost=_why(error, flight))


def _checked(work: Callable[..., tuple[Any, Any]], version: str, *args: object) -> tuple[Any, Any]:
    """Run the work if this node has the driver's version of the code."""
    if code_version() != version:
        raise TaskError(
            "another version of corsair-sim runs on a node: install the same one on all nodes of"
            " the Ray cluster"
        )
    return work(*args)


_REASONS: Mapping[str, str] = {
    "WorkerCrashedError": "its process died",
    "OutOfMemoryError": "the node ran out of memory",
    "NodeDiedError": "its node was lost",
    "ObjectLostError": "an argument was on a lost node",
}


def _why(error: BaseException, flight: _InFlight) -> str:
    if flight.overdue:
        return "it exceeded its time limit and was killed"
    name = type(error).__name__
    return _REASONS.get(name, f"Ray lost it ({name})")
