"""Starting a private Ray, or joining one that runs. Ray is imported late: see ``_PRIVATE``."""

import os
import socket
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from typing import Any, ClassVar

REACHABLE_S = 5.0
"""A Ray whose port does not answer within this is not there: Ray itself would try for minutes, and
then end the process."""

STORE_BYTES = 256 * 2**20
STORE_BYTES_PER_CPU = 32 * 2**20
"""Object store of a private Ray: three windows of the log of each part that runs, never more."""

_QUIET = {
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # else a warning about accelerators per actor
    "RAY_IGNORE_UNHANDLED_ERRORS": "1",  # a lost answer that nobody needs any more
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
    """Ray cannot be started or joined; says why."""

    exit_code: ClassVar[int] = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A Ray that this process is connected to."""

    cpus: float
    """Of the whole cluster."""
    nodes: int
    private: bool


@contextmanager
def connected(address: str | None = None) -> Iterator[Session]:
    """Join the Ray at ``address`` (``auto``: one that runs on this machine), else start our own.

    A Ray that this process already uses is used as it is. Our own listens on 127.0.0.1 and is gone
    with all its processes when the block ends; another one goes on running.

    Raises
    ------
    RayStartError
        There is no such Ray, or ours does not start.
    """
    with _environment(_QUIET) if address else private_environment():
        import ray

        ours = not ray.is_initialized()
        try:
            if ours:
                _initialise(ray, address)
            yield _session(ray, private=ours and address is None)
        finally:
            if ours:
                ray.shutdown()


def _session(ray: Any, *, private: bool) -> Session:
    alive = [node for node in ray.nodes() if node["Alive"]]
    return Session(
        cpus=sum(node["Resources"].get("CPU", 0.0) for node in alive),
        nodes=len(alive),
        private=private,
    )


def _initialise(ray: Any, address: str | None) -> None:
    """Connect, whatever Ray raises made one clear line."""
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
    """Open and close a connection to ``host:port``; other forms are for Ray to judge."""
    host, colon, port = (address or "").rpartition(":")
    if not colon or "/" in host or not port.isdigit():
        return
    socket.create_connection((host.strip("[]"), int(port)), REACHABLE_S).close()


def _reason(error: BaseException) -> str:
    """Return the first line of what Ray says, or what sort of error it is."""
    lines = str(error).strip().splitlines()
    return f"{lines[0] if lines else 'no reason given'} ({type(error).__name__})"


def private_environment() -> AbstractContextManager[None]:
    """Variables for a Ray of our own: on loopback only, and quiet."""
    return _environment(_QUIET | _PRIVATE)


@contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    """Set what the user has not set, and take it back at the end."""
    ours = {name: value for name, value in variables.items() if name not in os.environ}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name in ours:
            os.environ.pop(name, None)
