"""What the scanner adds: the kernel's blur, correlated noise, streaks at the shoulders, the stored range."""

# ruff: noqa: PLR2004 - an anatomy is drawn with numbers, each beside the shape it makes

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from dicomnode.phantom.texture import COARSE_CELLS, cloud

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dicomnode.phantom.canvas import Floats

LOWEST_HU: Final = -1024
HIGHEST_HU: Final = 3071
AIR_BELOW_HU: Final = -850.0
AIR_RAMP_HU: Final = 140.0
"""From `AIR_BELOW_HU` down, the shift of air grows to its full size over this many HU."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scanner:
    """Kernel and dose of one scan.

    Parameters
    ----------
    softness : 0 keeps edges as they are, 1 blurs over the neighbours in the slice.
    sharpness : share of the low frequencies taken out of the noise, 0 (soft kernel) to 1 (lung kernel).
    noise_hu : standard deviation of the noise.
    streaks : how much stronger the noise is along x at the shoulders.
    air_shift_hu : scatter and calibration make air brighter than -1000 HU by this, unevenly.
    """

    softness: float
    sharpness: float
    noise_hu: float
    streaks: float
    air_shift_hu: float


def draw_scanner(rng: np.random.Generator) -> Scanner:
    """From a smooth mediastinal kernel to a noisy lung kernel."""
    sharpness = rng.uniform(0.0, 1.0)
    return Scanner(
        softness=rng.uniform(0.0, 0.6) * (1.0 - sharpness),
        sharpness=sharpness,
        noise_hu=rng.uniform(6.0, 26.0) + 90.0 * sharpness * rng.uniform(0.0, 1.0),
        streaks=rng.uniform(0.0, 1.5),
        air_shift_hu=float(rng.choice([rng.uniform(-24.0, 10.0), rng.uniform(10.0, 80.0)])),
    )


def scan(hu_zyx: Floats, scanner: Scanner, rng: np.random.Generator) -> NDArray[np.int16]:
    """Blur, add noise, clip to the range that CT stores (-1024 to 3071 HU), and round."""
    uneven = 1.0 + 0.35 * cloud(rng, hu_zyx.shape, cells=COARSE_CELLS)
    airy = np.clip((AIR_BELOW_HU - hu_zyx) / AIR_RAMP_HU, 0.0, 1.0)
    hu_zyx = hu_zyx + scanner.air_shift_hu * uneven * airy
    if scanner.softness > 0:
        hu_zyx = _blur(_blur(hu_zyx, scanner.softness, 2), scanner.softness, 1)
    noise = rng.standard_normal(hu_zyx.shape, dtype=np.float32)
    soft = _blur(_blur(noise, 1.0, 2), 1.0, 1)
    noise = noise - soft if scanner.sharpness > 0.5 else noise * scanner.sharpness + soft
    noise *= scanner.noise_hu / max(float(noise[::7, ::5, ::5].std()), 1e-6)
    if scanner.streaks > 0:
        noise += _streaks(hu_zyx, noise, scanner.streaks)
    hu_zyx = hu_zyx + noise
    return np.asarray(np.rint(np.clip(hu_zyx, LOWEST_HU, HIGHEST_HU)), np.int16)


def _streaks(hu_zyx: Floats, noise: Floats, strength: float) -> Floats:
    """Noise drawn out along x, slice by slice in proportion to the bone and breadth that it crosses."""
    dense = (hu_zyx[:, ::4, ::4] > -300.0).mean(axis=(1, 2)) + 6.0 * (hu_zyx[:, ::4, ::4] > 250.0).mean(axis=(1, 2))
    weight = np.clip((dense - 0.6) * strength, 0.0, 2.0).astype(np.float32)
    drawn = np.zeros_like(noise)
    for z in np.flatnonzero(weight > 0):
        row = noise[z]
        total = np.cumsum(row, axis=1)
        drawn[z, :, 8:-8] = (total[:, 16:] - total[:, :-16]) * (weight[z] / 4.0)
    return drawn


def _blur(values: Floats, strength: float, axis: int) -> Floats:
    """The binomial kernel (1, 2, 1) / 4, mixed with the input by ``strength``."""
    side, middle = 0.25 * strength, 1.0 - 0.5 * strength
    moved = np.moveaxis(values, axis, 0)
    out = moved * np.float32(middle)
    out[1:] += side * moved[:-1]
    out[:-1] += side * moved[1:]
    out[0] += side * moved[0]
    out[-1] += side * moved[-1]
    return np.moveaxis(out, 0, axis)
