"""Analog columns in place of the digital DIMC: what an ADC may take, and how many bits it needs.

A column of 64 rows multiplies block mantissas of MXINT8 and adds the products as charge on a line
(or as current into it); an ADC converts each sum, and everything after it is digital. Activations
and weights may be cut into slices of bits, each pair of slices summed and converted on its own.
Errors are measured on random numbers against products in full precision, the formats' own included:
"equal" is within ``LOSS_DB`` of the digital column, which adds the same mantissas exactly. What
stands here for one capacitor, one cell and one conversion is assumed, with wide ranges.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from corsair_common.units import Floats
from workloads.formats import get_format, quantize, sqnr_db

ROWS = 64
MAGNITUDES = {"mxint8": 7, "mxint4": 3}
"""Bits of a mantissa beside its sign, by format."""
SLICES = (1, 2, 4, 7)
"""Widths into which magnitudes are cut; wider than one cuts it not at all."""
LOSS_DB = 1.0
"""By which an analog column may be worse and count as equal."""
SPREAD = 0.01
"""Assumed, 0.003 to 0.02: relative standard deviation of a capacitor of 1 fF."""
BOLTZMANN_J_PER_K = 1.380649e-23
HOT_K = 358.0
"""A die at 85 degrees Celsius."""
CLIPS = (2.5, 3.0, 3.5, 4.0, 5.0, 6.0, 8.0)
"""Ranges of an ADC that are tried, in standard deviations; below, capacitors and resolutions."""
CAPACITORS_F = tuple(2.0**power * 1e-15 for power in range(-1, 8))
BITS = range(3, 15)
CONVERSIONS_J = {4: (0.03e-12, 0.1e-12), 6: (0.1e-12, 0.4e-12), 8: (0.5e-12, 2e-12)}
"""Assumed, low and high by bits: what ADCs beside memory columns are said to take."""
GROWTH = 5.0
"""Of the energy of a conversion for two more bits, from 6 to 8; of its area, 4."""
AREA_M2 = (80e-12, 200e-12, 600e-12)
"""Assumed, low, value and high: of an ADC of 6 bits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """An analog column; energies and spreads are assumed."""

    activation_slice: int
    weight_slice: int
    capacitor_f: float
    """Of one binary cell."""
    magnitude_bits: int = 7
    swing_v: float = 0.8
    spread: float = SPREAD
    """Relative standard deviation of a cell of 1 fF; falls with the root of its capacitance. Of
    current readout: of any cell's conductance."""
    readout: str = "charge"
    """``charge`` or ``current``."""
    add_j: float = 0.05e-12
    """Shift and add of a converted sum."""

    @property
    def conversions(self) -> int:
        """Of one product of 64 rows."""
        cuts = math.ceil(self.magnitude_bits / self.activation_slice)
        return cuts * math.ceil(self.magnitude_bits / self.weight_slice)

    @property
    def array_j(self) -> float:
        """Of 64 products: in every pass half of the cells charge their capacitor."""
        cells = ROWS * self.weight_slice * self.conversions
        return 0.5 * cells * self.capacitor_f * self.swing_v**2

    @property
    def noise(self) -> float:
        """Standard deviation of a sum, in products of full scale: kT/C on the shared line."""
        line_v = math.sqrt(
            BOLTZMANN_J_PER_K * HOT_K / (ROWS * self.weight_slice * self.capacitor_f)
        )
        return line_v / self.swing_v * ROWS

    @property
    def cell_spread(self) -> float:
        """Relative, of a weight's slice."""
        if self.readout == "current":
            return self.spread
        return self.spread * math.sqrt(1e-15 / self.capacitor_f)

    def conversion_j(self, digital_j: float) -> float:
        """Of a conversion, for 64 products to take ``digital_j``; below 0: none can be so small."""
        return (digital_j - self.array_j) / self.conversions - self.add_j


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Blocks of 64 and what they give: [n, 64] mantissas of full scale 1, and [n] sums."""

    activations: Floats
    weights: Floats
    scale: Floats
    """[n] of a sum of mantissas' products."""
    exact: Floats
    """[n] sums of the numbers before they were quantised."""
    magnitude_bits: int

    @property
    def digital_db(self) -> float:
        """SQNR of the digital column."""
        sums = np.einsum("nr,nr->n", self.activations, self.weights) * self.scale
        return self.db(sums)

    def db(self, sums: Floats) -> float:
        """SQNR of these sums, in the units of the numbers."""
        noise = float(np.mean((sums - self.exact) ** 2))
        return sqnr_db(float(np.mean(self.exact**2)), noise)


def blocks(count: int, fmt: str = "mxint8", *, seed: int = 0, tail: int | None = None) -> Sample:
    """``count`` blocks of N(0, 1), or of Student's t with ``tail`` degrees of freedom."""
    bits = MAGNITUDES[fmt]
    rng = np.random.default_rng(seed)
    shape = (2, count, ROWS)
    drawn = rng.standard_normal(shape) if tail is None else rng.standard_t(tail, shape)
    numbers = drawn.astype(np.float32)
    quantised = quantize(numbers, get_format(fmt)).astype(np.float64)
    step = 2.0 ** (np.floor(np.log2(np.abs(numbers).max(axis=2))) + 1 - bits)
    mantissas = quantised / step[..., None]
    full = 2.0**bits
    return Sample(
        activations=mantissas[0] / full,
        weights=mantissas[1] / full,
        scale=step[0] * step[1] * full**2,
        exact=np.einsum("nr,nr->n", *numbers.astype(np.float64)),
        magnitude_bits=bits,
    )


