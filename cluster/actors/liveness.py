"""Ends a run whose Ray has died, and a private Ray whose run has; refuses half a cluster."""

import _thread
import atexit
import ipaddress
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

Place: TypeAlias = tuple[str, int]

EVERY_S = 1.0
LOST_AFTER = 3
"""Failed connections one after the other."""
CONNECT_S = 5.0
STUCK_S = 10.0
"""Longest wait for a call of Ray to end after that."""


class RayLostError(RuntimeError):
    """The GCS or the raylet of this node has died."""

    exit_code: ClassVar[int] = 3


class UnreachableError(RuntimeError):
    """Nodes of the cluster that this process, or others of it, cannot reach."""


@contextmanager
def watched(ray: Any) -> Iterator[None]:
    """Run the block; RayLostError within seconds if the GCS or this node's raylet dies in it.

    Where a call of Ray waits for the dead and lets no exception through, the process ends: Ray
    itself would end it after a minute.
    """
    places, lost, over = _places(ray), list[str](), threading.Event()
    threading.Thread(target=_watch, args=(ray, places, lost, over), daemon=True).start()
    try:
        yield
    finally:  # the block may end in order too, if those above handle exceptions
        over.set()
        if lost:
            _abandon(ray)
            raise RayLostError(lost[0])


def _places(ray: Any) -> dict[str, Place]:
    """Where the GCS and the raylet of this node listen; Ray's client has neither."""
    places: dict[str, Place] = {}
    with suppress(Exception):
        context = ray.get_runtime_context()
        host, _, port = str(context.gcs_address).rpartition(":")
        places["Ray's GCS"] = host.strip("[]"), int(port)
        for node in ray.nodes():
            if node["NodeID"] == context.get_node_id():
                places["the raylet of this node"] = _place(node)
    return places


def _watch(ray: Any, places: Mapping[str, Place], lost: list[str], over: threading.Event) -> None:
    failed = dict.fromkeys(places, 0)
    while not lost and not over.wait(EVERY_S):
        for name, place in places.items():
            failed[name] = 0 if _answers(place) else failed[name] + 1
            if failed[name] >= LOST_AFTER:
                lost.append(f"{name} has died (killed, or out of memory?): the run was ended")
                break
    if lost and not over.is_set():
        _thread.interrupt_main()
        if not over.wait(STUCK_S):
            sys.stderr.write(f"corsair-sim: error: {lost[0]}\n")
            sys.stderr.flush()
            _kill(ray)
            os._exit(RayLostError.exit_code)


def _answers(place: Place) -> bool:
    try:
        socket.create_connection(place, CONNECT_S).close()
    except OSError:
        return False
    return True


def _abandon(ray: Any) -> None:
    """Leave a Ray that is dead in part: shutting it down may wait a minute, or for ever."""
    ending = threading.Thread(target=ray.shutdown, daemon=True)
    ending.start()
    ending.join(STUCK_S)
    atexit.unregister(ray.shutdown)
    _kill(ray)


def _kill(ray: Any) -> None:
    """End what is left of the processes of a private Ray."""
    with suppress(Exception):
        node = ray._private.worker._global_node
        if node is not None and node.head:
            node.kill_all_processes(check_alive=False, allow_graceful=False, wait=False)


@contextmanager
def reaped() -> Iterator[None]:
    """Run the block; if this process dies in it, its private Ray ends within ten seconds."""
    if not Path("/proc/self/fd").is_dir():
        yield
        return
    script = str(Path(__file__).with_name("reaper.py"))
    reaper = subprocess.Popen(
        [sys.executable, "-I", "-S", script, str(os.getpid())],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # out of reach of Ctrl-C, and of what ends our group
    )
    try:
        yield
    finally:
        with suppress(OSError):
            reaper.communicate(b"q")


def check_nodes(nodes: Sequence[Mapping[str, Any]]) -> None:
    """Refuse a cluster whose nodes cannot all reach each other.

    Raises
    ------
    UnreachableError
        One node is on a loopback address and another is not, or one does not answer.
    """
    places = {_place(node) for node in nodes if node["Alive"]}
    inside = sorted({host for host, _ in places if _is_loopback(host)})
    outside = sorted({host for host, _ in places} - set(inside))
    if inside and outside:
        raise UnreachableError(
            f"a node is on the loopback address {inside[0]}, which {', '.join(outside)} cannot "
            "reach: start it with --node-ip-address of its own"
        )
    with ThreadPoolExecutor(max_workers=16) as pool:
        silent = sorted(
            place for place, up in zip(places, pool.map(_answers, places), strict=True) if not up
        )
    if silent:
        names = ", ".join(f"{host}:{port}" for host, port in silent)
        raise UnreachableError(f"{len(silent)} of {len(places)} nodes do not answer: {names}")


def _place(node: Mapping[str, Any]) -> Place:
    return str(node["NodeManagerAddress"]), int(node["NodeManagerPort"])


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
