"""What a data set for training holds: cases with their images, truth and group, and the names of the labels."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dicomnode.domain.dicom import Code
from dicomnode.errors import UnusableDataset

FORMAT: Final = "dicomnode-dataset/1"
TASKS: Final = ("segmentation", "detection", "classification")
SPLITS: Final = ("training", "validation", "test")
NAME_PATTERN: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""Names of data sets, cases, channels and patients: they become file names."""

GroupValue = str | int | float


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetLabel:
    """One value of the label maps, or one class of the boxes, in DICOM terms.

    ``category`` and ``type`` are None where nobody has said them yet: a model file needs them.
    """

    value: int
    name: str
    category: Code | None = None
    type: Code | None = None
    colour_rgb: tuple[int, int, int] = (230, 80, 80)
    lesion: bool = False

    def __post_init__(self) -> None:
        """Refuse the background's value, an empty name, and what is no colour."""
        if self.value < 1 or not self.name.strip():
            msg = f"label {self.value} {self.name!r}: allowed are values above 0 (0 is background) and a name"
            raise ValueError(msg)
        if len(self.colour_rgb) != 3 or not all(0 <= part <= 255 for part in self.colour_rgb):  # noqa: PLR2004
            msg = f"label {self.name}: colour_rgb = {self.colour_rgb}: allowed are three values of 0 to 255"
            raise ValueError(msg)


def named(name: str) -> str:
    """Return a name that can be part of a file's; refuse any other."""
    if not NAME_PATTERN.fullmatch(name):
        raise UnusableDataset(f"name {name!r}: allowed are 1 to 64 of A-Z a-z 0-9 . _ -")
    return name


def no_boxes() -> NDArray[np.float64]:
    """Return an empty list of boxes, shape (0, 6)."""
    return np.zeros((0, 6))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Case:
    """One image to learn from, or to be scored on.

    Parameters
    ----------
    patient:
        A pseudonym: all cases of one patient lie in one split.
    images:
        One file per channel, in the order of ``Dataset.channels``, all on one grid.
    label:
        The label map on the same grid; None for a task without one.
    boxes_lps_mm:
        Shape (n, 6): centre x, y, z and size x, y, z in patient millimetres (LPS).
    box_labels:
        One index into ``Dataset.labels`` per box.
    klass:
        Index into ``Dataset.labels`` of the whole image's class.
    group:
        What scores are broken down by: maker, slice_mm, ...
    voxels:
        Voxels of each label value that the label map holds.
    """

    id: str
    patient: str
    images: tuple[Path, ...]
    label: Path | None = None
    boxes_lps_mm: NDArray[np.float64] = field(default_factory=no_boxes)
    box_labels: tuple[int, ...] = ()
    klass: int | None = None
    group: Mapping[str, GroupValue] = field(default_factory=dict)
    voxels: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """What was not taken into the data set, and why."""

    what: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Dataset:
    """A data set on disk whose every case was checked.

    Parameters
    ----------
    channels:
        Names of the images of a case, in order.
    labels:
        In order of ``value``; boxes and classes count them from 0.
    digest:
        ``sha256:`` over every image, label map and case.
    """

    root: Path
    name: str
    task: str
    channels: tuple[str, ...]
    modality: str
    labels: tuple[DatasetLabel, ...]
    training: tuple[Case, ...]
    validation: tuple[Case, ...]
    test: tuple[Case, ...]
    left_out: tuple[LeftOut, ...] = ()
    digest: str = ""
    made_by: Mapping[str, object] = field(default_factory=dict)

    def split(self, name: str) -> tuple[Case, ...]:
        """Return the cases of 'training', 'validation' or 'test'."""
        return {"training": self.training, "validation": self.validation, "test": self.test}[name]

    @property
    def cases(self) -> Iterator[tuple[str, Case]]:
        """Every case with the name of its split."""
        return ((split, case) for split in SPLITS for case in self.split(split))

    def items(self, split: str) -> list[dict[str, object]]:
        """Return the cases of a split as MONAI's dictionary transforms take them.

        ``id`` and ``image`` (a list of paths) always; ``label`` (a path), ``box`` and ``box_label`` (arrays), or
        ``class``, as the task has it.
        """
        return [{"id": case.id, "image": [str(path) for path in case.images], **self._truth(case)}
                for case in self.split(split)]

    def _truth(self, case: Case) -> dict[str, object]:
        if self.task == "segmentation":
            return {"label": str(case.label)}
        if self.task == "classification":
            return {"class": case.klass}
        return {"box": case.boxes_lps_mm.astype(np.float32), "box_label": np.array(case.box_labels, np.int64)}

    def showing(self, label: DatasetLabel, split: str) -> int:
        """Return how many cases of a split show a label."""
        place = self.labels.index(label)
        return sum(bool(case.voxels.get(label.value)) or place in case.box_labels or place == case.klass
                   for case in self.split(split))

    def unseen(self, split: str = "training") -> tuple[DatasetLabel, ...]:
        """Return the labels that no case of a split shows: nothing can be learned of them."""
        return tuple(label for label in self.labels if not self.showing(label, split))
