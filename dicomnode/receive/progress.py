"""A message must come on: a sender that says one byte a second is not silent, and holds its place all the same."""

from __future__ import annotations

from typing import Final

from dicomnode.receive.over import ProtocolError
from dicomnode.receive.reasons import NOT_SPECIFIED

SLOWEST_BYTES_PER_S: Final = 1000
"""8 kbit/s: the slowest line over which anybody sends images is many times faster."""


class Progress:
    """Counts what one message brings while we wait for it; our own time, for the disk, is not the sender's.

    Parameters
    ----------
    window_s:
        After each so many seconds of waiting in one message, the mean must be above ``SLOWEST_BYTES_PER_S``.
    """

    def __init__(self, *, window_s: float) -> None:
        self._window_s = window_s
        self._bytes = 0
        self._waited_s = 0.0

    def begin(self) -> None:
        """A new message begins."""
        self._bytes, self._waited_s = 0, 0.0

    def took(self, size: int, waited_s: float) -> None:
        """So many bytes came after so long a wait.

        Raises
        ------
        ProtocolError
            The sender is too slow.
        """
        self._bytes += size
        self._waited_s += waited_s
        if self._waited_s < self._window_s:
            return
        if self._bytes < SLOWEST_BYTES_PER_S * self._window_s:
            raise ProtocolError(f"too slow: {self._bytes} bytes of a message in {self._waited_s:.0f} s; at least "
                                f"{SLOWEST_BYTES_PER_S} bytes a second are wanted", NOT_SPECIFIED)
        self.begin()
