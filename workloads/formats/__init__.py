"""Number formats: how many bits an element costs, exactly, what quantising to it does to numbers,
and which DIMC mode multiplies it.

Block formats share one exponent or scale among ``block`` neighbours along the contraction. Their
bits follow the vendor's published compressor (BFP16_64 is 8-bit mantissas under an 8-bit exponent
per 64, so 8.125 bits; "MXINT8" is the same arithmetic at block 64, and MXINT4 and MXINT16 are the
vendor's words, not OCP's). MXFP4, MXFP6 and MXFP8 are OCP's floats under a power of two per 32,
NVFP4 is NVIDIA's under an E4M3 per 16. The DIMC matrix engine runs 4-, 8- and 16-bit integers and
no floats: it stores those and expands them to 8-bit integers.
"""

from corsair_common.units import Integers
from workloads.formats.error import Distortion, distortion, sqnr_db
from workloads.formats.format import GROUP, Columns, Format, FormatError
from workloads.formats.gaussian import gaussian_noise, rounded_up_noise, scaled_noise
from workloads.formats.inner_product import gaussian_dot_bound, gaussian_dot_noise, largest_error
from workloads.formats.quantise import Encoded, decode, encode, quantize
from workloads.formats.registry import ALIASES, FORMATS, block_format, get_format

__all__ = [
    "ALIASES",
    "FORMATS",
    "GROUP",
    "Columns",
    "Distortion",
    "Encoded",
    "Format",
    "FormatError",
    "Integers",
    "block_format",
    "decode",
    "distortion",
    "encode",
    "gaussian_dot_bound",
    "gaussian_dot_noise",
    "gaussian_noise",
    "get_format",
    "largest_error",
    "quantize",
    "rounded_up_noise",
    "scaled_noise",
    "sqnr_db",
]
