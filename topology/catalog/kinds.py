"""Kinds of hardware, and the figures that each kind has: known names, needed names, units."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from topology.catalog.figures import Figure, Hardware, breaches_of_fitted, nearest
from topology.strict_yaml import Document

DEFAULT_KIND = "dimc_card"
"""Of a file that names no kind."""
REFERENCES: Mapping[str, tuple[str, ...]] = {
    DEFAULT_KIND: ("corsair", "raptor", "raptor-nvl72"),
    "gpu": ("b200", "a100", "mi300x"),
}
"""Bundled files whose figures are the names of their kind: needed are those that all of them give.
A further kind is a row here, a hardware file, and a module of the performance model."""
KINDS = tuple(REFERENCES)
UNPRICED: Mapping[str, Mapping[str, str]] = {
    DEFAULT_KIND: {
        "chiplet.quads": "drawn only: slices stand in quads",
        "chiplet.noc_latency_s": "drawn only: card.dispatch_s and links.chunk_overhead_s have it",
        "chiplet.area_m2": "power density, and the price of a card from its parts",
        "card.tdp_w": "power density only",
        "pair.cards": "always 2",
        "pod.racks": "drawn only: a scenario names its racks",
    },
    "gpu": {"pod.racks": "drawn only: a scenario names its racks"},
}
"""Figures of a kind that no time, energy or cost depends on, and what they are for."""
FORMAT_USES = ("weights", "activations", "kv", "wire")
"""Uses of number formats, each with a default that the hardware file names."""
SECTIONS = ("figures", "defaults")
"""Keys that hold figures."""
TOP_KEYS = (
    "name",
    "title",
    "kind",
    "what_if",
    "fabric",
    "sources",
    "base",
    "fitted",
    "formats",
    *SECTIONS,
)
_MOST_NAMED = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """The figures of one kind."""

    kind: str
    known: Mapping[str, Figure]
    """Every name, with a figure whose units a file's figure must have."""
    needed: frozenset[str]
    defaults: Mapping[str, Figure]
    """What hardware takes that does not give them."""

    def missing(self, figures: Mapping[str, object]) -> tuple[str, ...]:
        """What ``figures`` lack: the needed, and the rest of an optional section in part given."""
        sections = {_section(name) for name in figures} - {_section(name) for name in self.needed}
        return tuple(
            name
            for name in self.known
            if name not in figures
            and name not in self.defaults
            and (name in self.needed or _section(name) in sections)
        )


def names_of(kind: str, references: Sequence[Hardware]) -> Names:
    """The names of a kind out of the figures of its reference files."""
    each = [hardware.figures for hardware in references]
    known = {name: figure for figures in each for name, figure in figures.items()}
    defaults = {name: figure for one in references for name, figure in one.defaults.items()}
    needed = frozenset(known).intersection(*each) - frozenset(defaults)
    return Names(kind=kind, known=known, needed=needed, defaults=defaults)


def breaches_of_name(name: str, names: Names, others: Sequence[Names]) -> Iterator[str]:
    """Why a figure of this name does not belong to the kind."""
    if name not in names.known:
        owners = [other.kind for other in others if name in other.known]
        foreign = f" (kind {names.kind} has none, {owners[0]} does)" if owners else ""
        yield f"unknown figure {nearest(name, names.known)}{foreign}"


def breaches_of_unit(figure: Figure, names: Names) -> Iterator[str]:
    """Why the figure's unit cannot measure it."""
    expected = names.known[figure.name]
    if figure.unit != expected.unit:
        yield (
            f"unit {figure.datasheet_unit!r} measures {figure.unit}, "
            f"this figure is in {expected.unit} (as {expected.datasheet_unit!r})"
        )


def breaches_of_top(document: Document) -> Iterator[str]:
    """Errors of the keys of a file, but for its figures and formats."""
    data = document.mapping()
    for key in data:
        if key not in TOP_KEYS:
            yield f"{document.where((key,))}: unknown key {nearest(key, TOP_KEYS)}"
    for key in ("name", "title", "what_if"):
        if key in data and not isinstance(data[key], str):
            yield f"{document.where((key,))}: {key} must be text, found {data[key]!r}"
    for key in ("sources", *SECTIONS):
        if not isinstance(data.get(key, {}), dict):
            yield f"{document.where((key,))}: {key} must hold names with values"
    sources = data.get("sources", {})
    for key, text in sources.items() if isinstance(sources, dict) else ():
        if not isinstance(text, str):
            yield f"{document.where(('sources', key))}: source {key} must be text, found {text!r}"
    wrong = breaches_of_fitted(data.get("fitted", []))
    yield from (f"{document.where(('fitted',))}: {breach}" for breach in wrong)
    if "figures" not in data and "base" not in data:
        yield f"{document.where()}: misses figures (give every figure, or name a base)"


def read_formats(document: Document, formats: dict[str, tuple[str, ...]]) -> Iterator[str]:
    """Put the file's own formats into ``formats``; what is wrong with them comes out."""
    data = document.mapping().get("formats", {})
    where = document.where(("formats",))
    if not isinstance(data, dict):
        yield f"{where}: formats must hold {', '.join(FORMAT_USES)}, found {data!r}"
        return
    for use, named in data.items():
        names = named if isinstance(named, list) else [named]
        if use not in FORMAT_USES:
            yield f"{where}: unknown use of formats {nearest(str(use), FORMAT_USES)}"
        elif not names or not all(isinstance(name, str) for name in names):
            yield f"{where}: formats.{use} must be a name or a list of names, found {named!r}"
        else:
            formats[use] = tuple(names)


def listed(missing: Sequence[str]) -> str:
    """The first few of the missing names, and how many more there are."""
    more = f" and {len(missing) - _MOST_NAMED} more" if len(missing) > _MOST_NAMED else ""
    return f"{', '.join(missing[:_MOST_NAMED])}{more}"


def _section(name: str) -> str:
    return name.partition(".")[0]
