"""Entry of the ``corsair-sim`` command: check whose packages are found, then run it."""

import gc
import json
import sys
from collections.abc import Sequence
from typing import NoReturn

from corsair_common.leave import leave
from corsair_common.signals import stop_code, stops_as_interrupts
from corsair_sim.import_check import PackageConflictError, check_packages


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code, 2 where foreign packages would be imported."""
    words = list(sys.argv[1:] if argv is None else argv)
    gc.set_threshold(50_000, 20, 100)  # a map has a million objects, none of them garbage
    try:
        with stops_as_interrupts():
            return _run(words)
    except KeyboardInterrupt:  # while packages were imported: later ones are the command's
        sys.stderr.write("stopped; nothing was written\n")
        return stop_code()


def command() -> NoReturn:
    """``main`` as a process of its own."""
    leave(main())


def _run(words: Sequence[str]) -> int:
    try:
        check_packages()
    except PackageConflictError as error:
        if "--json" in words:
            sys.stdout.write(json.dumps({"error": str(error), "exit_code": error.exit_code}) + "\n")
        sys.stderr.write(f"corsair-sim: error: {error}\n")
        return error.exit_code
    try:
        from cluster.commands.app import main as run
    except Exception as error:  # a module of C may report Ctrl-C as a failed import
        if isinstance(error.__context__ or error.__cause__, KeyboardInterrupt):
            raise KeyboardInterrupt from error
        raise
    return run(words)
