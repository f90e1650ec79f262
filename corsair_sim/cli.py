"""Entry of the ``corsair-sim`` command: check whose packages are found, then run it."""

import json
import sys
from collections.abc import Sequence

from corsair_sim.import_check import PackageConflictError, check_packages


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code, 2 where foreign packages would be imported."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        check_packages()
    except PackageConflictError as error:
        if "--json" in words:
            sys.stdout.write(json.dumps({"error": str(error), "exit_code": error.exit_code}) + "\n")
        sys.stderr.write(f"corsair-sim: error: {error}\n")
        return error.exit_code
    from cluster.commands.app import main as run

    return run(words)
