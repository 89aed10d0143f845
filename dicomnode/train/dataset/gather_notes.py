"""What is left out of a data set: for the person by its own name, for the data set without names and UIDs."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from dicomnode.domain.study import InstanceRecord
from dicomnode.train.dataset.gather_walk import Found
from dicomnode.train.dataset.pseudonyms import Pseudonyms


class Leavings:
    """Collects files and series that were not taken, each with the reason.

    Attributes
    ----------
    shown:
        File or series as it is called in the source folder, and why.
    hidden:
        The same as the data set may keep it.
    """

    def __init__(self, found: Found, source: Path, names: Pseudonyms) -> None:
        self._found, self._source, self._names = found, source, names
        self.shown: list[tuple[str, str]] = []
        self.hidden: list[tuple[str, str]] = []

    def add(self, what: Path | str, why: str) -> None:
        """Write down a file, or a series by its UID."""
        if isinstance(what, str):
            shown, pseudonym = f"series {what}", f"series {self._names.of('case', what)}"
            series = self._found.series.get(what)
            files = [self._found.paths[one.sop_instance_uid].name for one in series.instances] if series else []
        else:
            shown = what.relative_to(self._source).as_posix()
            pseudonym, files = f"file {self._names.of('file', shown)}", [what.name]
        hidden = self._names.without_uids(why)
        for name in files:
            hidden = hidden.replace(f"{name}: ", "")
        self.shown.append((shown, why))
        self.hidden.append((pseudonym, hidden))


def odd_patients(of_each_series: Iterable[InstanceRecord]) -> tuple[str, ...]:
    """Say where patients cannot be told apart: a split by patient is worth what their identifiers are worth."""
    images = list(of_each_series)
    nameless = sum(not image.text("PatientID") for image in images)
    studies, patients = {image.study_uid for image in images}, {image.text("PatientID") for image in images}
    found = [f"{nameless} series have no PatientID: each study counts as a patient of its own"] if nameless else []
    if len(studies) > 1 and len(patients) == 1 and not nameless:
        found.append(f"{len(studies)} studies have one PatientID and count as one patient; if they are of several, "
                     "the identifiers were lost and the split is not by patient")
    return tuple(found)
