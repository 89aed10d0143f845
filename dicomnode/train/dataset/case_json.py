"""Cases and labels as ``dataset.json`` writes them, and what is wrong with one that cannot be read back."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Final

import numpy as np

from dicomnode.domain.dicom import Code
from dicomnode.train.dataset.cases import NAME_PATTERN, SPLITS, Case, DatasetLabel, no_boxes

BOX_NUMBERS: Final = 6
DIGESTED: Final = ("task", "channels", "modality", "labels", *SPLITS)
"""Parts of ``dataset.json`` that the digest covers, beside the bytes of every file."""

Tell = Callable[[str], None]


def digest_of(document: Mapping[str, Any], files: Mapping[str, str]) -> str:
    r"""Return ``sha256:`` over the sorted lines ``<path>\0<sha256>\n`` and the canonical JSON of cases and labels."""
    total = hashlib.sha256()
    for path, digest in sorted(files.items()):
        total.update(f"{path}\0{digest}\n".encode())
    covered = {key: document.get(key) for key in DIGESTED}
    total.update(json.dumps(covered, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode())
    return f"sha256:{total.hexdigest()}"


def file_digest(path: Path) -> str:
    """Return the sha256 of a file in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def case_to_json(case: Case, root: Path, task: str) -> dict[str, Any]:
    """Return a case as ``dataset.json`` has it; keys that do not apply are absent."""
    written: dict[str, Any] = {
        "id": case.id, "patient": case.patient,
        "image": [path.relative_to(root).as_posix() for path in case.images],
    }
    if case.label is not None:
        written["label"] = case.label.relative_to(root).as_posix()
        written["voxels"] = {str(value): count for value, count in sorted(case.voxels.items())}
    if case.klass is not None:
        written["class"] = case.klass
    if len(case.boxes_lps_mm) or task == "detection":
        written["box"] = case.boxes_lps_mm.tolist()
        written["box_label"] = list(case.box_labels)
    if case.group:
        written["group"] = dict(sorted(case.group.items()))
    return written


def case_from_json(written: object, root: Path, labels: Sequence[DatasetLabel], tell: Tell) -> Case | None:
    """Return a case, or None after every reason against it was told."""
    if not isinstance(written, Mapping):
        tell(f"a case is {type(written).__name__}, allowed is an object with id, patient, image")
        return None
    name, patient = written.get("id"), written.get("patient")
    if not (isinstance(name, str) and NAME_PATTERN.fullmatch(name)):
        tell(f"case id = {name!r}: allowed are 1 to 64 of A-Z a-z 0-9 . _ -")
        return None
    problems: list[str] = []
    if not (isinstance(patient, str) and NAME_PATTERN.fullmatch(patient)):
        problems.append(f"patient = {patient!r}: allowed are 1 to 64 of A-Z a-z 0-9 . _ -")
    images = _paths(written.get("image"), root, problems)
    label = _paths(written["label"], root, problems) if "label" in written else ()
    boxes, box_labels = _boxes(written, len(labels), problems)
    klass = written.get("class")
    if klass is not None and not _is_index(klass, len(labels)):
        problems.append(f"class = {klass!r}: allowed are 0 to {len(labels) - 1}, an index into labels")
    voxels, group = _voxels(written.get("voxels", {}), labels, problems), written.get("group", {})
    if not isinstance(group, Mapping) or not all(isinstance(value, str | int | float) for value in group.values()):
        problems.append(f"group = {group!r}: allowed is name → text or number")
    for problem in problems:
        tell(f"case {name}: {problem}")
    if problems:
        return None
    return Case(id=name, patient=str(patient), images=images, label=label[0] if label else None, boxes_lps_mm=boxes,
                box_labels=box_labels, klass=klass, group=group, voxels=voxels)


def label_to_json(label: DatasetLabel) -> dict[str, Any]:
    """Return a label as ``dataset.json`` has it."""
    codes = {key: {"value": code.value, "scheme": code.scheme, "meaning": code.meaning}
             for key, code in (("category", label.category), ("type", label.type)) if code is not None}
    return {"value": label.value, "name": label.name, **codes, "colour_rgb": list(label.colour_rgb),
            "lesion": label.lesion}


def labels_from_json(written: object, tell: Tell) -> tuple[DatasetLabel, ...]:
    """Return the labels that can be read; every reason against another is told."""
    labels = []
    for one in written if isinstance(written, list) else ():
        try:
            codes = {key: Code(**one[key]) for key in ("category", "type") if one.get(key)}
            labels.append(DatasetLabel(value=int(one["value"]), name=str(one["name"]), **codes,
                                       colour_rgb=tuple(one.get("colour_rgb", (230, 80, 80))),
                                       lesion=bool(one.get("lesion", False))))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            tell(f"labels: {one!r}: {error}")
    values = [label.value for label in labels]
    if len(set(values)) != len(values) or values != sorted(values):
        tell(f"labels: values are {values}; allowed are different values in rising order")
    if not labels:
        tell("labels: at least one with value and name is needed")
    return tuple(labels)


def _paths(written: object, root: Path, problems: list[str]) -> tuple[Path, ...]:
    """Return the files of one key; a path that leaves the data set is a problem, as is an empty list."""
    names: Iterable[object] = [written] if isinstance(written, str) else written if isinstance(written, list) else []
    paths = []
    for name in names:
        if not isinstance(name, str) or PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            problems.append(f"path {name!r}: allowed is a path below the data set")
        else:
            paths.append(root / name)
    if not paths and not problems:
        problems.append(f"image or label = {written!r}: allowed is a path or a list of paths")
    return tuple(paths)


def _boxes(written: Mapping[str, Any], classes: int, problems: list[str]) -> tuple[Any, tuple[int, ...]]:
    boxes, box_labels = written.get("box", []), written.get("box_label", [])
    try:
        array = np.array(boxes, np.float64).reshape(-1, BOX_NUMBERS) if len(boxes) else no_boxes()
    except (TypeError, ValueError):
        problems.append("box: allowed is a list of six numbers each: centre x, y, z and size in mm (LPS)")
        return no_boxes(), ()
    if not isinstance(box_labels, list):
        problems.append(f"box_label = {box_labels!r}: allowed is a list of indices into labels")
        return no_boxes(), ()
    if len(array) != len(box_labels):
        problems.append(f"{len(array)} boxes and {len(box_labels)} box_label; as many are needed")
    if not all(math.isfinite(value) for value in array.ravel()) or (array[:, 3:] <= 0).any():
        problems.append("box: sizes are finite numbers above 0 mm")
    if not all(_is_index(value, classes) for value in box_labels):
        problems.append(f"box_label = {box_labels}: allowed are 0 to {classes - 1}, indices into labels")
    return array, tuple(box_labels)


def _voxels(written: object, labels: Sequence[DatasetLabel], problems: list[str]) -> dict[int, int]:
    if not isinstance(written, Mapping) or not all(
            str(key).isdigit() and isinstance(count, int) for key, count in written.items()):
        problems.append(f"voxels = {written!r}: allowed is label value → number of voxels")
        return {}
    counts = {int(key): int(count) for key, count in written.items()}
    unknown = sorted(counts.keys() - {label.value for label in labels})
    if unknown:
        problems.append(f"the label map holds values {unknown} without a name in labels")
    return counts


def _is_index(value: object, count: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < count
