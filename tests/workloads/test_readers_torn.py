"""Files torn at random: whatever stands in one, it is read or refused, never a traceback."""

import math
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads.requests import TraceError
from workloads.trace import FORMATS, read_trace

WHOLE = (
    b"TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.68,374,44\n"
    b"2023-11-16 18:15:50.99,396,109",
    b"Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
    b"5,ChatGPT,472,18,490,Conversation log\n45,GPT-4,1087,0,1087,API log\n",
    b'{"timestamp": 0, "input_length": 600, "output_length": 5, "hash_ids": [0, 1]}\n'
    b'{"timestamp": 27, "input_length": 5, "output_length": 2, "hash_ids": [0]}\n',
)
PIECES = (b"", b"\n", b",", b'"', b"{", b"}", b"\x00", b"\xff", b"-1", b"nan", b"1e999", b"9" * 40)


def outcome(path: Path, format: str) -> float:
    """Count the requests that were read; a refusal that names the file counts as none."""
    try:
        return len(read_trace(path, format))
    except TraceError as error:
        return 0 if str(path) in str(error) else math.inf


@pytest.mark.parametrize("format", ["auto", "azure", "burstgpt", "mooncake", "parquet"])
@given(
    whole=st.sampled_from(WHOLE),
    start=st.integers(0, 150),
    length=st.integers(0, 20),
    piece=st.one_of(st.sampled_from(PIECES), st.binary(max_size=8)),
)
@settings(max_examples=60, deadline=None)
def test_a_torn_file_is_read_or_refused(
    format: str, whole: bytes, start: int, length: int, piece: bytes
) -> None:
    assert format in FORMATS
    with tempfile.NamedTemporaryFile() as file:
        path = Path(file.name)
        path.write_bytes(whole[:start] + piece + whole[start + length :])
        assert outcome(path, format) <= 2
