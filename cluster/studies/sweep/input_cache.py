"""Cache of the files and models of scenarios, opened once for all points."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

from cluster.scenario.input_digests import described
from cluster.scenario.resolve import Openers
from cluster.scenario.run_content import content_text
from cluster.scenario.run_id import JsonText
from cluster.scenario.traffic import traffic
from cluster.scenario.workload import Workload
from corsair_common.lru import LruCache
from topology.catalog import Hardware, load_hardware
from workloads.model import Model, load_model
from workloads.readers.trace_format import ReadOptions, Rows
from workloads.requests import Requests
from workloads.trace import parse_trace, read_trace

Opened: TypeAlias = Hardware | Model | Requests
Stamp: TypeAlias = tuple[str, int, int]

MOST_BYTES = 256 * 2**20
"""Of traces, and of requests cut from them, that are kept."""


class Library:
    """Opens the inputs of scenarios and caches them as long as the file is unchanged."""

    def __init__(self) -> None:
        self._hardware = LruCache[Hardware](64)
        self._models = LruCache[Model](64)
        self._rows = LruCache[Rows](8, MOST_BYTES, _rows_bytes)
        self._traffic = LruCache[tuple[Requests, int]](64, MOST_BYTES, _bytes)
        self._contents = LruCache[tuple[Opened, JsonText]](256, MOST_BYTES, _bytes)
        self._described = LruCache[dict[str, object]](256)
        self.openers = Openers(
            hardware=self._load_hardware,
            model=lambda name: self._models.get((name, _stamp(name)), lambda: load_model(name)),
            traffic=self._read_traffic,
            content=self._encode,
            described=self._describe,
        )

    def _load_hardware(self, name: str, overrides: Mapping[str, float], fabric: str) -> Hardware:
        key = (name, _stamp(name), tuple(sorted(overrides.items())), fabric)
        return self._hardware.get(key, lambda: load_hardware(name, overrides, fabric))

    def _encode(self, opened: Opened) -> JsonText:
        """Identified by its address, which is unique while it is cached here."""
        return self._contents.get(id(opened), lambda: (opened, content_text(opened)))[1]

    def _read_traffic(self, workload: Workload, seed: int) -> tuple[Requests, int]:
        drawn = workload.synthetic
        lengths = (drawn.prompt_tokens, drawn.output_tokens) if drawn else ()
        files = [each.empirical.trace for each in lengths if each and each.empirical]
        stamps = tuple(_stamp(file) for file in (workload.trace, *files) if file is not None)
        key = (workload, seed if drawn else 0, stamps)
        return self._traffic.get(key, lambda: traffic(workload, seed, self._read))

    def _read(self, path: str, format: str, **cut: Any) -> Requests:
        return read_trace(path, format, parse=self._parse, **cut)

    def _parse(self, path: Path, format: str, options: ReadOptions) -> Rows:
        key = (_stamp(str(path)), format, options)
        return self._rows.get(key, lambda: parse_trace(path, format, options))

    def _describe(self, use: str, path: Path) -> dict[str, object]:
        return self._described.get((use, _stamp(str(path))), lambda: described(use, path))


def _stamp(name: str) -> Stamp:
    """A file by its name, time and size; of a folder, of the config in it; (name, 0, 0) if none."""
    path = Path(name)
    try:
        status = path.stat()
        if path.is_dir():
            status = (path / "config.json").stat()
    except OSError:
        return (name, 0, 0)
    return (name, status.st_mtime_ns, status.st_size)


def _bytes(made: tuple[Opened, object]) -> int:
    """Of the requests, if it is requests; the rest is small."""
    opened = made[0]
    if not isinstance(opened, Requests):
        return 0
    ids = 0 if opened.hash_ids is None else opened.hash_ids.nbytes
    return 3 * opened.arrival_ps.nbytes + ids


def _rows_bytes(rows: Rows) -> int:
    return 3 * rows.ticks.nbytes + (0 if rows.hash_ids is None else rows.hash_ids.nbytes)
