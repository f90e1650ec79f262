"""The end of a command's process."""

import atexit
import os
import sys
import threading
from contextlib import suppress
from typing import NoReturn

END_HANDLERS = getattr(atexit, "_run_exitfuncs", None)
"""Python calls them itself where it ends in its own way."""


def leave(code: int) -> NoReturn:
    """End this process with ``code``, but take nothing apart that ends with it.

    Python would free a hundred thousand objects of modules one by one: a tenth of a second.
    """
    if threading.active_count() > 1 or END_HANDLERS is None:
        sys.exit(code)
    END_HANDLERS()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):  # closed, or none
            stream.flush()
    os._exit(code)
