"""Starts or joins Ray, creates the actors, and releases both on exit.

Ray reads its environment when it is imported (see ``_PRIVATE``), so nothing here imports it before
``connected`` has set that up: what needs it is imported inside functions.
"""

import math
import os
import signal
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

from cluster.actors.liveness import RayLostError, UnreachableError, check_nodes, reaped, watched
from cluster.actors.placement import check_cards_per_actor, pack
from cluster.scenario.engine_names import CardsPerActor

if TYPE_CHECKING:
    from cluster.actors.actor_group import ActorGroup

REACHABLE_S = 5.0
"""Timeout of connecting to the port of a Ray: Ray itself would retry for minutes and then exit."""

STORE_BYTES = 256 * 2**20
STORE_BYTES_PER_CPU = 32 * 2**20
"""Object store of a private Ray: at most three windows of the log of each running part."""

_QUIET = {
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # else a warning about accelerators per actor
    "RAY_IGNORE_UNHANDLED_ERRORS": "1",  # a lost result that is no longer needed
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".*",  # else Ray writes about lost workers to our stdout
}
_PRIVATE = {
    # Ray listens on all interfaces unless its "clusters" are off; read when ray is imported.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_enable_metrics_collection": "0",
    "RAY_task_events_report_interval_ms": "0",
    "RAY_worker_niceness": "0",  # Ray's own 15 starves workers beside anything else that runs
}


class RayStartError(RuntimeError):
    """Ray cannot be started or joined; the message has the reason."""

    exit_code: ClassVar[int] = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """The Ray of this process."""

    cpus: float
    """Of the whole cluster."""
    private: bool


@contextmanager
def connected(address: str | None = None) -> Iterator[Session]:
    """Join the Ray at ``address`` (``auto``: one on this machine), else start a private one.

    A Ray that this process already uses is reused. A private Ray listens on 127.0.0.1 and stops
    when the block ends; a joined one keeps running.

    Raises
    ------
    RayStartError
        There is no such Ray, or the private one does not start.
    """
    with _environment(_QUIET) if address else private_environment():
        import ray

        if ray.is_initialized():
            yield _session(ray, private=False)
            return
        with ExitStack() as open_:
            if address is None:
                open_.enter_context(reaped())
            with _own_sigterm():
                _initialise(ray, address)
            lost = False
            try:
                if address is not None:
                    _check_nodes(ray, address)
                with watched(ray):
                    yield _session(ray, private=address is None)
            except RayLostError:
                lost = True
                raise
            finally:
                if not lost:
                    ray.shutdown()


@contextmanager
def _own_sigterm() -> Iterator[None]:
    """Keep our handler of SIGTERM: Ray's own exits at once, with 1."""
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        with suppress(ValueError, TypeError):  # not the main thread, or a handler not of Python
            signal.signal(signal.SIGTERM, handler)


def _check_nodes(ray: Any, address: str) -> None:
    """Refuse a joined Ray that can be reached in part only."""
    if address.startswith("ray://"):  # this process reaches its head alone
        return
    try:
        check_nodes(ray.nodes())
    except UnreachableError as error:
        raise RayStartError(f"cannot use the Ray at {address}: {error}") from None


def _session(ray: Any, *, private: bool) -> Session:
    alive = [node for node in ray.nodes() if node["Alive"]]
    cpus = math.fsum(node["Resources"].get("CPU", 0.0) for node in alive)
    return Session(cpus=cpus, private=private)


def _initialise(ray: Any, address: str | None) -> None:
    """Connect; turn any error of Ray into one clear line."""
    own = {
        "address": "local",  # even where RAY_ADDRESS names another, or another runs here
        "include_dashboard": False,
        "object_store_memory": STORE_BYTES + STORE_BYTES_PER_CPU * (os.cpu_count() or 1),
    }
    try:
        _check_reachable(address)
        joining = {"address": address}
        ray.init(
            log_to_driver=False, logging_level="ERROR", **(own if address is None else joining)
        )
    except (Exception, SystemExit) as error:
        with suppress(Exception):
            ray.shutdown()
        what = "start Ray" if address is None else f"join the Ray at {address}"
        raise RayStartError(f"cannot {what}: {_reason(error)}") from error


def _check_reachable(address: str | None) -> None:
    """Open and close a connection to ``host:port``; Ray checks other forms."""
    host, colon, port = (address or "").rpartition(":")
    if not colon or "/" in host or not port.isdigit():
        return
    socket.create_connection((host.strip("[]"), int(port)), REACHABLE_S).close()


def _reason(error: BaseException) -> str:
    """Return the first line of Ray's message, or the type of the error."""
    lines = str(error).strip().splitlines()
    return f"{lines[0] if lines else 'no reason reported'} ({type(error).__name__})"


def private_environment() -> AbstractContextManager[None]:
    """Environment of a private Ray: on loopback only, and quiet."""
    return _environment(_QUIET | _PRIVATE)


@contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    """Set the variables that are not set, and restore the environment at the end."""
    ours = {name: value for name, value in variables.items() if name not in os.environ}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name in ours:
            os.environ.pop(name, None)


class ActorSession:
    """One Ray and the actor groups on it; Ray is started or joined with the first group."""

    def __init__(
        self, address: str | None, cards_per_actor: CardsPerActor, notice: Callable[[str], None]
    ) -> None:
        check_cards_per_actor(cards_per_actor)
        self._address = address
        self._cards_per_actor = cards_per_actor
        self._notice = notice
        self._open = ExitStack()
        self._session: Session | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self._open.close()

    def create_actors(
        self,
        cards: Mapping[int, Any],
        servers: Mapping[int, int],
        make: Callable[[Sequence[Any]], object] = tuple,
    ) -> "ActorGroup":
        """Create actors for the cards; both maps are in card order.

        ``make`` creates the state of an actor from its cards (see ``ActorGroup``).

        Raises
        ------
        RayStartError, ActorGroupError
            There is no such Ray, or it has no room for the cards.
        """
        if self._session is None:
            self._session = self._open.enter_context(connected(self._address))
        session = self._session
        from cluster.actors.actor_group import ActorGroup

        packing = pack(servers, self._cards_per_actor, cpus=session.cpus)
        at_once = max(1, int(session.cpus))
        actor_group = ActorGroup(packing, make, cards, self._notice, at_once=at_once)
        self._open.callback(actor_group.release)
        nodes = actor_group.create_actors()
        where = "a private Ray" if session.private else "the Ray cluster"
        self._notice(
            f"ray: {len(packing.actor_of)} cards in {len(packing.actors)} actors "
            f"({packing.cards_per_actor} per actor) on {nodes} node{'s' * (nodes > 1)} of {where}"
        )
        return actor_group
