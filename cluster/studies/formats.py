"""Compares number formats: bits, rate, and error."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cluster.perf_model.devices.dimc.chiplet import chiplet_of, mode_of, peak_flop_per_s
from cluster.perf_model.devices.dimc.device import WIDTHS
from cluster.perf_model.memory.stage import chiplets_of
from cluster.perf_model.protocols import Figures
from workloads.formats import FORMATS, Format, distortion, gaussian_noise, get_format, sqnr_db

LISTED = (*FORMATS, "sbfp12_16+4:8", "sbfp12_16+2:8")
SAMPLE = (4096, 256)
SEED = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class FormatRow:
    """One format."""

    format: Format
    rate: float | None
    """Of its products against those of MXINT8, activations of the width it is multiplied in; None
    where the matrix engine does not run it."""
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


def card_flop_per_s(hardware: Figures, columns: str, activation_width: int) -> float:
    """Peak of a card whose stationary operand takes the DIMC mode ``columns``."""
    mode = mode_of(
        hardware,
        weight_width=WIDTHS[columns],
        activation_width=activation_width,
        activation_bytes=activation_width / 8,
    )
    return chiplets_of(hardware) * peak_flop_per_s(chiplet_of(hardware), mode)


def _row(hardware: Figures, item: Format, numbers: npt.ArrayLike, axis: int) -> FormatRow:
    found = distortion(numbers, item, axis)
    own = eight = rate = None
    if item.columns is not None:
        own = card_flop_per_s(hardware, item.columns, WIDTHS[item.columns])
        eight = card_flop_per_s(hardware, item.columns, 8)
        rate = own / card_flop_per_s(hardware, "int8", 8)
    return FormatRow(
        format=item,
        rate=rate,
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
        "multiplied_as": item.arithmetic or (item.name if item.columns else None),
        "columns": item.columns,
        "rate_against_mxint8": row.rate,
        "tflops_per_card": None if row.flop_per_s is None else row.flop_per_s / 1e12,
        "tflops_per_card_8_bit_activations": None
        if row.flop_per_s_8_bit is None
        else row.flop_per_s_8_bit / 1e12,
        "gaussian_sqnr_db": row.formula_db,
        "measured_sqnr_db": row.measured_db if math.isfinite(row.measured_db) else None,
        "largest_relative_error": row.largest_relative,
        "largest_error_of_block": row.largest_of_block,
    }
