"""Reads a folder of NAME.<rank>.et (or .json) files as one trace of columns."""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from corsair_common.limits import read_bounded
from corsair_common.names import CONTROL
from workloads.chakra.columns import (
    KNOWN_TYPES,
    NOT_RECORDED,
    PS_PER_MICROSECOND,
    ChakraError,
    ChakraTrace,
    NodeType,
    Notes,
)
from workloads.chakra.et_file import read_et
from workloads.chakra.json_file import read_json, refuse_other_kind
from workloads.chakra.queues import take_queues, unordered
from workloads.chakra.record import RankFile, Record
from workloads.chakra.rendezvous import check_rendezvous
from workloads.chakra.toposort import Ordered, ordered

GROUP_FILE = "comm_group.json"
"""``{"1": [0, 1], "2": [2, 3]}``: the ranks of each pg_name, if the folder has groups."""

_NAMED = re.compile(r"(?P<name>.+)\.(?P<rank>0|[1-9]\d{0,8})\.(?P<form>et|json)")


def read_chakra(
    folder: str | Path, *, control: str = "auto", groups: str | Path | None = None, copies: int = 1
) -> ChakraTrace:
    """Read all ranks of a folder.

    ``control`` says whether control dependencies are followed (``order.ordered``); ``groups`` is a
    file of process groups elsewhere; ``copies`` makes that many equal ranks of a folder with one
    rank (a trace of one rank of an SPMD program).

    Raises
    ------
    ChakraError
        No files, a missing rank, an invalid file or node, a deadlock.
    """
    folder = Path(folder)
    if control not in CONTROL:
        raise ChakraError(f"control must be one of {', '.join(CONTROL)}, got {control!r}")
    paths = _rank_paths(folder)
    read = [read_et(path) if path.suffix == ".et" else read_json(path) for path in paths]
    files = _copied(folder, read, copies)
    named = _group_file(Path(groups) if groups else folder / GROUP_FILE, needed=bool(groups))
    for file in files:
        named.update({name: ranks for name, ranks in file.groups.items() if name not in named})
    default_group = _take_default_group(files, named)
    parts = [ordered(file, control) for file in read]
    pairs = Counter(
        pair
        for file, part in zip(read, parts, strict=True)
        for pair in unordered(part, take_queues(file, part))
    )
    parts *= copies
    notes = replace(
        _notes(files, parts),
        unordered={pair: ranks * copies for pair, ranks in pairs.items()},
        default_group=default_group,
    )
    trace = replace(_trace(files, parts, named), notes=notes)
    check_rendezvous(trace, [file.path for file in files])
    return trace


def _rank_paths(folder: Path) -> list[Path]:
    """The file of each rank, 0 first."""
    if folder.is_file():
        refuse_other_kind(folder)
        raise ChakraError(f"{folder}: a file; name the folder that holds NAME.<rank>.et")
    if not folder.is_dir():
        raise ChakraError(f"{folder}: no such folder; name the folder that holds NAME.<rank>.et")
    found: dict[tuple[str, str], dict[int, Path]] = {}
    for path in sorted(folder.iterdir()):
        match = _NAMED.fullmatch(path.name)
        if match and not path.name.startswith("."):
            found.setdefault((match["form"], match["name"]), {})[int(match["rank"])] = path
    forms = sorted({form for form, _ in found})
    traces = {name: ranks for (form, name), ranks in found.items() if form == (forms or [""])[0]}
    if not traces:
        _refuse_other_kinds(folder)
        raise ChakraError(f"{folder}: holds no NAME.<rank>.et files")
    if len(traces) > 1:
        names = ", ".join(sorted(traces))
        raise ChakraError(f"{folder}: holds several traces ({names}); one folder holds one")
    name, ranks = traces.popitem()
    missing = [str(rank) for rank in range(max(ranks)) if rank not in ranks]
    if missing:
        _refuse_other_kinds(folder)
        raise ChakraError(
            f"{folder}: ranks go up to {max(ranks)}, but {name}.<rank> is missing for rank "
            f"{', '.join(missing[:10])}{' ...' if len(missing) > 10 else ''}"
        )
    return [ranks[rank] for rank in range(len(ranks))]


def _refuse_other_kinds(folder: Path) -> None:
    """Refuse traces of PyTorch that lie where Chakra's should."""
    for path in sorted(folder.glob("*.json")):
        refuse_other_kind(path)


def _copied(folder: Path, files: list[RankFile], copies: int) -> list[RankFile]:
    if copies < 1 or (copies > 1 and len(files) > 1):
        raise ChakraError(
            f"{folder}: copies must be at least 1, and 1 where a folder has several ranks; "
            f"got {copies} for {len(files)} ranks"
        )
    return files * copies


