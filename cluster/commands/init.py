"""``corsair-sim init``: a commented scenario to start from."""

from pathlib import Path
from typing import Annotated

import typer

from cluster.commands import terminal

app = typer.Typer()


@app.command()
def init(
    path: Annotated[Path, typer.Argument(help="File to write.")] = Path("scenario.yaml"),
    force: Annotated[bool, typer.Option("--force", help="Overwrite a file that exists.")] = False,
    as_json: terminal.Json = False,
    quiet: terminal.Quiet = False,
) -> None:
    """Write a commented scenario that runs unchanged."""
    from cluster.scenario.load import ScenarioError, template_text
    from corsair_common.files import write_text

    if path.exists() and not force:
        raise ScenarioError(f"{path} exists already; --force overwrites it")
    write_text(path, template_text())
    text = f"wrote {path}; next: corsair-sim check {path}; corsair-sim serve {path}"
    terminal.show({"path": str(path)}, text, as_json=as_json, quiet=quiet)
