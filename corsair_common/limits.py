"""Sizes of inputs and of memory, refused beforehand with the figure."""

import errno
import stat
from collections.abc import Container
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

MOST_TEXT_BYTES = 16 * 2**20
"""Of a text that people write: scenarios, hardware, configs."""
_MEMORY_SOURCES = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    (
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        "/sys/fs/cgroup/memory/memory.usage_in_bytes",
    ),
)


class ForecastError(MemoryError):
    """Work that would need more memory than there is; nothing of it was begun."""

    exit_code: ClassVar[int] = 3


def read_bounded(path: str | Path, most_bytes: int = MOST_TEXT_BYTES) -> bytes:
    """Read a file of at most ``most_bytes``, which may be a pipe; devices never end.

    Raises
    ------
    OSError
        EFBIG with the figure for a larger one; whatever the system says.
    """
    with Path(path).open("rb") as file:
        content = file.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise OSError(errno.EFBIG, f"larger than {sized(most_bytes)}", str(path))
    return content


def refuse_device(path: str | Path) -> None:
    """Raise OSError for a device, a pipe or a socket where a file is read several times."""
    mode = Path(path).stat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise OSError(errno.EINVAL, "a device or pipe; a file is needed", str(path))


def refuse_beyond_memory(need_bytes: float, what: str, remedy: str) -> None:
    """Raise ForecastError if ``what`` would take more memory than is free now."""
    free = free_bytes()
    if free is not None and need_bytes > free:
        need = sized(need_bytes)
        raise ForecastError(
            f"{what} would take about {need} of memory, {sized(free)} is free: {remedy}"
        )


def free_bytes() -> int | None:
    """Memory that a process can still take, by system, container and limit; None: unknown.

    Swap is not counted.
    """
    found = []
    with suppress(OSError, ValueError, IndexError):
        _, _, after = Path("/proc/meminfo").read_text("ascii").partition("MemAvailable:")
        found.append(int(after.split()[0]) * 1024)
    for most, used in _MEMORY_SOURCES:
        with suppress(OSError, ValueError):  # "max": no limit
            found.append(int(Path(most).read_text("ascii")) - int(Path(used).read_text("ascii")))
    with suppress(ImportError, OSError, ValueError, IndexError):
        import resource  # POSIX's alone

        limit, _ = resource.getrlimit(resource.RLIMIT_AS)
        if limit != resource.RLIM_INFINITY:
            pages = int(Path("/proc/self/statm").read_text("ascii").split()[0])
            found.append(limit - pages * resource.getpagesize())
    return max(0, min(found)) if found else None


def unpacked_bytes(metadata: Any, columns: Container[str] | None = None) -> int:
    """Least size in memory of a Parquet file's columns (None: all), from its metadata.

    Runs and dictionaries of a few kilobytes may unpack to gigabytes.
    """
    total = 0
    for place in range(metadata.num_row_groups):
        group = metadata.row_group(place)
        for column in range(group.num_columns):
            chunk = group.column(column)
            if columns is None or chunk.path_in_schema.split(".")[0] in columns:
                width = {"BOOLEAN": 1, "INT32": 4, "FLOAT": 4}.get(chunk.physical_type, 8)
                total += max(chunk.num_values * width, chunk.total_uncompressed_size)
    return total


def sized(count: float) -> str:
    """``5.7 GB``: bytes in decimal units."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if abs(count) < 1000 or unit == "TB":
            return f"{count:,.3g} {unit}" if count < 1000 else f"{count:,.0f} {unit}"
        count /= 1000
    return ""
