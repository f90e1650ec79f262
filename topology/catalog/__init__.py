"""Hardware as data: every figure with its unit, source, confidence and range."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from topology.catalog.area import with_area
from topology.catalog.fabrics import AUTO, FABRICS, SERVERS, check_fabric, fabric_of, joined
from topology.catalog.figures import (
    Figure,
    Hardware,
    breaches_of_fields,
    breaches_of_machine,
    breaches_of_numbers,
    nearest,
    read_figure,
)
from topology.catalog.kinds import (
    DEFAULT_KIND,
    KINDS,
    REFERENCES,
    SECTIONS,
    Names,
    breaches_of_name,
    breaches_of_top,
    breaches_of_unit,
    listed,
    names_of,
    read_formats,
)
from topology.catalog.nics import NICS, split_nic, with_nic
from topology.catalog.overrides import overridden
from topology.parsed_files import bundled_document
from topology.strict_yaml import Document, read_document
from topology.types import TopologyError

__all__ = [
    "FABRICS",
    "KINDS",
    "NICS",
    "SERVERS",
    "Figure",
    "Hardware",
    "Names",
    "figure_names",
    "list_hardware",
    "load_hardware",
]

_Value = TypeVar("_Value")
_FOLDER = Path(__file__).parent
_UNCHECKED = frozenset(name for names in REFERENCES.values() for name in names)
"""Bundled files that the names of their kind come from."""
_NONE: Mapping[str, float] = MappingProxyType({})


def list_hardware() -> tuple[str, ...]:
    """Names of the bundled hardware."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.yaml")))


def load_hardware(
    name_or_path: str | Path, overrides: Mapping[str, float] = _NONE, fabric: str = AUTO
) -> Hardware:
    """Read hardware by its bundled name or from a YAML file; ``overrides`` are figures in SI.

    A bundled name may end in ``+`` and one of NICS, whose figures replace its servers' own.
    ``fabric`` is one of FABRICS, whose figures replace those of the file unless it is on that
    fabric already (it has ``supernode`` among its bases); ``auto`` is the file's own.

    A file gives every figure of its ``kind`` (``dimc_card`` where it names none), or names a
    ``base`` (a bundled name, a path relative to itself, or a list of such: a later one replaces
    figures of an earlier one) and gives only what differs; ``null`` takes a base's figure away.
    Figures under ``defaults`` in a bundled file that names its kind may be absent: that file's are
    then taken, so that hardware files stay valid when figures are added. ``formats`` it does not
    name are those of its kind. ``what_if`` says of a machine that cannot be bought what it is; a
    file on its base has it too, unless it says its own.

    Raises
    ------
    TopologyError
        Unknown name, figure, unit or confidence, missing field, impossible number: all breaches
        of the file at once, each with its line. A fabric or NICs of another kind of hardware.
    DocumentError
        The file is not one plain YAML document.
    """
    name, nic = split_nic(str(name_or_path))
    hardware = _load(_locate(name), ())
    if nic and name not in list_hardware():
        raise TopologyError(
            f"{name_or_path}: a file names a NIC among its bases (base: [..., {nic}])"
        )
    if nic:
        hardware = with_nic(hardware, _part(NICS[nic], True))
    hardware = _completed(_on_fabric(hardware, fabric))
    hardware = overridden(hardware, overrides)
    if breaches := list(breaches_of_machine(hardware)):
        raise TopologyError("\n".join(f"{hardware.name}: {breach}" for breach in breaches))
    return hardware


def _locate(name_or_path: str, folder: Path | None = None) -> Path:
    """The file of this name; of a base, beside the file in ``folder`` that names it."""
    if name_or_path in list_hardware():
        return _FOLDER / f"{name_or_path}.yaml"
    if name_or_path in FABRICS and folder is not None:
        return _FOLDER / "shared" / f"{name_or_path}.yaml"
    if name_or_path in NICS and folder is not None:
        return NICS[name_or_path]
    path = (folder or Path()) / Path(name_or_path).expanduser()
    if path.suffix in (".yaml", ".yml") or len(path.parts) > 1 or path.exists():
        return path
    known = list_hardware()
    raise TopologyError(
        f"no hardware {nearest(name_or_path, known)} (bundled: {', '.join(known)}; "
        "or give the path of a YAML file)"
    )


@cache
def figure_names(kind: str) -> Names:
    """The figures that hardware of this kind has, and which of them it cannot lack."""
    return names_of(kind, [_bundled(name) for name in REFERENCES[kind]])


@cache
def _bundled(name: str) -> Hardware:
    return _read(_FOLDER / f"{name}.yaml", (), checked=name not in _UNCHECKED)


@cache
def _part(path: Path, checked: bool) -> Hardware:
    """A bundled file that others name as their base and that is no machine of its own."""
    return _read(path, (path,), checked=checked)


def _load(path: Path, above: tuple[Path, ...], *, checked: bool = True) -> Hardware:
    if path.parent == _FOLDER:
        return _bundled(path.stem)
    if path.parent in (_FOLDER / "shared", _FOLDER / "shared" / "nics"):
        return _part(path, checked)
    return _read(path, above, checked=checked)


