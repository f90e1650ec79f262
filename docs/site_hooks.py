"""Generates the navigation and the reference pages of the documentation site.

Reference pages are written from the code each time the site is built, so they cannot be out of
date: every key of a scenario, every column of a result, every figure, every command's help.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from site_python import python_page  # beside this file; mkdocs puts the folder on the path

FIRST = ("index.md", "tutorial.md")
SECTIONS: Mapping[str, tuple[str, ...]] = {
    "How to": ("how-to",),
    "Plans and sweeps": ("plans.md", "sweeps.md"),
    "Physics": ("physics.md",),
    "Formats of files": ("program-format.md", "chakra.md", "replay.md"),
    "Accuracy": (
        "scoreboard.md",
        "validation.md",
        "calibration-matrix.md",
        "plan-accuracy.md",
        "reliability.md",
    ),
    "Studies": ("studies",),
    "Reference": ("reference",),
    "Decisions": ("decisions",),
}
"""Sections by their pages and folders; all other pages are under How to."""
REFERENCE = ("python", "scenario", "tables", "hardware", "commands", "models")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Make the navigation from the folder's pages."""
    root = Path(config.docs_dir)
    named = {page for pages in SECTIONS.values() for page in pages} | set(FIRST)
    others = sorted(page.name for page in root.glob("*.md") if page.name not in named)
    nav: list[Any] = [page for page in FIRST if (root / page).is_file()]
    for title, parts in SECTIONS.items():
        pages = [page for part in parts for page in _pages(root, part)]
        pages += others if title == "How to" else []
        if pages:
            nav.append({title: pages})
    config.nav = nav
    return config


