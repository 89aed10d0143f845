"""What a reason (``ErrorClass: sentence``), as it stands in the ledger, says about whose fault it was."""

from __future__ import annotations

from dicomnode.errors import DicomNodeError, UnusableInput


def input_error_names() -> tuple[str, ...]:
    """Return the names of the errors that mean: the study itself cannot be analysed."""
    return tuple(one.__name__ for one in _family(UnusableInput))


def is_about_the_input(reason: str) -> bool:
    """Whether a reason says that the study itself cannot be analysed: a result, not a malfunction."""
    return reason.partition(":")[0] in input_error_names()


def _family(error: type[DicomNodeError]) -> list[type[DicomNodeError]]:
    return [error, *(one for below in error.__subclasses__() for one in _family(below))]