def _read(path: Path, above: tuple[Path, ...], *, checked: bool) -> Hardware:
    """Read one file over its bases; unless ``checked`` any figure's name will do."""
    if path.is_relative_to(_FOLDER):
        document = bundled_document(path.read_text("utf-8"), str(path))
    else:
        document = read_document(path)
    data = document.mapping()
    if {"nodes", "links"} & set(data):
        raise TopologyError(
            f"{document.name}: is a topology (nodes and links), not a file of hardware figures"
        )
    bases = [_load(base, chain, checked=checked) for base, chain in _bases(document, path, above)]
    kind = _kind(document, bases)
    names = figure_names(kind) if checked else None
    figures = _merged(base.figures for base in bases)
    sources = _merged(base.sources for base in bases)
    formats = _merged(base.formats for base in bases)
    defaults = _merged(base.defaults for base in bases)
    before = dict(figures)
    breaches = [
        *breaches_of_top(document),
        *read_formats(document, formats),
        *_read_figures(document, names, figures),
    ]
    if before and not breaches:
        own = {name for _, name, *_ in _entries(document)}
        figures = with_area(_with_defaults(before, names), _with_defaults(figures, names), own)
    tried = [name for _, name, _, inputs in _entries(document) if inputs is not None]
    missing = names.missing(dict.fromkeys((*tried, *figures))) if names and not above else ()
    if missing and ("figures" in data or bases):
        where = document.where(("figures",) if "figures" in data else ("base",))
        breaches.append(f"{where}: misses {listed(missing)} (give every figure, or name a base)")
    if breaches:
        raise TopologyError("\n".join(breaches))
    return Hardware(
        name=str(data.get("name", path.stem)),
        title=str(data.get("title", data.get("name", path.stem))),
        kind=kind,
        what_if=str(data.get("what_if", next((b.what_if for b in bases if b.what_if), ""))),
        fabric=fabric_of(document, bases),
        sources=sources | data.get("sources", {}),
        formats={**_bundled(REFERENCES[kind][0]).formats, **formats} if checked else formats,
        figures=figures,
        fitted=(*(each for base in bases for each in base.fitted), *data.get("fitted", [])),
        defaults=defaults
        | {
            name: figures[name]
            for top, name, *_ in _entries(document)
            if top == "defaults" and name in figures
        },
    )


def _merged(each: Iterable[Mapping[str, _Value]]) -> dict[str, _Value]:
    """Of all bases, a later one's before an earlier one's."""
    return {name: value for one in each for name, value in one.items()}


def _read_figures(
    document: Document, names: Names | None, figures: dict[str, Figure]
) -> Iterator[str]:
    """Put the file's own figures into ``figures``; what is wrong with them comes out."""
    for _, name, line, inputs in _entries(document):
        if inputs is None and name in figures:
            del figures[name]
            continue
        wrong = list(breaches_of_fields(inputs))
        if names and name not in names.known:
            others = [figure_names(kind) for kind in KINDS if kind != names.kind]
            wrong = [*breaches_of_name(name, names, others), *wrong]
        if not wrong:
            known = names.known.get(name) if names else None
            figure = read_figure(name, inputs, figures.get(name, known))
            wrong = [*(breaches_of_unit(figure, names) if names else ())]
            wrong += breaches_of_numbers(figure)
            figures[name] = figure
        yield from (f"{document.name}:{line}: {name}: {what}" for what in wrong)


def _kind(document: Document, bases: Sequence[Hardware]) -> str:
    """The kind that the file names, else that of its bases; all of them agree."""
    inherited = bases[0].kind if bases else DEFAULT_KIND
    kind = document.mapping().get("kind", inherited)
    if kind not in KINDS:
        raise TopologyError(
            f"{document.where(('kind',))}: unknown kind {nearest(str(kind), KINDS)} "
            f"(allowed: {', '.join(KINDS)})"
        )
    for base in bases:
        if base.kind != kind:
            raise TopologyError(
                f"{document.where(('base',))}: kind {kind} on base {base.name}, "
                f"which is of kind {base.kind}"
            )
    return str(kind)


def _on_fabric(hardware: Hardware, fabric: str) -> Hardware:
    """The hardware with the figures of a fabric, if it is not on it."""
    if fabric in (AUTO, hardware.fabric):
        return hardware
    check_fabric(hardware, fabric)
    if fabric == SERVERS:
        return hardware
    return joined(hardware, _part(_FOLDER / "shared" / f"{fabric}.yaml", True))


def _bases(
    document: Document, path: Path, above: tuple[Path, ...]
) -> Iterator[tuple[Path, tuple[Path, ...]]]:
    """The files that a file builds on, each with the chain of files that leads to it."""
    named = document.mapping().get("base", [])
    chain = (*above, path.resolve())
    for name in named if isinstance(named, list) else [named]:
        if not isinstance(name, str):
            raise TopologyError(
                f"{document.where(('base',))}: base must be a name or a list of names, "
                f"found {name!r}"
            )
        below = _locate(name, path.parent)
        if below.resolve() in chain:
            raise TopologyError(
                f"{document.where(('base',))}: base {name!r} leads back to this file"
            )
        yield below, chain


def _entries(document: Document) -> Iterator[tuple[str, str, int, Any]]:
    """Top key, name, line and fields of every figure.

    ``card: {tdp_w: x}`` and ``card.tdp_w: x`` mean the same.
    """
    for top in SECTIONS:
        sections = document.mapping().get(top, {})
        if not isinstance(sections, dict):
            continue
        for section, entries in sections.items():
            if "." in section or not isinstance(entries, dict):
                yield top, section, document.line_of((top, section)), entries
                continue
            for key, inputs in entries.items():
                yield top, f"{section}.{key}", document.line_of((top, section, key)), inputs


def _completed(hardware: Hardware) -> Hardware:
    """With the defaults of its kind for the figures that it lacks."""
    return replace(hardware, figures=_with_defaults(hardware.figures, figure_names(hardware.kind)))


def _with_defaults(figures: Mapping[str, Figure], names: Names | None) -> dict[str, Figure]:
    defaults = names.defaults if names else {}
    return dict(figures) | {name: one for name, one in defaults.items() if name not in figures}
