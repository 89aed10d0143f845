"""The box around the body in a CT: what lies outside it is air, and need not go through the network."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import torch

DENSER_THAN_HU: Final = -500.0
"""Skin, fat and couch are denser than this; air and lung are not."""
LEAST_SHARE: Final = 0.002
"""A plane belongs to the body where at least this share of it is dense: noise and cables are less."""
MARGIN_MM: Final = 15.0


def body_box(hu: torch.Tensor, spacing_mm: Sequence[float], least_size: Sequence[int]) -> tuple[slice, ...]:
    """Return the box around everything dense, with a margin, at least ``least_size`` where the image is that large.

    Parameters
    ----------
    hu:
        Three axes, any order; ``spacing_mm`` and ``least_size`` in the same order.

    Returns
    -------
    tuple of slice
        The whole image where nothing is dense.
    """
    dense = hu > DENSER_THAN_HU
    return tuple(
        _extent(dense.float().mean(dim=[other for other in range(3) if other != axis]) >= LEAST_SHARE,
                math.ceil(MARGIN_MM / spacing_mm[axis]), least_size[axis])
        for axis in range(3))


def _extent(planes: torch.Tensor, margin: int, least: int) -> slice:
    size = int(planes.shape[0])
    found = planes.nonzero().view(-1)
    if not len(found):
        return slice(0, size)
    start, stop = max(0, int(found[0]) - margin), min(size, int(found[-1]) + 1 + margin)
    missing = max(0, min(least, size) - (stop - start))
    start = max(0, min(start - missing // 2, size - (stop - start) - missing))
    return slice(start, max(stop, start + min(least, size)))
