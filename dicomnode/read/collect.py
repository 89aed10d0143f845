"""Slices become one volume, in the smallest type that holds every value exactly."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from dicomnode.read.pixels import Rescale, Stored

INT16: Final = np.iinfo(np.int16)


class ValueVolume:
    """Collects slices as int16 while that is exact, as float32 from the first slice on for which it is not.

    Notes
    -----
    Modulo-2¹⁶ arithmetic gives the right int16 wherever the result fits, which the slice's extremes show.
    """

    def __init__(self, shape_zyx: tuple[int, int, int]) -> None:
        self.values_zyx: NDArray[np.int16] | NDArray[np.float32] = np.empty(shape_zyx, np.int16)

    def put(self, index: int, stored: Stored, how: Rescale) -> None:
        """Write slice ``index`` as real-world values."""
        if self.values_zyx.dtype == np.int16 and not _fits(stored, how):
            self.values_zyx = self.values_zyx.astype(np.float32)
        target = self.values_zyx[index]
        if target.dtype == np.float32:
            np.multiply(stored, np.float32(how.slope), out=target, dtype=np.float32, casting="unsafe")
            target += np.float32(how.intercept)
            return
        np.copyto(target, stored, casting="unsafe")
        if how.slope != 1:
            np.multiply(target, _modulo(how.slope), out=target)
        if how.intercept:
            np.add(target, _modulo(how.intercept), out=target)


def _fits(stored: Stored, how: Rescale) -> bool:
    if not how.is_whole:
        return False
    ends = [int(end) * int(how.slope) + int(how.intercept) for end in (stored.min(), stored.max())]
    return min(ends) >= INT16.min and max(ends) <= INT16.max


def _modulo(value: float) -> np.int16:
    return np.int16((int(value) + 0x8000) % 0x10000 - 0x8000)
