"""``sweep`` and ``resume``: run a sweep, observe it, continue one that was stopped."""

import platform
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from hashlib import sha256
from json import dumps
from pathlib import Path
from types import FrameType
from typing import Any

from cluster.scenario.engine_names import EngineName
from cluster.scenario.run_id import MODEL_VERSION
from cluster.studies.sweep.definition import Definition, of_content, read_definition
from cluster.studies.sweep.engines import Contents, Outcomes, RayEngine, run_here
from cluster.studies.sweep.input_cache import Library
from cluster.studies.sweep.observer import NO_OBSERVER, SweepObserver
from cluster.studies.sweep.point_rows import Collector, RowMaker
from cluster.studies.sweep.points import (
    Planned,
    Point,
    content_of,
    metric_names,
    plan_points,
)
from cluster.studies.sweep.reuse import adopt
from cluster.studies.sweep.run_point import Terms
from cluster.studies.sweep.schedule import Chunk
from results import open_sweep
from results.default_dirs import SWEEPS
from results.provenance import versions
from results.schema import sweep_table
from results.sweep import Sweep, metric_columns
from results.sweep_store import SweepWriter

RUNS = "runs"
"""Folder of whole runs inside a sweep's, if they are stored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepOptions:
    """Options of the execution; the points do not depend on them."""

    engine: EngineName = "local"
    ray_address: str | None = None
    limit: int | None = None
    """Stop after this many points."""
    drop: bool = False
    """Delete computed points that are no longer in the sweep."""
    retry_failed: bool = False
    observer: SweepObserver = NO_OBSERVER


def sweep(
    source: str | Path | Mapping[str, Any],
    *,
    out: str | Path | None = None,
    engine: EngineName = "local",
    ray_address: str | None = None,
    limit: int | None = None,
    drop: bool = False,
    observer: SweepObserver | None = None,
) -> Sweep:
    """Run a scenario in many variants, and open the dataset of the results.

    Points in the folder are not computed again (their run_id identifies them), so a sweep that was
    stopped or extended is resumed by the same call.

    Parameters
    ----------
    source
        A sweep file, or a mapping of the same shape, whose axes may be NumPy arrays.
    out
        The folder of the dataset; ``results/sweeps/<name>`` unless given.
    engine
        ``local`` runs points one after another in this process, ``ray`` as Ray tasks.
    ray_address
        With ``ray``: the address of a cluster, ``auto`` for one that runs on this machine, or None
        to start a private one.
    limit
        Stop after so many points.
    drop
        Remove computed points that the sweep no longer contains; without it they are an error.
    observer
        Called when points are planned, started and done.

    Returns
    -------
    The sweep, as ``open_sweep`` opens it. ``points`` has a row per point: ``status``, the axes by
    their dotted paths, and the metrics, whose units are in the schema.

    Raises
    ------
    ValueError
        In its classes with ``exit_code`` 2: the sweep file is wrong, or not one point is right.
    ResultsError
        The folder cannot be written, is in use, or holds something damaged.

    Examples
    --------
    >>> from corsair_sim import sweep
    >>> done = sweep({"name": "batch", "axes": [
    ...     {"grid": {"scheduler.max_num_seqs": [8, 16], "workload.synthetic.requests": [20]}}]})
    >>> done.status_counts["completed"], done.axes
    (2, ('scheduler.max_num_seqs', 'workload.synthetic.requests'))
    """
    definition = read_definition(source)
    folder = SWEEPS / definition.name if out is None else Path(out)
    manner = SweepOptions(
        engine=engine,
        ray_address=ray_address,
        limit=limit,
        drop=drop,
        observer=observer or NO_OBSERVER,
    )
    return carry_out(definition, folder, manner)


def resume(
    path: str | Path,
    *,
    engine: EngineName = "local",
    ray_address: str | None = None,
    limit: int | None = None,
    retry_failed: bool = False,
    observer: SweepObserver | None = None,
) -> Sweep:
    """Resume a sweep by its folder, as its manifest defines it.

    ``retry_failed`` computes failed points again. Raises as ``sweep``.
    """
    found = open_sweep(path)
    definition = of_content(found.manifest["definition"], found.name)
    manner = SweepOptions(
        engine=engine,
        ray_address=ray_address,
        limit=limit,
        retry_failed=retry_failed,
        observer=observer or NO_OBSERVER,
    )
    return carry_out(definition, found.path, manner)


def carry_out(definition: Definition, folder: Path, manner: SweepOptions) -> Sweep:
    """Resolve the points, keep the stored ones, run the rest, and complete the dataset."""
    library, watcher = Library(), manner.observer
    total = len(definition.grid)
    planned = plan_points(definition, library, lambda done: watcher.planned(done, total))
    names = metric_names(definition, planned)
    types = definition.types
    table = sweep_table(types, metric_columns(planned.kind, names))
    maker = RowMaker(definition=definition, types=types, metrics=names)
    with SweepWriter(folder, table) as writer:
        adopted = adopt(
            writer,
            planned.points,
            maker,
            table,
            drop=manner.drop,
            retry_failed=manner.retry_failed,
        )
        manifest = _manifest(definition, planned, names)
        writer.write_manifest(manifest)
        watcher.started(total, len(adopted.done))
        ahead = _Ahead(planned.points, adopted.done, manner.limit)
        with _collecting(writer, watcher) as collector, interruptible() as interrupt:
            for point in ahead.unrun:
                collector.add(maker.unrun(point))
            contents = partial(
                content_of, definition=definition, library=library, opened=planned.opened
            )
            terms = _terms(definition, names, folder)
            for point, result in _outcomes(ahead.pending, contents, terms, definition, manner):
                interrupt.check()
                row = maker.of(point, result)
                collector.add(row)
                for twin in ahead.twins.get(str(point.run_id), ()):
                    collector.add(maker.twin(twin, row))
        if ahead.is_last:
            writer.compact()
            writer.write_manifest({**manifest, "finished_utc": datetime.now(UTC).isoformat()})
    return open_sweep(folder)


def _terms(definition: Definition, metrics: Sequence[str], folder: Path) -> Terms:
    runs = str((folder / RUNS).resolve()) if definition.store == "runs" else None
    return Terms(metrics=metrics, timeout_s=definition.timeout_s, runs=runs)


class _Ahead:
    """The remaining work: rows without a run, runs, and duplicates of runs."""

    def __init__(self, points: Sequence[Point], done: frozenset[int], limit: int | None) -> None:
        left = [point for point in points if point.number not in done]
        self.unrun = [point for point in left if point.status is not None]
        self.twins: dict[str, list[Point]] = {}
        first: dict[str, Point] = {}
        for point in left:
            if point.status is not None:
                continue
            own = str(point.run_id)
            if first.setdefault(own, point) is not point:
                self.twins.setdefault(own, []).append(point)
        runs = list(first.values())
        self.pending = runs if limit is None else runs[:limit]
        self.is_last = len(self.pending) == len(runs)


@contextmanager
def _collecting(writer: SweepWriter, watcher: SweepObserver) -> Iterator[Collector]:
    """Write the collected rows, also on an exception."""
    collector = Collector(writer, watcher)
    try:
        yield collector
    finally:
        collector.flush()


def _outcomes(
    pending: Sequence[Point],
    contents: Contents,
    terms: Terms,
    definition: Definition,
    manner: SweepOptions,
) -> Outcomes:
    if manner.engine == "local" or not pending:
        yield from run_here(pending, contents, terms, definition.retries)
        return
    from cluster.actors.tasks import TaskPool
    from cluster.studies.sweep.engines import run_chunk

    with TaskPool[Chunk](run_chunk, manner.ray_address) as pool:
        cpus = pool.workers
        where = "a private Ray" if pool.session and pool.session.private else "the Ray cluster"
        manner.observer.noted(f"ray: {cpus} workers on {where}")
        engine = RayEngine(
            pool, contents, terms, retries=definition.retries, notice=manner.observer.noted
        )
        yield from engine.run(pending)


def _manifest(definition: Definition, planned: Planned, names: Sequence[str]) -> dict[str, object]:
    content = definition.content
    requested = dumps([content["sweep"], MODEL_VERSION], sort_keys=True, default=str)
    return {
        "name": definition.name,
        "kind": planned.kind,
        "points": len(planned.points),
        "axes": definition.types,
        "metrics": list(names),
        "store": definition.store,
        "repeat": definition.repeat,
        "digest": sha256(requested.encode()).hexdigest(),
        "model_version": MODEL_VERSION,
        "versions": versions(),
        "platform": {"system": platform.system(), "machine": platform.machine()},
        "command": sys.argv,
        "started_utc": datetime.now(UTC).isoformat(),
        "finished_utc": None,
        "definition": content,
    }


class Interrupt:
    """Remembers that Ctrl-C was pressed, should its exception be swallowed on the way."""

    def __init__(self) -> None:
        self.asked = False

    def check(self) -> None:
        """Raise KeyboardInterrupt if it was pressed."""
        if self.asked:
            raise KeyboardInterrupt

    def pressed(self, signum: int, frame: FrameType | None) -> None:
        del signum, frame
        self.asked = True
        raise KeyboardInterrupt


@contextmanager
def interruptible() -> Iterator[Interrupt]:
    """While this is open, Ctrl-C is remembered; only where the main thread runs it."""
    interrupt = Interrupt()
    usual = threading.current_thread() is threading.main_thread()
    if not usual or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield interrupt
        return
    signal.signal(signal.SIGINT, interrupt.pressed)
    try:
        yield interrupt
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
