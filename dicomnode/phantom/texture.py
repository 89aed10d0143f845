"""Unevenness: tissue is never one density."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from dicomnode.phantom.canvas import Canvas, Floats

SOFT_FROM_HU: Final = -300.0
COARSE_CELLS: Final = 9
FINE_CELLS: Final = 34


def cloud(rng: np.random.Generator, shape: tuple[int, ...], *, cells: int) -> Floats:
    """Smooth noise of about unit spread: coarse random values, interpolated linearly along each axis."""
    field = rng.standard_normal((cells,) * len(shape)).astype(np.float32)
    for axis, count in enumerate(shape):
        at = np.linspace(0.0, cells - 1.0, count)
        low = np.minimum(at.astype(int), cells - 2)
        share = (at - low).astype(np.float32).reshape([-1 if i == axis else 1 for i in range(len(shape))])
        field = np.take(field, low, axis) * (1.0 - share) + np.take(field, low + 1, axis) * share
    return field


def roughen_soft_tissue(canvas: Canvas, rng: np.random.Generator) -> None:
    """Strands of fat, lobules, uneven enhancement: a few tens of HU on a scale of a centimetre."""
    uneven = cloud(rng, canvas.hu_zyx.shape, cells=FINE_CELLS) * rng.uniform(6.0, 45.0)
    uneven[canvas.hu_zyx < SOFT_FROM_HU] = 0.0
    canvas.hu_zyx += uneven