def _pages(root: Path, part: str) -> list[str]:
    if part == "reference":
        return [f"reference/{name}.md" for name in REFERENCE]
    if (root / part).is_dir():
        return sorted(f"{part}/{page.name}" for page in (root / part).glob("*.md"))
    return [part] if (root / part).is_file() else []


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the reference pages."""
    writers = {
        "python": python_page,
        "scenario": scenario_page,
        "tables": tables_page,
        "hardware": hardware_page,
        "commands": commands_page,
        "models": models_page,
    }
    for name in REFERENCE:
        text = "\n".join(writers[name]()) + "\n"
        files.append(File.generated(config, f"reference/{name}.md", content=text))
    return files


def scenario_page() -> Iterator[str]:
    """Every key of a scenario: type, default, bounds, from the schema that checks it."""
    from cluster.scenario.schema import Scenario

    schema = Scenario.model_json_schema()
    yield "# Keys of a scenario"
    yield ""
    yield "Unknown keys are refused with the nearest known one. Any key can be set from the"
    yield "command line, `--set path.to.key=value`. For editors: `corsair-sim scenario schema`."
    yield from _object("Scenario", schema)
    for name, part in schema.get("$defs", {}).items():
        if part.get("properties"):
            yield from _object(name, part)


def _object(name: str, part: Mapping[str, Any]) -> Iterator[str]:
    yield ""
    yield f"## {name}"
    if description := part.get("description"):
        yield ""
        yield " ".join(str(description).split())
    yield ""
    yield from _table(
        ("key", "type", "default"),
        (
            (f"`{key}`", _type(field), _code(field.get("default")) if "default" in field else "")
            for key, field in part.get("properties", {}).items()
        ),
    )


def _type(field: Mapping[str, Any]) -> str:
    if "$ref" in field:
        name = str(field["$ref"]).rsplit("/", 1)[-1]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in field:
        return " or ".join(dict.fromkeys(_type(option) for option in field["anyOf"]))
    if "enum" in field or "const" in field:
        return ", ".join(f"`{value}`" for value in field.get("enum", [field.get("const")]))
    words = {
        "minimum": "at least",
        "exclusiveMinimum": "above",
        "maximum": "at most",
        "exclusiveMaximum": "below",
    }
    bounds = [f"{word} {field[key]:g}" for key, word in words.items() if key in field]
    return " ".join([str(field.get("type", "any")), *bounds])


def tables_page() -> Iterator[str]:
    """Every column of every file that a run leaves."""
    from results.devices import DEVICES, DIMC
    from results.schema import TABLES, run_tables

    yield "# Tables of a run"
    yield ""
    yield "Parquet, in the run's folder. Units and meanings stand in the files' metadata too."
    yield "Where columns follow the device, they are those of a run on Corsair; what other devices"
    yield "have instead stands at the end."
    for table in TABLES.values():
        yield ""
        yield f"## {table.name}.parquet"
        yield ""
        yield _escaped(table.meaning)
        yield ""
        yield from _columns(table.columns)
    for device in DEVICES:
        if device is DIMC:
            continue
        for name, table in run_tables(device).items():
            known = {column.name for column in TABLES[name].columns}
            own = [column for column in table.columns if column.name not in known]
            if own:
                yield ""
                yield f"## {name}.parquet of a run on hardware of kind {device.kind}"
                yield ""
                yield from _columns(own)


def _columns(columns: Iterable[Any]) -> Iterator[str]:
    return _table(
        ("column", "type", "unit", "null", "meaning"),
        (
            (
                f"`{column.name}`",
                column.type,
                column.unit,
                "yes" if column.nullable else "",
                column.meaning,
            )
            for column in columns
        ),
    )


def hardware_page() -> Iterator[str]:
    """Every figure of Corsair with its range and source."""
    from topology.catalog import load_hardware

    hardware = load_hardware("corsair")
    yield "# Figures of Corsair"
    yield ""
    yield "`corsair-sim hardware show corsair` prints the same; `--set hardware_set.NAME=VALUE`"
    yield "(SI) changes one for a run, a YAML file with `base: corsair` changes several."
    yield ""
    rows = []
    for name, figure in hardware.figures.items():
        value, low, high = figure.in_datasheet_unit()
        span = "" if low == high else f"{low:g} to {high:g}"
        unit = figure.datasheet_unit
        rows.append((f"`{name}`", f"{value:g} {unit}", span, figure.confidence, figure.source))
    yield from _table(("figure", "value", "range", "confidence", "source"), rows)
    yield ""
    yield "## Sources"
    yield ""
    yield from _table(("short", "is"), hardware.sources.items())


def commands_page() -> Iterator[str]:
    """The help of every command, as it is printed."""
    import click
    import typer

    from cluster.commands import app

    yield "# Commands"
    yield ""
    yield "Exit codes: 0 done, 2 invalid input, 3 cannot run, 1 internal error, 130 stopped."
    for name in app.COMMANDS:
        root = typer.main.get_command(app._application([name]))
        context = click.Context(root, info_name="corsair-sim")  # type: ignore[arg-type]
        command = root.get_command(context, name)  # type: ignore[attr-defined]
        yield from _help(command, context, ["corsair-sim", name])


def _help(command: Any, above: Any, words: list[str]) -> Iterator[str]:
    context = type(above)(command, info_name=words[-1], parent=above)
    yield ""
    yield f"{'#' * min(4, len(words))} {' '.join(words[1:])}"
    yield ""
    yield "```text"
    yield command.get_help(context)
    yield "```"
    for name, inner in getattr(command, "commands", {}).items():
        yield from _help(inner, context, [*words, name])


def models_page() -> Iterator[str]:
    """The bundled shapes with their sizes."""
    from workloads.formats import get_format
    from workloads.model import kv_bytes_per_token, list_models, load_model, weight_bytes

    yield "# Bundled models"
    yield ""
    yield (
        "Any Hugging Face `config.json` of a decoder of text can be named by its path instead. What"
        " is read and what is simulated is said in [Bring your own](../how-to/bring-your-own.md)."
    )
    yield ""
    rows = []
    for name in list_models():
        model = load_model(name)
        stored = get_format("mxint8")
        rows.append(
            (
                f"`{name}`",
                f"{model.parameters:,}",
                f"{model.active_parameters:,}",
                len(model.layers),
                f"{weight_bytes(model, stored) / 1e9:,.1f} GB",
                f"{kv_bytes_per_token(model, stored):,} B",
            )
        )
    heads = ("model", "parameters", "active", "layers", "weights, mxint8", "KV per token, mxint8")
    yield from _table(heads, rows)


def _table(headers: Iterable[str], rows: Iterable[Iterable[object]]) -> Iterator[str]:
    heads = list(headers)
    yield f"| {' | '.join(heads)} |"
    yield f"|{'---|' * len(heads)}"
    for row in rows:
        yield f"| {' | '.join(_escaped(str(cell)) for cell in row)} |"


def _code(value: object) -> str:
    return "" if value is None else f"`{value}`"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
