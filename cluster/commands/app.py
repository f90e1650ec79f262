"""The ``corsair-sim`` command: imports the requested command lazily and formats errors."""

import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module

import typer

from cluster.commands import terminal
from corsair_common.signals import INTERRUPTED, stop_code

COMMANDS = {
    "serve": "Replay a request trace and write a run.",
    "replay": "Replay an operation trace and write a run.",
    "sweep": "A scenario in thousands of variants.",
    "sensitivity": "The range of a result, what it hangs on, and which plan is better.",
    "calibrate": "Fit the hardware's figures on measured points, and say what to measure next.",
    "plan": "The best parallelism plan of a model on a cluster.",
    "init": "Write a commented scenario to start from.",
    "check": "Does a scenario fit, and how long will it take?",
    "scenario": "The scenario's JSON Schema, for editors.",
    "hardware": "Every hardware figure with its source.",
    "topology": "Show, draw and export the topology.",
    "models": "List and show model shapes.",
    "formats": "Number formats: bits, rate, error.",
    "trace": "Describe, convert, generate request traces.",
    "compare": "Compare runs: settings and metrics that differ.",
    "report": "Report of runs as one HTML page, bottleneck first.",
    "export": "A run as vLLM bench JSON or CSV.",
    "timeline": "A run as a Chrome/Perfetto trace.",
    "validate": "Published figures against simulated ones.",
}
STOPPED = INTERRUPTED
EPILOG = "Start with `corsair-sim serve`: it replays a bundled example of chat traffic."


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return 0 done, 1 internal error, 2 wrong input, 3 cannot run, 130 Ctrl-C.

    143 and 129 where SIGTERM or SIGHUP stopped it (``corsair_sim.cli``).
    """
    words = list(sys.argv[1:] if argv is None else argv)
    as_json = "--json" in words
    try:
        command = typer.main.get_command(_application(words))
        code = command.main(words, prog_name="corsair-sim", standalone_mode=False)
        sys.stdout.flush()
    except (BrokenPipeError, SystemExit):  # typer converts the former to this
        _hang_up()
        return 0
    except (KeyboardInterrupt, typer.Abort):
        code = STOPPED
    except Exception as error:
        lost = isinstance(error.__context__, KeyboardInterrupt)  # numba may change it
        if not lost or getattr(error, "exit_code", None) is not None:
            return _report(error, as_json=as_json)
        code = STOPPED
    if code == STOPPED:
        code = stop_code()
        _say("stopped; nothing was written", code, as_json=as_json)
    return code if isinstance(code, int) else 0


def _hang_up() -> None:
    """The reader of our stdout has closed it: discard the buffer without an error."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def _application(words: Sequence[str]) -> typer.Typer:
    """The command tree, with only the chosen command's module imported: ``--help`` stays fast."""
    chosen = next((word for word in words if not word.startswith("-")), None)
    root = typer.Typer(
        add_completion=False,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        epilog=EPILOG,
    )
    root.callback()(_root)
    for name, summary in COMMANDS.items():
        if name != chosen:
            root.command(name, help=summary)(_not_chosen)
            continue
        app: typer.Typer = import_module(f"cluster.commands.{name}").app
        if len(app.registered_commands) == 1 and not app.registered_callback:
            only = app.registered_commands[0]
            if only.callback is not None:
                root.command(name, help=only.help or only.callback.__doc__)(only.callback)
        else:
            root.add_typer(app, name=name, help=summary)
    return root


def _version(wanted: bool) -> None:
    if wanted:
        from importlib import metadata

        sys.stdout.write(f"corsair-sim {metadata.version('corsair-sim')}\n")
        raise typer.Exit


def _root(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version and stop."
    ),
) -> None:
    """Simulate d-Matrix Corsair inference racks: latency, throughput, and what sets them."""
    del version


def _not_chosen() -> None:
    """Placeholder of a command in the list of ``--help``; only the chosen one is imported."""


def _report(error: Exception, *, as_json: bool) -> int:
    """Print an error in one line; with ``--json`` as an object on stdout."""
    code = getattr(error, "exit_code", None)
    if isinstance(error, OSError) and code is None:
        code = 2
    if isinstance(error, MemoryError) and code is None:
        code, error = 3, MemoryError(f"out of memory: {str(error) or 'reduce the problem'}")
    if code is None:
        traceback.print_exception(error)
        message = f"internal error of corsair-sim: {type(error).__name__}: {error}"
        code = 1
    else:
        formatted = getattr(error, "format_message", None)
        message = str(formatted()) if callable(formatted) else str(error)
    if message.startswith("Usage: "):  # a command without its required arguments: this is its help
        terminal.note(message)
        return int(code)
    if code == STOPPED:  # requested by the user
        code = stop_code()
    else:
        message = f"corsair-sim: error: {message}"
    _say(message, int(code), as_json=as_json)
    return int(code)


def _say(message: str, code: int, *, as_json: bool) -> None:
    """Print to stderr, and with ``--json`` to stdout."""
    if as_json:
        plain = message.removeprefix("corsair-sim: error: ")
        terminal.show({"error": plain, "exit_code": code}, "", as_json=True)
    terminal.note(message)
