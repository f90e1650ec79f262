"""Hardware as data: every figure with its unit, source, confidence and range."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from topology.catalog.figures import (
    CONFIDENCES,
    Figure,
    Hardware,
    breach_of_value,
    breaches_of_fields,
    breaches_of_machine,
    breaches_of_numbers,
    nearest,
    read_figure,
)
from topology.strict_yaml import Document, read_document
from topology.types import TopologyError

__all__ = ["CONFIDENCES", "Figure", "Hardware", "list_hardware", "load_hardware"]

_FOLDER = Path(__file__).parent
_REFERENCE = "corsair"
"""Hardware files must use the figure names of this one."""
_TOP_KEYS = ("name", "title", "sources", "base", "figures")
_MOST_NAMED = 12
_NONE: Mapping[str, float] = MappingProxyType({})


def list_hardware() -> tuple[str, ...]:
    """Names of the bundled hardware."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.yaml")))


def load_hardware(name_or_path: str | Path, overrides: Mapping[str, float] = _NONE) -> Hardware:
    """Read hardware by its bundled name or from a YAML file; ``overrides`` are figures in SI.

    A file has every figure of ``corsair``, or a ``base`` (a bundled name, or a path relative to the
    file) and only the figures that differ.

    Raises
    ------
    TopologyError
        Unknown name, figure, unit or confidence, missing field, impossible number: all breaches
        of the file at once, each with its line.
    DocumentError
        The file is not one plain YAML document.
    """
    hardware = _overridden(_load(_locate(str(name_or_path), Path()), ()), overrides)
    if breaches := list(breaches_of_machine(hardware)):
        raise TopologyError("\n".join(f"{hardware.name}: {breach}" for breach in breaches))
    return hardware


def _locate(name_or_path: str, folder: Path) -> Path:
    if name_or_path in list_hardware():
        return _FOLDER / f"{name_or_path}.yaml"
    path = folder / Path(name_or_path).expanduser()
    if path.suffix in (".yaml", ".yml") or len(path.parts) > 1 or path.exists():
        return path
    known = list_hardware()
    raise TopologyError(
        f"no hardware {nearest(name_or_path, known)} (bundled: {', '.join(known)}; "
        "or give the path of a YAML file)"
    )


@cache
def _bundled(name: str) -> Hardware:
    return _read(_FOLDER / f"{name}.yaml", ())


def _load(path: Path, above: tuple[Path, ...]) -> Hardware:
    if path.parent == _FOLDER:
        return _bundled(path.stem)
    return _read(path, above)


def _read(path: Path, above: tuple[Path, ...]) -> Hardware:
    document = read_document(path)
    data = document.mapping()
    if {"nodes", "links"} & set(data):
        raise TopologyError(
            f"{document.name}: is a topology (nodes and links), not a file of hardware figures"
        )
    base = _base(document, path, above)
    is_reference = path == _FOLDER / f"{_REFERENCE}.yaml"
    reference = {} if is_reference else _bundled(_REFERENCE).figures
    figures: dict[str, Figure] = dict(base.figures) if base else {}
    breaches = list(_breaches_of_top(document))
    for name, line, inputs in _entries(document):
        wrong = list(breaches_of_fields(inputs))
        if reference and name not in reference:
            wrong.insert(0, f"unknown figure {nearest(name, reference)}")
        if not wrong:
            figure = read_figure(name, inputs)
            wrong = [*_breaches_of_unit(figure, reference), *breaches_of_numbers(figure)]
            figures[name] = figure
        breaches += [f"{document.name}:{line}: {name}: {what}" for what in wrong]
    given_names = {name for name, _, _ in _entries(document)} | set(figures)
    missing = [name for name in reference if name not in given_names]
    if missing and "figures" in data:
        more = f" and {len(missing) - _MOST_NAMED} more" if len(missing) > _MOST_NAMED else ""
        breaches.append(
            f"{document.where(('figures',))}: misses {', '.join(missing[:_MOST_NAMED])}{more} "
            "(give every figure, or name a base)"
        )
    if breaches:
        raise TopologyError("\n".join(breaches))
    return Hardware(
        name=str(data.get("name", path.stem)),
        title=str(data.get("title", data.get("name", path.stem))),
        sources={**(base.sources if base else {}), **data.get("sources", {})},
        figures=figures,
    )


def _base(document: Document, path: Path, above: tuple[Path, ...]) -> Hardware | None:
    name = document.mapping().get("base")
    if name is None:
        return None
    if not isinstance(name, str):
        raise TopologyError(f"{document.where(('base',))}: base must be a name, found {name!r}")
    below = _locate(name, path.parent)
    chain = (*above, path.resolve())
    if below.resolve() in chain:
        raise TopologyError(f"{document.where(('base',))}: base {name!r} leads back to this file")
    return _load(below, chain)


def _breaches_of_top(document: Document) -> Iterator[str]:
    data = document.mapping()
    for key in data:
        if key not in _TOP_KEYS:
            yield f"{document.where((key,))}: unknown key {nearest(key, _TOP_KEYS)}"
    for key in ("name", "title"):
        if key in data and not isinstance(data[key], str):
            yield f"{document.where((key,))}: {key} must be text, found {data[key]!r}"
    for key in ("sources", "figures"):
        if not isinstance(data.get(key, {}), dict):
            yield f"{document.where((key,))}: {key} must hold names with values"
    sources = data.get("sources", {})
    for key, text in sources.items() if isinstance(sources, dict) else ():
        if not isinstance(text, str):
            yield f"{document.where(('sources', key))}: source {key} must be text, found {text!r}"
    if "figures" not in data and "base" not in data:
        yield f"{document.where()}: misses figures (give every figure, or name a base)"


def _entries(document: Document) -> Iterator[tuple[str, int, Any]]:
    """Name, line and fields of every figure; ``card: {tdp_w: x}`` and ``card.tdp_w: x`` alike."""
    sections = document.mapping().get("figures", {})
    if not isinstance(sections, dict):
        return
    for section, entries in sections.items():
        if "." in section or not isinstance(entries, dict):
            yield section, document.line_of(("figures", section)), entries
            continue
        for key, inputs in entries.items():
            yield f"{section}.{key}", document.line_of(("figures", section, key)), inputs


def _breaches_of_unit(figure: Figure, reference: Mapping[str, Figure]) -> Iterator[str]:
    if reference and figure.unit != (expected := reference[figure.name].unit):
        yield (
            f"unit {figure.datasheet_unit!r} measures {figure.unit}, "
            f"this figure is in {expected} (as {reference[figure.name].datasheet_unit!r})"
        )


def _overridden(hardware: Hardware, overrides: Mapping[str, float]) -> Hardware:
    figures = dict(hardware.figures)
    breaches = []
    for name, value in overrides.items():
        if name not in figures:
            breaches.append(f"{hardware.name} has no figure {nearest(name, figures)}")
        elif wrong := _breach_of_override(value, figures[name].unit):
            breaches.append(f"{name} {wrong}")
        else:
            figures[name] = _moved(figures[name], float(value))
    if breaches:
        raise TopologyError("\n".join(f"hardware_set: {breach}" for breach in breaches))
    return replace(hardware, figures=figures)


def _breach_of_override(value: object, unit: str) -> str:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return f"must be a number in {unit}, found {value!r}"
    return breach_of_value(float(value), unit)


def _moved(figure: Figure, value: float) -> Figure:
    return replace(
        figure,
        value=value,
        low=min(figure.low, value),
        high=max(figure.high, value),
        source="hardware_set",
        confidence="assumed",
    )
