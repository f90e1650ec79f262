"""Loads a scenario from a YAML file, ``--set`` words and keyword overrides, and validates it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, get_args

from pydantic import ValidationError

from cluster.scenario.collectives import AlgorithmName
from cluster.scenario.router_settings import RouterSettings
from cluster.scenario.routers import ROUTERS
from cluster.scenario.schema import AUTO, Scenario
from cluster.scenario.speculative import Speculative
from cluster.scenario.validation_errors import Keys, explain
from cluster.scenario.workload import SOURCES, Arrivals, ChakraFolder, Delay, Lengths
from topology.parsed_files import bundled_document
from topology.strict_yaml import Document, parse_document, read_document

BUNDLED = "chat"

RIVALS = {
    "workload": frozenset(SOURCES),
    "router": frozenset(RouterSettings.model_fields),
    "arrivals": frozenset(Arrivals.model_fields),
    "prompt_tokens": frozenset(Lengths.model_fields),
    "output_tokens": frozenset(Lengths.model_fields),
    "turns": frozenset(Lengths.model_fields),
    "added_tokens": frozenset(Lengths.model_fields),
    "delay_s": frozenset(Delay.model_fields),
}
"""Mutually exclusive keys: an override of one replaces the other."""


class ScenarioError(ValueError):
    """An invalid scenario."""

    exit_code: ClassVar[int] = 2


def load(
    source: str | Path | Mapping[str, Any] | None = None,
    *,
    sets: Sequence[str] = (),
    **overrides: object,
) -> Scenario:
    """Read, override and check a scenario.

    Parameters
    ----------
    source
        A YAML file, a mapping of the same shape, or None for the bundled example. Paths inside are
        taken relative to the file's folder (to the current folder for a mapping).
    sets
        ``"path.to.key=value"`` words; the value is read as YAML.
    overrides
        Keys of the scenario; mappings are merged into what the file says.

    Returns
    -------
    The checked scenario. Its keys are attributes; rates and times are in SI units.

    Raises
    ------
    ScenarioError
        With every breach: file and line, key, what was found, what is allowed.

    Examples
    --------
    >>> from corsair_sim import load
    >>> load(scheduler={"max_num_seqs": 32}).scheduler.max_num_seqs
    32
    >>> load(sets=["slo.ttft_s=0.2"], seed=7).slo.ttft_s
    0.2
    """
    document, folder = _document(source)
    data = _merged(document.mapping(), overrides)
    origin: dict[Keys, str] = dict.fromkeys(_leaves(overrides), "override")
    for word in sets:
        keys, value = _assignment(word)
        _assign(data, keys, value, word)
        origin = {at: text for at, text in origin.items() if at[: len(keys)] != keys}
        origin[keys] = f"--set {word}"
    return _checked(data, origin, document, (folder, Path.cwd()))


def load_variant(
    document: Document,
    overrides: Mapping[str, object],
    *,
    origin: str,
    folders: tuple[Path, Path],
) -> Scenario:
    """One of many scenarios of the same document; errors name ``origin`` for its changes.

    ``folders`` are the base folders of paths in the document and in the overrides.

    Raises
    ------
    ScenarioError
        As ``load``.
    """
    data = _merged(document.mapping(), overrides)
    return _checked(data, dict.fromkeys(_leaves(overrides), origin), document, folders)


def _checked(
    data: dict[str, Any],
    origin: Mapping[Keys, str],
    document: Document,
    folders: tuple[Path, Path],
) -> Scenario:
    _drop_rivals(data, origin)
    _refuse_nul(data, origin, document)
    try:
        scenario = Scenario.model_validate(data)
    except ValidationError as error:
        raise ScenarioError(explain(error, data, document, origin)) from None
    return _anchored(scenario, folders, origin)


def bundled_text() -> str:
    """The bundled example scenario of the package."""
    return (resources.files("cluster") / "bundled" / f"{BUNDLED}.yaml").read_text("utf-8")


def template_text() -> str:
    """The commented scenario that ``corsair-sim init`` writes."""
    text = (resources.files("cluster") / "bundled" / "template.yaml").read_text("utf-8")
    text = text.replace("ALGORITHMS", " | ".join(get_args(AlgorithmName)))
    return text.replace("ROUTERS", " | ".join(ROUTERS))


def _document(source: str | Path | Mapping[str, Any] | None) -> tuple[Document, Path]:
    if source is None:
        return bundled_document(bundled_text(), f"{BUNDLED}.yaml (bundled)"), Path.cwd()
    if isinstance(source, Mapping):
        return Document(name="scenario", data=dict(source), lines={}), Path.cwd()
    return read_document(source), Path(source).resolve().parent


def _merged(base: Any, extra: Mapping[str, object]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in extra.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _merged(merged[key], value) if both else value  # type: ignore[arg-type]
    return merged


def _leaves(tree: Mapping[str, object], above: Keys = ()) -> Iterator[Keys]:
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, (*above, key))
        else:
            yield (*above, key)


def _refuse_nul(data: Mapping[str, Any], origin: Mapping[Keys, str], document: Document) -> None:
    """No file name or other string may contain the NUL character."""
    for keys in _leaves(data):
        value: Any = data
        for key in keys:
            value = value[key]
        if isinstance(value, str) and "\0" in value:
            where = origin.get(keys) or (document.where(keys) if document.lines else document.name)
            raise ScenarioError(f"{where}: {'.'.join(map(str, keys))} holds a NUL character")


def _drop_rivals(data: dict[str, Any], inputs: Mapping[Keys, str]) -> None:
    """If the caller sets one of several exclusive keys, drop the file's choice."""
    for keys in inputs:
        here: Any = data
        for parent, key in pairwise(keys):
            here = here[parent] if isinstance(here, dict) else None
            if not isinstance(here, dict) or key not in RIVALS.get(str(parent), ()):
                continue
            for rival in RIVALS[str(parent)] & here.keys() - {key}:
                if not any(str(rival) in other for other in inputs):
                    del here[rival]


