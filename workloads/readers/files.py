"""Opens trace files as bytes, unpacked if they are gzip or Zstandard (by their magic)."""

import gzip
import io
import zlib
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa

from workloads.requests import TraceError

_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_MOST_BYTES = 2**32
_CHUNK = 1 << 22


def open_trace(path: Path) -> BinaryIO:
    """Open the content of a file for reading; TraceError for an archive that does not unpack."""
    with path.open("rb") as file:
        magic = file.read(4)
    if magic.startswith(_GZIP):
        return _unpacked(path, gzip.open(path, "rb"))
    if magic == _ZSTD:
        return _unpacked(path, pa.CompressedInputStream(pa.OSFile(str(path)), "zstd"))
    return path.open("rb")


def _unpacked(path: Path, stream: "gzip.GzipFile | pa.CompressedInputStream") -> BinaryIO:
    """Unpack into memory: Arrow and the line-by-line check read the same bytes."""
    content = io.BytesIO()
    try:
        with stream:
            while chunk := stream.read(_CHUNK):
                content.write(chunk)
                if content.tell() > _MOST_BYTES:
                    raise TraceError(f"{path}: unpacks to over 4 GiB; unpack it and cut it first")
    except (OSError, EOFError, zlib.error) as error:
        raise TraceError(f"{path}: does not unpack: cut off? ({error})") from None
    content.seek(0)
    return content
