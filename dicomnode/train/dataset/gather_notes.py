"""What is left out of a data set: for the person by its own name, for the data set without names and UIDs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dicomnode.domain.study import InstanceRecord
from dicomnode.train.dataset.cases import Dataset
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


def image_digest(images_zyx: Sequence[NDArray[np.generic]]) -> str:
    """Name the values of a case's images, wherever they lie and whoever they are said to be of."""
    digest = hashlib.sha256()
    for image in images_zyx:
        digest.update(f"{image.shape}{image.dtype}".encode())
        digest.update(image.tobytes())
    return digest.hexdigest()


def same_images(dataset: Dataset, digests: Mapping[str, str]) -> tuple[str, ...]:
    """Say which cases hold the same images under two patients: what is learned from one is scored on the other.

    Parameters
    ----------
    digests:
        Case id → ``image_digest``.
    """
    of_each: dict[str, list[tuple[str, str, str]]] = {}
    for split, case in dataset.cases:
        of_each.setdefault(digests[case.id], []).append((case.id, split, case.patient))
    return tuple(
        "the same images under several patients: " + ", ".join(f"case {name} ({split})" for name, split, _ in cases)
        + "; give them one PatientID or take all but one away, or the scores are not of unseen patients"
        for cases in of_each.values() if len({patient for _, _, patient in cases}) > 1)
