"""``corsair-sim scenario``: the keys of a scenario."""

import json

import typer

from cluster.commands import terminal

app = typer.Typer(help="The keys of a scenario.", no_args_is_help=True)


@app.callback()
def scenario() -> None:
    """Describe the scenario file."""


@app.command()
def schema(as_json: terminal.Json = False, quiet: terminal.Quiet = False) -> None:
    """Print the JSON Schema of scenarios, for editors that validate YAML."""
    from cluster.scenario.schema import Scenario

    found = Scenario.model_json_schema()
    terminal.show(found, json.dumps(found, indent=2), as_json=as_json, quiet=quiet)