def _group_file(path: Path, *, needed: bool) -> dict[str, tuple[int, ...]]:
    if not path.is_file():
        if needed:
            raise ChakraError(f"{path}: no such file of process groups")
        return {}
    try:
        found = json.loads(read_bounded(path))
        groups = {str(name): tuple(ranks) for name, ranks in found.items()}
    except (OSError, ValueError, AttributeError, TypeError, RecursionError):
        raise ChakraError(f'{path}: process groups look like {{"1": [0, 1]}}') from None
    for name, ranks in groups.items():
        if not all(type(rank) is int and rank >= 0 for rank in ranks):
            raise ChakraError(f"{path}: group {name!r} must be a list of ranks")
    return groups


def _take_default_group(files: Sequence[RankFile], named: Mapping[str, tuple[int, ...]]) -> str:
    """Resolve pg_name "0", all ranks unless its definition says otherwise; what is to be said."""
    chosen = [each for file in files for each in file.records if each.group_name == "0"]
    ranks, everyone = set(named.get("0", ())), set(range(len(files)))
    defined = ", ".join(map(str, sorted(ranks)[:8])) + (" ..." if len(ranks) > 8 else "")
    if ranks and ranks < everyone and chosen:
        return (
            f'process group "0" is defined as ranks {defined} and so used; it is not all '
            f"{len(everyone)} ranks, for which ASTRA-sim takes it in any case"
        )
    for each in chosen:
        each.group_name = ""
    if chosen and ranks - everyone:
        return (
            f'the definition of process group "0" (ranks {defined}) is not used, since rank '
            f"{min(ranks - everyone)} has no file: it is all {len(everyone)} ranks"
        )
    return ""


def _trace(
    files: Sequence[RankFile], parts: Sequence[Ordered], named: Mapping[str, tuple[int, ...]]
) -> ChakraTrace:
    records = [record for part in parts for record in part.records]
    sizes = [len(part.records) for part in parts]
    starts = np.cumsum([0, *sizes])
    names = {name: at for at, name in enumerate(dict.fromkeys(each.name for each in records))}
    group_names = tuple(dict.fromkeys(each.group_name for each in records if each.is_collective))
    waits = np.concatenate([part.edges.waits + starts[at] for at, part in enumerate(parts)])
    return ChakraTrace(
        ranks=len(files),
        rank=np.repeat(np.arange(len(files), dtype=np.int32), sizes),
        node=_longs([each.id for each in records]),
        type=np.array([each.type for each in records], np.int32),
        name=np.array([names[each.name] for each in records], np.int32),
        names=tuple(names),
        on_cpu=np.array([each.on_cpu for each in records], np.bool_),
        stream=np.array([each.queue for each in records], np.int32),
        duration_ps=_longs([_duration_ps(each) for each in records]),
        flop=_longs([each.flop for each in records]),
        memory_bytes=_longs([each.memory_bytes for each in records]),
        comm_bytes=_longs([each.comm_bytes for each in records]),
        collective=np.array(
            [each.comm_type if each.is_collective else -1 for each in records], np.int32
        ),
        group=np.array(
            [group_names.index(each.group_name) if each.is_collective else -1 for each in records],
            np.int32,
        ),
        peer=np.array([_peer(each) for each in records], np.int32),
        tag=_longs([each.tag for each in records]),
        groups=tuple(_ranks_of(name, named, files) for name in group_names),
        group_names=group_names,
        dep_offsets=np.concatenate(([0], np.cumsum(np.bincount(waits, minlength=len(records))))),
        deps=np.concatenate([part.edges.deps + starts[at] for at, part in enumerate(parts)]),
        dep_is_control=np.concatenate([part.edges.is_control for part in parts]),
    )


def _longs(values: Sequence[int]) -> np.ndarray:
    return np.array(values, np.int64)


def _duration_ps(record: Record) -> int:
    if record.duration_ps >= 0:
        return record.duration_ps
    return record.duration_us * PS_PER_MICROSECOND or NOT_RECORDED


def _peer(record: Record) -> int:
    if record.type == NodeType.SEND:
        return record.target
    return record.source if record.type == NodeType.RECV else -1


def _ranks_of(
    name: str, named: Mapping[str, tuple[int, ...]], files: Sequence[RankFile]
) -> tuple[int, ...]:
    everyone = tuple(range(len(files)))
    if not name:
        return everyone
    if name not in named:
        known = ", ".join(sorted(named)) or "none"
        raise ChakraError(
            f"{files[0].path}: process group {name!r} is not defined (known: {known}); "
            f"{GROUP_FILE} beside the files names the ranks of each"
        )
    return named[name] or everyone


def _notes(files: Sequence[RankFile], parts: Sequence[Ordered]) -> Notes:
    types: Counter[int] = Counter()
    unused: Counter[str] = Counter()
    for file in files:
        types.update(each.type for each in file.records if each.type not in KNOWN_TYPES)
        unused.update(file.unused)
    return Notes(
        unknown_types=dict(types),
        unused_attributes=dict(unused),
        unknown_fields=sum(file.unknown_fields for file in files),
        launches=sum(each.is_launch for file in files for each in file.records),
        unsized=sum(file.unsized for file in files),
        control_left_out=sum(part.control_left_out for part in parts),
        control_reason=next((part.control_reason for part in parts if part.control_reason), ""),
    )
