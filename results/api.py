"""Reads a run: ``open_run("results/runs/<run_id>").requests``."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from difflib import get_close_matches
from hashlib import file_digest
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

from corsair_common.folders import standing
from results import display
from results.default_dirs import RUNS
from results.devices import Device, described
from results.engine_columns import names_in
from results.errors import ResultsError
from results.optional_deps import optional
from results.provenance import read_manifest
from results.schema import OTHER_CAUSES
from results.store import MANIFEST
from results.summary import flatten, nest
from results.summary_parts import Summary

Condition: TypeAlias = tuple[str, str, object]
"""A column, one of == < <= > >= and in, and what the column is compared with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A finished run on disk. A table is read at its first use and then cached."""

    path: Path
    manifest: Mapping[str, Any]
    _read: dict[str, pa.Table] = field(default_factory=dict, repr=False, compare=False)

    def __repr__(self) -> str:
        return display.line("SavedRun", self._facts())

    def _repr_html_(self) -> str:
        try:
            return display.table("SavedRun", self._facts(), display.run_figures(self.summary))
        except ResultsError as error:  # shown, since a notebook would hide it
            return display.table("SavedRun", {**self._facts(), "error": error})

    def _facts(self) -> dict[str, Any]:
        """Facts from the manifest, so that a repr reads no table."""
        name = self.manifest["scenario"].get("name")
        return {"name": name, "run_id": self.run_id, "path": str(self.path)}

    @property
    def run_id(self) -> str:
        """Twelve letters and digits: the same content has the same id on any machine."""
        return str(self.manifest["run_id"])

    @property
    def tables(self) -> tuple[str, ...]:
        """Names of the tables of this run."""
        return tuple(self.manifest["tables"])

    @property
    def summary(self) -> Summary:
        """The summary of the run; undefined numbers are None."""
        name = "replay" if "replay" in self.tables else "summary"
        rows = self.table(name).to_pylist()
        if len(rows) != 1:
            raise ResultsError(f"{self.file(name)}: holds {len(rows)} rows, not one")
        return nest(rows[0])

    @property
    def device(self) -> Device:
        """What its cards are: the bounds and the parts of energy of its summary, in words."""
        keys = [*flatten(self.summary)]
        causes = names_in(keys, "bound_share.") or names_in(keys, "critical_share.")
        bounds = tuple(name for name in causes if name not in OTHER_CAUSES)
        return described(bounds, names_in(keys, "energy_share."))

    @property
    def requests(self) -> pa.Table:
        """A row per request: tokens, times in s, status, replica."""
        return self.table("requests")

    @property
    def latency_breakdown(self) -> pa.Table:
        """A row per request: its latency, and its TTFT, by cause in s; null where there is none."""
        return self.table("latency_breakdown")

    @property
    def steps(self) -> pa.Table:
        """A row per step of a replica; only where the scenario stores steps."""
        return self.table("steps")

    @property
    def cards(self) -> pa.Table:
        """A row per card and bin of time: busy time by bound, idle time, energy."""
        return self.table("cards")

    @property
    def links(self) -> pa.Table:
        """A row per link and bin of time: bytes and busy time."""
        return self.table("links")

    @property
    def ops(self) -> pa.Table:
        """A row per operation of a replay: card, stream, times in s, bound."""
        return self.table("ops")

    @property
    def nodes(self) -> pa.Table:
        """A row per node of the topology."""
        return self.table("nodes")

    @property
    def edges(self) -> pa.Table:
        """A row per edge of the topology: bytes/s and latency."""
        return self.table("edges")

    @property
    def placement(self) -> pa.Table:
        """A row per card and class of tensors: memory and bytes."""
        return self.table("placement")

    def file(self, name: str) -> Path:
        """The Parquet file of a table, for other tools.

        Raises
        ------
        ResultsError
            This run has no such table.
        """
        if name not in self.tables:
            near = get_close_matches(name, self.tables, n=1)
            hint = f"nearest: {near[0]}" if near else f"it has {', '.join(self.tables)}"
            raise ResultsError(f"{self.path}: this run has no table {name!r}; {hint}")
        return self.path / f"{name}.parquet"

    def checked_file(self, name: str) -> Path:
        """The Parquet file of a table, if it is the one that was written.

        Raises
        ------
        ResultsError
            As for ``file``, or it was altered.
        """
        path, wanted = self.file(name), self.manifest["tables"][name].get("sha256")
        with _readable(path), path.open("rb") as file:
            if wanted is not None and file_digest(file, "sha256").hexdigest() != wanted:
                raise ResultsError(
                    f"{path}: cannot read the table: damaged or altered (its sha256 differs)"
                )
        return path

    def table(self, name: str) -> pa.Table:
        """A whole table, with unit and meaning on each field.

        Raises
        ------
        ResultsError
            This run has no such table, or its file is missing or damaged.
        """
        if name not in self._read:
            path = self.checked_file(name)
            with _readable(path):
                self._read[name] = pq.ParquetFile(path, page_checksum_verification=True).read()
        return self._read[name]

    def part(self, name: str, columns: Sequence[str], where: Sequence[Condition]) -> pa.Table:
        """Columns of the rows of a table that satisfy all of ``where``. The result is not cached.

        Row groups that cannot contain such rows are not read.

        Raises
        ------
        ResultsError
            As for ``table``.
        """
        path = self.checked_file(name)
        with _readable(path):
            return pq.read_table(
                path, columns=[*columns], filters=[*where], page_checksum_verification=True
            )

    def pandas(self, name: str) -> Any:
        """A table as a ``pandas.DataFrame``, units and meanings in its ``attrs``."""
        pandas = optional("pandas", "pandas")
        self.table(name)  # reports a damaged file clearly
        return pandas.read_parquet(self.file(name))

    def draw(self, name: str) -> Any:
        """A figure of this run as an Altair chart, by its name in ``results.figures.FIGURES``.

        Raises
        ------
        ResultsError
            There is no such figure, or this run lacks its data.
        """
        from results.figures import draw

        return draw(self, name)

    def polars(self, name: str) -> Any:
        """A table as a ``polars.DataFrame``."""
        return optional("polars", "polars").from_arrow(self.table(name))


def open_run(path: str | Path, run_id: str | None = None) -> Run:
    """Open a run by its folder, by a folder of runs and an id, or by a bare id.

    A bare id is looked up in ``results/runs`` under the current folder.

    Returns
    -------
    The run on disk. ``summary`` is a mapping; tables are Arrow tables, whose fields name their
    units; ``pandas(name)`` and ``polars(name)`` convert them.

    Raises
    ------
    ResultsError
        There is no such run, its manifest is missing, damaged or of a newer version, or one of its
        files is missing or cut short.

    Examples
    --------
    >>> from corsair_sim import load, open_run, simulate
    >>> folder = simulate(load(workload={"synthetic": {"requests": 20}})).save()
    >>> run = open_run(folder)                  # or open_run("<run_id>")
    >>> run.summary["completed"], run.requests.num_rows
    (20, 20)
    """
    folder = _folder(Path(path) if run_id is None else Path(path) / run_id)
    run = Run(path=folder, manifest=read_manifest(folder / MANIFEST))
    for name, entry in run.manifest["tables"].items():
        file = folder / f"{name}.parquet"
        if not file.is_file():
            raise ResultsError(f"{file}: missing, though the manifest names it")
        wanted = entry.get("bytes") if isinstance(entry, dict) else None
        if file.stat().st_size != wanted:
            raise ResultsError(
                f"{file}: {file.stat().st_size} bytes, but the manifest says {wanted}: cut short"
                " or replaced"
            )
    return run


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, pa.ArrowException) as error:
        raise ResultsError(f"{path}: cannot read the table: {error}") from error


def _folder(path: Path) -> Path:
    """The folder of a run, from a path, a folder of runs and an id, or an id."""
    for place in (path, RUNS / path):
        found = standing(place.parent, place.name)
        if found is not None and (found / MANIFEST).is_file():
            return found
    root = path if path.is_dir() else path.parent if path.parent.is_dir() else RUNS
    runs = sorted(file.parent.name for file in root.glob(f"*/{MANIFEST}"))
    near = get_close_matches(path.name, runs, n=1)
    known = f"nearest: {near[0]}" if near else f"{root} holds {', '.join(runs[:5]) or 'no runs'}"
    what = f"has no {MANIFEST}" if path.is_dir() else "no such run"
    raise ResultsError(f"{path}: {what}; {known}")
