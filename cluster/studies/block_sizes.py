"""Error and size by block size: blocks of 16 to 256 mantissas of 4 and 8 bits, measured."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from corsair_common.units import Floats
from workloads.formats import (
    block_format,
    distortion,
    gaussian_dot_bound,
    gaussian_dot_noise,
    gaussian_noise,
    largest_error,
    quantize,
    rounded_up_noise,
    scaled_noise,
    sqnr_db,
)
from workloads.formats.registry import BLOCKS
from workloads.formats.shared_scale import MOST, scale_mantissas

BITS = (4, 8)
NUMBERS = 1 << 22
HEAVY_TAIL = 4
"""Degrees of freedom of Student's t, for numbers with outliers."""

POWER = "N(0, 1), shared exponent"
EXACT = "N(0, 1), exact shared scale"
HEAVY = "Student's t (4), shared exponent"
SCALES = SHARED, ROUNDED_UP, UNROUNDED = ("exponent", "up", "exact")
"""What a block of 4-bit mantissas shares, by its largest magnitude M: the vendor's exponent,
floor(log2 M); M / 7 rounded up to a power of two; M / 7."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockRow:
    """Mantissas of one width in blocks of one size."""

    bits: int
    block: int
    bits_per_element: float
    noise: float
    """Mean square of the errors of a shared exponent on N(0, 1), measured."""
    noise_formula: float
    heavy_db: float
    """SQNR of a shared exponent on Student's t of 4 degrees of freedom, measured."""
    scaled_noise: float | None
    """As ``noise``, for exact scales in place of powers of two; 4 bits only."""
    scaled_formula: float | None

    @property
    def sqnr_db(self) -> float:
        return sqnr_db(1.0, self.noise)

    @property
    def formula_db(self) -> float:
        return sqnr_db(1.0, self.noise_formula)


@dataclass(frozen=True, slots=True, kw_only=True)
class DotRow:
    """Inner products of N(0, 1) by blocks of one size. Mean squares of errors are by element, the
    products' own being 1."""

    bits: int
    block: int
    scale: str
    """One of SCALES."""
    noise: float
    """Measured."""
    noise_formula: float
    bound: float | None
    """Of N(0, 1); None for scales that are rounded up."""
    largest: float | None
    """The largest error over the bound of its own two blocks; shared exponents only."""

    @property
    def sqnr_db(self) -> float:
        return sqnr_db(1.0, self.noise)


def dot_rows(seed: int = 0, numbers: int = NUMBERS) -> tuple[DotRow, ...]:
    """Measure the inner products of two times ``numbers`` of N(0, 1), block by block."""
    rng = np.random.default_rng([seed, 1])
    x, y = rng.standard_normal((2, numbers // max(BLOCKS), max(BLOCKS))).astype(np.float32)
    cases = [(bits, scale) for bits in BITS for scale in SCALES if scale == SHARED or bits == 4]
    return tuple(_dot_row(bits, block, scale, x, y) for bits, scale in cases for block in BLOCKS)


def _dot_row(
    bits: int, block: int, scale: str, x: npt.NDArray[np.float32], y: npt.NDArray[np.float32]
) -> DotRow:
    item = block_format(bits, block)
    formula = {
        SHARED: gaussian_noise(item),
        ROUNDED_UP: rounded_up_noise(bits, block),
        UNROUNDED: scaled_noise(item, block),
    }
    total = largest = 0.0
    for pair in np.array_split(np.stack([x.reshape(-1, block), y.reshape(-1, block)]), 64, axis=1):
        one, other = pair.astype(np.float64)
        if scale == SHARED:
            stored = quantize(pair, item).astype(np.float64)
        else:
            stored = _scaled(pair, up=scale == ROUNDED_UP)
        errors = np.abs((stored[0] * stored[1] - one * other).sum(axis=1))
        total += float(np.square(errors).sum())
        if scale == SHARED:
            largest = max(largest, float((errors / largest_error(one, other, item)).max()))
    return DotRow(
        bits=bits,
        block=block,
        scale=scale,
        noise=total / x.size,
        noise_formula=gaussian_dot_noise(formula[scale]),
        bound=None
        if scale == ROUNDED_UP
        else gaussian_dot_bound(bits, block, exact_scale=scale == UNROUNDED),
        largest=largest if scale == SHARED else None,
    )


def block_rows(seed: int = 0, numbers: int = NUMBERS) -> tuple[BlockRow, ...]:
    """Measure on ``numbers`` of N(0, 1) and of Student's t, drawn from ``seed``."""
    rng = np.random.default_rng(seed)
    normal = rng.standard_normal((numbers // max(BLOCKS), max(BLOCKS))).astype(np.float32)
    heavy = rng.standard_t(HEAVY_TAIL, normal.shape).astype(np.float32)
    return tuple(_row(bits, block, normal, heavy) for bits in BITS for block in BLOCKS)


def _row(
    bits: int, block: int, normal: npt.NDArray[np.float32], heavy: npt.NDArray[np.float32]
) -> BlockRow:
    item = block_format(bits, block)
    narrow = bits == min(BITS)
    return BlockRow(
        bits=bits,
        block=block,
        bits_per_element=float(item.bits_per_element),
        noise=distortion(normal, item).noise,
        noise_formula=gaussian_noise(item),
        heavy_db=distortion(heavy, item).sqnr_db,
        scaled_noise=_exactly_scaled(normal, block) if narrow else None,
        scaled_formula=scaled_noise(item, block) if narrow else None,
    )


def _exactly_scaled(numbers: npt.NDArray[np.float32], block: int) -> float:
    """Mean square error of 4-bit mantissas whose block shares max / 7 unrounded."""
    total = 0.0
    for part in np.array_split(numbers.reshape(-1, block), 64):
        total += float(np.square(_scaled(part) - part).sum())
    return total / numbers.size


def _scaled(blocks: npt.NDArray[np.float32], *, up: bool = False) -> Floats:
    """[..., block] what is left under scales of max / 7, or of the next power of two."""
    largest = np.abs(blocks).max(axis=-1, keepdims=True)
    if up:
        scales: Floats = np.exp2(np.ceil(np.log2(largest.astype(np.float64) / MOST)))
        mantissas = np.rint(blocks / scales)
    else:
        scales = largest.astype(np.float64) / MOST
        mantissas = scale_mantissas(blocks, np.ones(largest.shape, np.uint8), largest)
    found: Floats = mantissas * scales
    return found


def plain(row: BlockRow) -> dict[str, object]:
    """The row as JSON has it."""
    return {**asdict(row), "sqnr_db": row.sqnr_db, "formula_db": row.formula_db}


def plain_dots(row: DotRow) -> dict[str, object]:
    """The row of inner products as JSON has it."""
    return {**asdict(row), "sqnr_db": row.sqnr_db}


def drawn(rows: Sequence[BlockRow]) -> list[dict[str, object]]:
    """Points of the figure: formulas as lines, measurements as dots."""
    points: list[dict[str, object]] = []
    for row in rows:
        own: list[tuple[str, float, bool]] = [
            (POWER, row.formula_db, False),
            (POWER, row.sqnr_db, True),
            (HEAVY, row.heavy_db, False),
            (HEAVY, row.heavy_db, True),
        ]
        if row.scaled_noise is not None and row.scaled_formula is not None:
            own += [
                (EXACT, sqnr_db(1.0, row.scaled_formula), False),
                (EXACT, sqnr_db(1.0, row.scaled_noise), True),
            ]
        points += [
            {"bits": row.bits, "block": row.block, "series": name, "sqnr_db": db, "dots": dots}
            for name, db, dots in own
        ]
    return points
