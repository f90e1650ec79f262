"""Opens trace files as bytes, unpacked if they are gzip or Zstandard (by their magic)."""

import gzip
import io
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from corsair_common.limits import refuse_beyond_memory
from workloads.requests import TraceError

if TYPE_CHECKING:
    import pyarrow as pa

BYTES_PER_ROW = 150
"""Memory to read one request, of any format (measured: 1 and 4 million requests of each)."""
BYTES_PER_BYTE = 2.5
"""Memory to read one byte of text (measured: JSON lines; CSV takes more)."""
_REMEDY = "cut it into several files"
_DENSEST = 1032  # deflate packs no more bytes into one
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_CHUNK = 1 << 22


def open_trace(path: Path) -> BinaryIO:
    """Open the content of a file for reading; TraceError for an archive that does not unpack."""
    with path.open("rb") as file:
        magic = file.read(4)
        size = file.seek(0, io.SEEK_END)
        file.seek(max(0, size - 4))
        if magic.startswith(_GZIP):  # its last four bytes are its unpacked size, modulo 4 GiB
            size = max(size, min(size * _DENSEST, int.from_bytes(file.read(4), "little")))
    refuse_beyond_memory(size * BYTES_PER_BYTE, f"reading {path}", _REMEDY)
    if magic.startswith(_GZIP):
        return _unpacked(path, gzip.open(path, "rb"))
    if magic == _ZSTD:
        import pyarrow as pa

        return _unpacked(path, pa.CompressedInputStream(pa.OSFile(str(path)), "zstd"))
    return path.open("rb")


def _unpacked(path: Path, stream: "gzip.GzipFile | pa.CompressedInputStream") -> BinaryIO:
    """Unpack into memory: Arrow and the line-by-line check read the same bytes."""
    content = io.BytesIO()
    try:
        with stream:
            while chunk := stream.read(_CHUNK):
                content.write(chunk)
                more = content.tell() * (BYTES_PER_BYTE - 1)
                refuse_beyond_memory(more, f"unpacking {path} further", _REMEDY)
    except (OSError, EOFError, zlib.error) as error:
        raise TraceError(f"{path}: does not unpack: cut off? ({error})") from None
    content.seek(0)
    return content
