"""Ends the processes of a private Ray whose driver has died. A script of its own, without imports.

Ray's agents outlive a killed driver by a minute, in which they report to a GCS that is gone. The
argument is the driver; standard input closes when it dies. Ray names its session by time and
driver, and every process of it has log files of the session open.
"""

import os
import re
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

GRACE_S = 3.0
"""Time in which Ray may end its processes itself."""
STAMP = "%Y-%m-%d_%H-%M-%S"


def main(driver: int) -> None:
    """Wait until standard input closes, then end what is left of the driver's sessions."""
    began = time.strftime(STAMP)
    if os.read(0, 1):  # the driver has ended its Ray
        return
    time.sleep(GRACE_S)
    for process in of_sessions(driver, began):
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def of_sessions(driver: int, began: str) -> list[int]:
    """Processes with an open file of a session that ``driver`` has begun since."""
    session = re.compile(rf"/session_([\d-]+_[\d-]+)_\d+_{driver}/")
    found = []
    for folder in Path("/proc").glob("[0-9]*/fd"):
        with suppress(OSError):  # of another user, or it has just ended
            names = (os.readlink(file) for file in folder.iterdir())  # noqa: PTH115
            if any((match := session.search(name)) and match[1] >= began for name in names):
                found.append(int(folder.parent.name))
    return found


if __name__ == "__main__":
    main(int(sys.argv[1]))