def _assignment(word: str) -> tuple[Keys, object]:
    path, equals, text = word.partition("=")
    if not equals or not all(path.strip().split(".")):
        raise ScenarioError(f"--set {word}: expected path.to.key=value")
    return keys_of(path.strip()), parse_document(text, f"--set {word}").data


def keys_of(path: str) -> tuple[str, ...]:
    """A dotted path as the keys that lead there.

    A figure of the catalogue has dots in its own name: what follows ``hardware_set`` is one key.

    >>> keys_of("pools.decode.hardware_set.card.clock_hz")
    ('pools', 'decode', 'hardware_set', 'card.clock_hz')
    """
    head, found, rest = f".{path}".partition(".hardware_set.")
    above = tuple(head.split(".")[1:])
    return (*above, "hardware_set", rest) if found else above


def _assign(data: dict[str, Any], keys: Keys, value: object, word: str) -> None:
    *parents, last = keys
    here: Any = data
    for key in parents:
        if isinstance(here, dict):
            child = here.get(key)
            child = None if child == AUTO and key == "plan" else child
            here[key] = dict(child) if isinstance(child, Mapping) else (child or {})
            here = here[key]
        elif isinstance(here, list) and str(key).isdigit() and int(key) < len(here):
            here = here[int(key)]
        else:
            raise ScenarioError(f"--set {word}: {key!r} has no keys to set")
    if not isinstance(here, dict):
        raise ScenarioError(f"--set {word}: {'.'.join(map(str, parents))} is not a mapping")
    here[last] = value


def _anchored(
    scenario: Scenario, folders: tuple[Path, Path], inputs: Mapping[Keys, str]
) -> Scenario:
    """The same scenario with its inputs' paths made absolute.

    What the file names lies in the first folder, beside the file; what the caller names, in the
    second, the current one.
    """

    def base(*keys: str) -> Path:
        return folders[any(keys == at[: len(keys)] for at in inputs)]

    def anchor(name: str, *keys: str) -> str:
        looks_like_path = "/" in name or "\\" in name or name.endswith((".json", ".yaml", ".yml"))
        path = base(*keys) / name
        return str(path) if looks_like_path or path.is_file() else name

    changes: dict[str, object] = {"hardware": anchor(scenario.hardware, "hardware")}
    if scenario.pools is not None:
        pools = {
            name: pool.model_copy(
                update={"hardware": anchor(pool.hardware, "pools", name, "hardware")}
            )
            for name, pool in scenario.pools
            if pool.hardware is not None
        }
        changes["pools"] = scenario.pools.model_copy(update=pools)
    if scenario.speculative is not None:
        changes["speculative"] = _drafts_beside(scenario.speculative, anchor, base)
    if scenario.model is not None:
        changes["model"] = anchor(scenario.model, "model")
    if scenario.network is not None:
        changes["network"] = str(base("network") / scenario.network)
    changes["workload"] = scenario.workload.model_copy(
        update={
            key: _beside(getattr(scenario.workload, key), base("workload", key))
            for key in ("trace", "program", "chakra")
        }
    )
    return scenario.model_copy(update=changes)


def _drafts_beside(
    drafts: Speculative, anchor: Callable[..., str], base: Callable[..., Path]
) -> Speculative:
    """The same drafts with the paths of their model, hardware and measured lengths absolute."""
    update: dict[str, object] = {}
    if drafts.model is not None:
        update["model"] = anchor(drafts.model, "speculative", "model")
    cards, measured = drafts.draft_on, drafts.acceptance.measured
    if cards is not None and cards.hardware is not None:
        name = anchor(cards.hardware, "speculative", "draft_on", "hardware")
        update["draft_on"] = cards.model_copy(update={"hardware": name})
    if measured is not None:
        path = str(base("speculative", "acceptance", "measured", "file") / measured.file)
        found = measured.model_copy(update={"file": path})
        update["acceptance"] = drafts.acceptance.model_copy(update={"measured": found})
    return drafts.model_copy(update=update)


def _beside(source: object, folder: Path) -> object:
    """The same source of traffic with its paths below ``folder``."""
    if isinstance(source, str):
        return str(folder / source)
    if isinstance(source, ChakraFolder):
        groups = None if source.groups is None else str(folder / source.groups)
        paths = {"folder": str(folder / source.folder), "groups": groups}
        return source.model_copy(update=paths)
    return source
