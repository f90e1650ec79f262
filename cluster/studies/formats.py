"""Compares number formats: bits, rate, and error."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from cluster.perf_model.devices import module_of, weight_formats
from cluster.perf_model.protocols import Figures
from topology.catalog.kinds import DEFAULT_KIND
from workloads.formats import FORMATS, Format, distortion, gaussian_noise, get_format, sqnr_db

LISTED = (*FORMATS, "sbfp12_16+4:8", "sbfp12_16+2:8")
SAMPLE = (4096, 256)
FEW_ROWS = 256
SEED = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class FormatRow:
    """One format."""

    format: Format
    multiplied_as: str | None
    """What it is expanded to; None where the matrix engine does not run it."""
    columns: str | None
    """The mode of the DIMC columns that it takes, on cards that have such."""
    against: str
    """The hardware file's first format of weights."""
    rate: float | None
    """Of its products against those of that format, activations of the width it is multiplied in;
    None where the matrix engine does not run it."""
    flop_per_s: float | None
    """Peak of a card with such activations."""
    flop_per_s_8_bit: float | None
    """Peak of a card with 8-bit activations."""
    formula_db: float
    """SQNR on N(0, 1) in closed form."""
    measured_db: float
    """On the given array; infinite without loss."""
    largest_relative: float
    """The largest relative error."""
    largest_of_block: float
    """The largest error over the largest magnitude of its block."""


def gaussian_sample(seed: int = SEED) -> npt.NDArray[np.float32]:
    """About a million numbers of N(0, 1), in rows of 256."""
    return np.random.default_rng(seed).standard_normal(SAMPLE).astype(np.float32)


def heavy_tailed_sample(seed: int = SEED) -> npt.NDArray[np.float32]:
    """As many of Student's t with four degrees of freedom: rare numbers are far out, as in weights
    and caches with outliers."""
    return np.random.default_rng(seed).standard_t(4, SAMPLE).astype(np.float32)


@lru_cache(maxsize=64)
def sqnr_of(item: Format) -> tuple[float, float]:
    """SQNR in dB on normal and on heavy-tailed numbers, measured once for each format: on 65,536,
    a sixteenth of the samples, which is within 0.2 dB of the whole."""
    normal, heavy = (
        distortion(numbers[:FEW_ROWS], item).sqnr_db
        for numbers in (gaussian_sample(), heavy_tailed_sample())
    )
    return normal, heavy


def format_rows(
    hardware: Figures, numbers: npt.ArrayLike, axis: int = -1, names: Iterable[str] = LISTED
) -> tuple[FormatRow, ...]:
    """One row for each name, measured on ``numbers``.

    Raises
    ------
    FormatError
        An unknown format; numbers that are not finite, or an axis that they lack.
    """
    return tuple(_row(hardware, get_format(name), numbers, axis) for name in names)


def _row(hardware: Figures, item: Format, numbers: npt.ArrayLike, axis: int) -> FormatRow:
    found = distortion(numbers, item, axis)
    device = module_of(hardware)
    columns = item.columns if getattr(hardware, "kind", DEFAULT_KIND) == DEFAULT_KIND else None
    first = get_format(weight_formats(hardware)[0])
    own, whole = (device.peak_flop_per_s(hardware, each, None) for each in (item, first))
    eight = device.peak_flop_per_s(hardware, item, 8)
    return FormatRow(
        format=item,
        multiplied_as=((columns and item.arithmetic) or item.name) if own else None,
        columns=columns,
        against=first.name,
        rate=own / whole if own and whole else None,
        flop_per_s=own,
        flop_per_s_8_bit=eight,
        formula_db=sqnr_db(1.0, gaussian_noise(item)),
        measured_db=found.sqnr_db,
        largest_relative=found.largest_relative,
        largest_of_block=found.largest_of_block,
    )


def plain(row: FormatRow) -> dict[str, object]:
    """The row as JSON has it: null where nothing is lost or nothing runs."""
    item = row.format
    return {
        "name": item.name,
        "bits_per_element": float(item.bits_per_element),
        "elements": item.element,
        "element_bits": item.element_bits,
        "mantissa_bits": item.mantissa_bits,
        "block": item.block,
        "scale": item.scale or None,
        "kept_of_8": item.kept,
        "multiplied_as": row.multiplied_as,
        "columns": row.columns,
        f"rate_against_{row.against}": row.rate,
        "tflops_per_card": None if row.flop_per_s is None else row.flop_per_s / 1e12,
        "tflops_per_card_8_bit_activations": None
        if row.flop_per_s_8_bit is None
        else row.flop_per_s_8_bit / 1e12,
        "gaussian_sqnr_db": row.formula_db,
        "measured_sqnr_db": row.measured_db if math.isfinite(row.measured_db) else None,
        "largest_relative_error": row.largest_relative,
        "largest_error_of_block": row.largest_of_block,
    }