def column_db(sample: Sample, column: Column, bits: int | None, seed: int = 1) -> float:
    """SQNR of an analog column whose ADC has ``bits``; None: with an ADC that adds no error."""
    return _read_db(sample, _lines(sample, column, seed), bits)


def least_bits(sample: Sample, column: Column, loss_db: float = LOSS_DB) -> int | None:
    """The least resolution that is as good as the digital column; None: none is."""
    lines, floor = _lines(sample, column, 1), sample.digital_db - loss_db
    if _read_db(sample, lines, BITS[-1]) < floor:
        return None
    return next(bits for bits in BITS if _read_db(sample, lines, bits) >= floor)


def conversion_range_j(bits: int) -> tuple[float, float]:
    """Low and high of a conversion at any resolution, from the assumed points."""
    nearest = min(CONVERSIONS_J, key=lambda each: abs(each - bits))
    factor = GROWTH ** ((bits - nearest) / 2)
    low, high = CONVERSIONS_J[nearest]
    return low * factor, high * factor


def converter_m2(bits: int) -> tuple[float, float, float]:
    """Low, value and high of an ADC's area at any resolution."""
    low, value, high = (each * 4.0 ** ((bits - 6) / 2) for each in AREA_M2)
    return low, value, high


@dataclass(frozen=True, slots=True, kw_only=True)
class Rival:
    """A column that is as good as the digital one, and the ADC with which it costs the same."""

    column: Column
    bits: int
    break_even_j: float
    """Of a conversion."""

    def products_j(self, conversion_j: float) -> float:
        """Of 64 products with conversions of this energy."""
        one = self.column
        return one.array_j + one.conversions * (conversion_j + one.add_j)


def rivals(
    sample: Sample, digital_mac_j: float, *, loss_db: float = LOSS_DB, spread: float = SPREAD
) -> list[Rival]:
    """For each way to cut the operands, the capacitor with which 64 products take least."""
    widths = sorted({min(each, sample.magnitude_bits) for each in SLICES})
    found = []
    for cut in product(widths, widths):
        columns = [
            Column(
                activation_slice=cut[0],
                weight_slice=cut[1],
                capacitor_f=capacitor,
                magnitude_bits=sample.magnitude_bits,
                spread=spread,
            )
            for capacitor in CAPACITORS_F
        ]
        each = list(_equal(sample, digital_mac_j, columns, loss_db))
        found += [min(each, key=_cheap_j)] if each else []
    return sorted(found, key=_cheap_j)


def _cheap_j(rival: Rival) -> float:
    """Of 64 products with the lowest energy that is said of such conversions."""
    return rival.products_j(conversion_range_j(rival.bits)[0])


def _equal(
    sample: Sample, digital_mac_j: float, columns: Sequence[Column], loss_db: float
) -> Iterator[Rival]:
    """Those of the columns that are as good as the digital one."""
    for column in columns:
        bits = least_bits(sample, column, loss_db)
        if bits is not None:
            allowed = column.conversion_j(ROWS * digital_mac_j)
            yield Rival(column=column, bits=bits, break_even_j=allowed)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Slice:
    """[n, 64] magnitudes' bits with their sign, of full scale 1."""

    values: Floats
    most: float
    """Of the bits as an integer."""
    unit: float
    """What full scale counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line:
    """[n] sums of a pair of slices as the line holds them."""

    held: Floats
    clean: Floats
    """Without noise and spread."""
    step: float
    """Between sums of whole bits."""
    unit: float


def _lines(sample: Sample, column: Column, seed: int) -> list[_Line]:
    rng = np.random.default_rng(seed)
    cells = 1 + column.cell_spread * rng.standard_normal(sample.weights.shape)
    width = column.magnitude_bits
    activations = list(_slices(sample.activations, column.activation_slice, width))
    found = []
    for weight in _slices(sample.weights, column.weight_slice, width):
        spread = weight.values * cells
        for activation in activations:
            held = np.einsum("nr,nr->n", activation.values, spread)
            found.append(
                _Line(
                    held=held + column.noise * rng.standard_normal(held.size),
                    clean=np.einsum("nr,nr->n", activation.values, weight.values),
                    step=1 / (activation.most * weight.most),
                    unit=activation.unit * weight.unit,
                )
            )
    return found


def _read_db(sample: Sample, lines: Sequence[_Line], bits: int | None) -> float:
    sums = np.zeros(len(sample.scale))
    for line in lines:
        sums += _converted(line, bits) * line.unit
    return sample.db(sums * sample.scale)


def _slices(numbers: Floats, width: int, magnitude_bits: int) -> Iterator[_Slice]:
    """The numbers as slices of bits, the highest first."""
    rest, sign = np.abs(numbers), np.sign(numbers)
    unit, left = 1.0, magnitude_bits
    while left > 0:
        levels = 2.0 ** min(width, left)
        left -= min(width, left)
        head = np.floor(rest * levels)
        unit /= levels
        yield _Slice(values=sign * head / (levels - 1), most=levels - 1, unit=unit * (levels - 1))
        rest = rest * levels - head


def _converted(line: _Line, bits: int | None) -> Floats:
    """Sums as the ADC reads them, its step that of the least error."""
    if bits is None:
        return line.held
    half, spread = 2.0 ** (bits - 1), float(line.clean.std())
    steps = (line.step, *(clip * spread / half for clip in CLIPS))
    tried = (_rounded(line.held, each, half) for each in steps)
    best: Floats = min(tried, key=lambda read: float(np.mean((read - line.clean) ** 2)))
    return best


def _rounded(line: Floats, step: float, half: float) -> Floats:
    read: Floats = np.clip(np.rint(line / step), -half, half - 1) * step
    return read
