"""Registry of number formats, and the parser of their names.

``mxint{4,8,16}`` and ``bfp{12,16,24}_64`` are the same arithmetic (BFP16 counts 8 bits of mantissa
and 8 of the shared exponent); a name may state another block (``mxint8_k32``, ``bfp12_16``), and
end in a sparsity (``sbfp12_16+4:8``). The matrix engine multiplies blocks of its 64 rows or of a
multiple of them. What lies in smaller blocks is storage: it is expanded to 8 bits in blocks of 64
(16 bits stay 16), as the vendor's compressor does with SBFP12_16; so are floats under a shared
scale. A format is one row of ``_ALL``; how it is stored and rounded follows from its fields.
"""

import difflib
import re
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from workloads.formats.format import GROUP, Columns, Format, FormatError, Scale

ROWS = 64
"""Of a DIMC core: one block of the formats that it multiplies as they are."""
BLOCKS = (16, 32, 64, 128, 256)
SPARSITIES = (4, 2)
"""Kept of every 8."""
_COLUMNS: Mapping[int, Columns] = MappingProxyType({4: "int4", 8: "int8", 16: "int16"})
_PATTERNS = (
    (re.compile(r"mxint(4|8|16)(?:_k(\d+))?"), 0),
    (re.compile(r"bfp(12|16|24)_(\d+)"), 8),
)
"""The names of block formats, and the bits that a name counts beside the mantissa's."""


def block_format(mantissa_bits: int, block: int, name: str = "") -> Format:
    """A power of two under 8 bits, shared by ``block`` mantissas of 4, 8 or 16 bits."""
    if mantissa_bits not in _COLUMNS or block not in BLOCKS:
        raise FormatError(
            f"block formats have {_words(_COLUMNS)} mantissa bits in blocks of {_words(BLOCKS)},"
            f" got {mantissa_bits!r} and {block!r}"
        )
    expanded = block % ROWS != 0
    wide = max(mantissa_bits, 8) if expanded else mantissa_bits
    return Format(
        name=name or f"bfp{mantissa_bits + 8}_{block}",
        element_bits=mantissa_bits,
        mantissa_bits=mantissa_bits,
        block=block,
        scale_bits=8,
        scale="e8m0",
        columns=_COLUMNS[wide],
        arithmetic=f"bfp{wide + 8}_{ROWS}" if expanded else "",
    )


def _words(numbers: Mapping[int, Columns] | tuple[int, ...]) -> str:
    *first, last = (str(number) for number in numbers)
    return f"{', '.join(first)} or {last}"


def _float(name: str, bits: int, fraction: int) -> Format:
    return Format(name=name, element_bits=bits, mantissa_bits=fraction)


def _scaled_float(
    name: str, bits: int, fraction: int, block: int = 32, scale: Scale = "e8m0"
) -> Format:
    """Floats under a shared scale; a DIMC expands them to 8-bit integers in blocks of its rows."""
    return Format(
        name=name,
        element_bits=bits,
        mantissa_bits=fraction,
        block=block,
        scale_bits=8,
        scale=scale,
        columns="int8",
        arithmetic=f"bfp16_{ROWS}",
    )


_ALL = (
    block_format(4, 64, "mxint4"),
    block_format(8, 64, "mxint8"),
    block_format(16, 64, "mxint16"),
    block_format(4, 32, "mxint4_k32"),
    block_format(8, 32, "mxint8_k32"),
    block_format(16, 32, "mxint16_k32"),
    block_format(4, 64),
    block_format(4, 16),
    block_format(8, 64),
    block_format(16, 64),
    Format(
        name="sbfp12_16",
        element_bits=4,
        mantissa_bits=4,
        block=16,
        scale_bits=8,
        scale="e4m4",
        columns="int8",
        arithmetic="bfp16_64",
    ),
    _scaled_float("mxfp4", 4, 1),
    _scaled_float("mxfp6_e2m3", 6, 3),
    _scaled_float("mxfp6_e3m2", 6, 2),
    _scaled_float("mxfp8_e4m3", 8, 3),
    _scaled_float("mxfp8_e5m2", 8, 2),
    _scaled_float("nvfp4", 4, 1, block=16, scale="e4m3"),
    _float("fp8_e4m3", 8, 3),
    _float("fp8_e5m2", 8, 2),
    _float("fp16", 16, 10),
    _float("bf16", 16, 7),
    _float("fp32", 32, 23),
)

FORMATS: Mapping[str, Format] = MappingProxyType({item.name: item for item in _ALL})
"""The formats that have names of their own; other blocks and sparsities are read from the word."""

ALIASES: Mapping[str, str] = MappingProxyType(
    {
        "fp8": "fp8_e4m3",
        "float16": "fp16",
        "half": "fp16",
        "bfloat16": "bf16",
        "float32": "fp32",
        "mxint4_k64": "mxint4",
        "mxint8_k64": "mxint8",
        "mxint16_k64": "mxint16",
        "mxfp4_e2m1": "mxfp4",
        "mxfp8": "mxfp8_e4m3",
    }
)
"""Other words for them."""


def get_format(name: str) -> Format:
    """Return the format of that name (any case); refuse an unknown one with the nearest.

    >>> str(get_format("MXINT8").bits_per_element)
    '65/8'
    >>> float(get_format("sbfp12_16+4:8").bits_per_element)
    3.25
    """
    word, plus, sparsity = name.strip().lower().partition("+")
    found = _dense(word, name)
    return _sparse(found, sparsity, name) if plus else found


def _dense(word: str, name: str) -> Format:
    word = ALIASES.get(word, word)
    if word in FORMATS:
        return FORMATS[word]
    for pattern, shared in _PATTERNS:
        match = pattern.fullmatch(word)
        if match:
            bits, block = int(match[1]) - shared, int(match[2])
            if block not in BLOCKS:
                raise FormatError(
                    f"number format {name!r} has blocks of {block}; there are {_words(BLOCKS)}"
                )
            return block_format(bits, block, word)
    begun = [known for known in FORMATS if word and known.startswith(f"{word}_")]
    near = begun or difflib.get_close_matches(word, [*FORMATS, *ALIASES], n=1)
    hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
    raise FormatError(
        f"unknown number format {name!r}{hint} (there are {', '.join(FORMATS)}; other blocks as in"
        " mxint8_k128 or bfp12_32; weights also with +4:8 or +2:8)"
    )


def _sparse(dense: Format, sparsity: str, name: str) -> Format:
    words = {f"{kept}:{GROUP}": kept for kept in SPARSITIES}
    if sparsity not in words:
        raise FormatError(
            f"number format {name!r} ends in a sparsity of {sparsity!r}; there are"
            f" {' and '.join(words)}"
        )
    return replace(dense, name=f"{dense.name}+{sparsity}", kept=words[sparsity])
