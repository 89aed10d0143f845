"""Writes a data set case by case; what could not be learned from is refused at the door."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import nibabel
import numpy as np
from numpy.typing import NDArray

from dicomnode import __version__
from dicomnode.errors import UnusableDataset
from dicomnode.train.dataset.case_json import case_to_json, digest_of, file_digest, label_to_json
from dicomnode.train.dataset.cases import (
    FORMAT,
    NAME_PATTERN,
    SPLITS,
    TASKS,
    Case,
    Dataset,
    DatasetLabel,
    GroupValue,
    LeftOut,
    named,
    no_boxes,
)
from dicomnode.train.dataset.split import patients_to_splits

LPS_TO_RAS: Final = np.diag((-1.0, -1.0, 1.0, 1.0))
INT16: Final = np.iinfo(np.int16)
DEFAULT_SHARES: Final = (0.7, 0.1, 0.2)

Image = NDArray[np.generic]


class DatasetWriter:
    """A data set in the making; it is one when ``close`` has written ``dataset.json``.

    Parameters
    ----------
    root:
        A folder that does not exist or is empty.
    channels:
        Names of the images of a case, in the network's order.
    labels:
        What the values of label maps, the classes of boxes (``labels[k]``) or of images mean.

    Raises
    ------
    UnusableDataset
        If the folder holds something, or a name cannot be a file name.
    """

    def __init__(self, root: Path, *, name: str, task: str, channels: Sequence[str], modality: str,
                 labels: Sequence[DatasetLabel]) -> None:
        refuse_full(root)
        if task not in TASKS:
            raise UnusableDataset(f"task = {task!r}: allowed are {', '.join(TASKS)}")
        self._root, self._cases = root, dict[str, tuple[str | None, Case]]()
        self._left_out: list[LeftOut] = []
        self._files: dict[str, str] = {}
        self._head: dict[str, Any] = {"name": named(name), "task": task, "channels": [named(c) for c in channels],
                                      "modality": modality}
        self._labels = tuple(sorted(labels, key=lambda label: label.value))
        for folder in ("images", "labels"):
            (root / folder).mkdir(parents=True, exist_ok=True)

    def add(self, *, id: str, patient: str, images_zyx: Sequence[Image], affine_lps_mm: NDArray[np.float64],  # noqa: A002
            label_zyx: Image | None = None, boxes_lps_mm: NDArray[np.float64] | None = None,
            box_labels: Sequence[int] = (), klass: int | None = None, split: str | None = None,
            group: Mapping[str, GroupValue] | None = None) -> Case:
        """Write one case and return it.

        Parameters
        ----------
        images_zyx:
            One array per channel, axes slice, row, column. Whole numbers within int16 are kept as int16, others
            as float32.
        affine_lps_mm:
            4×4: array index (slice, row, column, 1) → LPS mm, as ``SliceStack.affine_lps_mm``. The files carry the
            same in NIfTI's terms: (column, row, slice, 1) → RAS mm.
        label_zyx:
            Values of ``labels``, 0 elsewhere; same shape.
        boxes_lps_mm, box_labels:
            Shape (n, 6), centre and size in LPS mm, and an index into ``labels`` each.
        split:
            'training', 'validation', 'test', or None: drawn by ``close``.

        Raises
        ------
        UnusableDataset
            If the case contradicts itself or the data set.
        """
        boxes = no_boxes() if boxes_lps_mm is None else np.round(np.asarray(boxes_lps_mm, float).reshape(-1, 6), 4)
        counts = _counts(label_zyx)
        self._refuse(id, patient, images_zyx, label_zyx, counts, boxes, box_labels, klass, split)
        affine_ras_mm = _ras(affine_lps_mm)
        images = tuple(self._write(f"images/{id}_{channel}.nii.gz", _stored(image), affine_ras_mm)
                       for channel, image in zip(self._head["channels"], images_zyx, strict=True))
        label = None if label_zyx is None else self._write(
            f"labels/{id}.nii.gz", label_zyx.astype(np.uint8 if max(counts, default=0) <= 255 else np.uint16),  # noqa: PLR2004
            affine_ras_mm)
        case = Case(id=id, patient=patient, images=images, label=label, boxes_lps_mm=boxes,
                    box_labels=tuple(int(one) for one in box_labels), klass=klass, group=dict(group or {}),
                    voxels=counts)
        self._cases[id] = split, case
        return case

    @property
    def kind(self) -> tuple[tuple[str, ...], str]:
        """The channels and the modality that every case has."""
        return tuple(self._head["channels"]), self._head["modality"]

    @property
    def label_count(self) -> int:
        """How many labels have a name."""
        return len(self._labels)

    def add_label(self, label: DatasetLabel) -> None:
        """Name one more value; it must be above those there are, so that classes keep their index."""
        if self._labels and label.value <= self._labels[-1].value:
            raise UnusableDataset(f"label {label.name}: value {label.value} is not above {self._labels[-1].value}")
        self._labels = (*self._labels, label)

    def describe_label(self, label: DatasetLabel) -> None:
        """Replace what is said of a value: its codes were not known before."""
        self._labels = tuple(label if one.value == label.value else one for one in self._labels)

    def leave_out(self, what: str, why: str) -> None:
        """Write down what was not taken and why; no patient data may stand in either."""
        self._left_out.append(LeftOut(what=what, why=why))

    def close(self, split_seed: int = 0, shares: tuple[float, float, float] = DEFAULT_SHARES,
              made_by: Mapping[str, object] | None = None) -> Dataset:
        """Split by patient, write ``dataset.json`` and return the data set.

        Parameters
        ----------
        shares:
            Of the patients for training, validation and test; any sum. Each share above 0 gets at least one patient
            where there are enough. The draw depends on the seed and the patients' pseudonyms alone.

        Raises
        ------
        UnusableDataset
            If there is no case, or a patient was put into two splits.
        """
        if not self._cases:
            why = "; ".join(f"{one.what}: {one.why}" for one in self._left_out[:5]) or "none was offered"
            raise UnusableDataset(f"{self._root}: no case was taken: {why}")
        drawn = patients_to_splits(((split, case.patient) for split, case in self._cases.values()), split_seed, shares)
        splits: dict[str, list[Case]] = {name: [] for name in SPLITS}
        for _, case in sorted(self._cases.values(), key=lambda pair: pair[1].id):
            splits[drawn[case.patient]].append(case)
        document = self._document(splits, {"split_seed": split_seed, "shares": list(shares), **(made_by or {})})
        unfinished = self._root / ".dataset.json"
        unfinished.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        os.replace(unfinished, self._root / "dataset.json")  # noqa: PTH105
        return Dataset(
            root=self._root, name=document["name"], task=document["task"], channels=tuple(document["channels"]),
            modality=document["modality"], labels=self._labels, left_out=tuple(self._left_out),
            digest=document["digest"], made_by=document["made_by"],
            **{name: tuple(cases) for name, cases in splits.items()})

    def _document(self, splits: Mapping[str, Sequence[Case]], made_by: Mapping[str, object]) -> dict[str, Any]:
        written = {name: [case_to_json(case, self._root, self._head["task"]) for case in cases]
                   for name, cases in splits.items()}
        document: dict[str, Any] = {
            "format": FORMAT, **self._head, "labels": [label_to_json(label) for label in self._labels], **written,
            "left_out": [{"what": one.what, "why": one.why} for one in self._left_out],
            "made_by": {"dicomnode": __version__, **made_by},
            "files": dict(sorted(self._files.items())),
        }
        return {**document, "digest": digest_of(document, self._files)}

    def _refuse(self, name: str, patient: str, images: Sequence[Image], label: Image | None,
                counts: Mapping[int, int], boxes: NDArray[np.float64], box_labels: Sequence[int], klass: int | None,
                split: str | None) -> None:
        shapes = {image.shape for image in (*images, *([label] if label is not None else ()))}
        unknown = sorted(counts.keys() - {one.value for one in self._labels})
        indices = (*box_labels, *([klass] if klass is not None else ()))
        task, channels = self._head["task"], self._head["channels"]
        problems = [problem for wrong, problem in (
            (not NAME_PATTERN.fullmatch(name), "the id becomes a file name: 1 to 64 of A-Z a-z 0-9 . _ -"),
            (not NAME_PATTERN.fullmatch(patient), f"patient {patient!r}: 1 to 64 of A-Z a-z 0-9 . _ -"),
            (name in self._cases, "the id is taken; each case needs its own"),
            (len(images) != len(channels), f"{len(images)} images; the channels are {channels}"),
            (len(shapes) != 1 or any(len(shape) != 3 for shape in shapes),  # noqa: PLR2004
             f"images and label map have shapes {sorted(shapes)}; one of three axes is needed"),
            (not all(np.isfinite(image).all() for image in images), "an image holds values that are not finite"),
            (unknown, f"the label map holds values {unknown} without a name in labels"),
            (task == "segmentation" and label is None, "no label map; segmentation needs one"),
            (task == "classification" and klass is None, "no class; classification needs one"),
            (len(boxes) != len(box_labels), f"{len(boxes)} boxes and {len(box_labels)} classes; as many are needed"),
            (not np.isfinite(boxes).all() or (boxes[:, 3:] <= 0).any(), "sizes of boxes are finite and above 0 mm"),
            (not all(0 <= one < len(self._labels) for one in indices),
             f"classes {list(indices)}: allowed are 0 to {len(self._labels) - 1}, indices into labels"),
            (split not in {None, *SPLITS}, f"split = {split!r}: allowed are {', '.join(SPLITS)}"),
        ) if wrong]
        if problems:
            raise UnusableDataset(*(f"case {name}: {problem}" for problem in problems))

    def _write(self, name: str, values_zyx: Image, affine_ras_mm: NDArray[np.float64]) -> Path:
        path = self._root / name
        values_xyz = np.ascontiguousarray(values_zyx.transpose(2, 1, 0))
        image = nibabel.Nifti1Image(values_xyz, affine_ras_mm)  # type: ignore[no-untyped-call]  # nibabel's are
        image.header.set_xyzt_units("mm")  # type: ignore[no-untyped-call]
        nibabel.save(image, path)
        self._files[name] = file_digest(path)
        return path


def refuse_full(root: Path) -> None:
    """Refuse a folder that holds something: nothing is overwritten, and half a data set is none."""
    if root.exists() and not root.is_dir():
        raise UnusableDataset(f"{root}: is a file; name a folder that is new or empty")
    if root.is_dir() and any(root.iterdir()):
        raise UnusableDataset(f"{root}: is not empty; remove what lies there, or name another folder")


def _ras(affine_lps_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the affine of the transposed array: columns x, y, z; rows right, front, head."""
    return np.asarray(LPS_TO_RAS @ np.asarray(affine_lps_mm, np.float64)[:, [2, 1, 0, 3]])


def _counts(label_zyx: Image | None) -> dict[int, int]:
    if label_zyx is None:
        return {}
    if not np.array_equal(label_zyx, label_zyx.astype(np.uint16)):
        raise UnusableDataset(f"label map of {label_zyx.dtype}: allowed are whole numbers of 0 to 65535")
    counts = np.bincount(label_zyx.astype(np.uint16).ravel())
    return {int(value): int(counts[value]) for value in np.flatnonzero(counts) if value}


def _stored(image_zyx: Image) -> Image:
    """Return an image as the file keeps it: int16 where that is exact, else float32."""
    if image_zyx.dtype == np.int16:
        return image_zyx
    whole = np.issubdtype(image_zyx.dtype, np.integer)
    if whole and image_zyx.size and INT16.min <= int(image_zyx.min()) and int(image_zyx.max()) <= INT16.max:
        return image_zyx.astype(np.int16)
    return image_zyx.astype(np.float32)
