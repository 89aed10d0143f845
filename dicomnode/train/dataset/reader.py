"""A data set for training on disk: images and label maps as NIfTI, one ``dataset.json``, and a digest over all.

``dataset.json`` is also a data list of MONAI and of the Medical Segmentation Decathlon.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import nibabel
import numpy as np

from dicomnode.errors import UnusableDataset
from dicomnode.read.annotations_mask import NIFTI_ERRORS
from dicomnode.train.dataset.case_json import case_from_json, digest_of, file_digest, labels_from_json
from dicomnode.train.dataset.cases import FORMAT, SPLITS, TASKS, Case, Dataset, DatasetLabel, LeftOut, no_boxes
from dicomnode.train.dataset.writer import DatasetWriter

__all__ = ["Case", "Dataset", "DatasetLabel", "DatasetWriter", "LeftOut", "no_boxes", "read_dataset"]

SAME_PLACE_MM: Final = 1e-3
"""Affines of one case may differ by this much: NIfTI keeps them as float32."""
SHAPES: Final[tuple[tuple[str, str, Callable[[Any], bool]], ...]] = (
    ("channels", "a list of names", lambda found: isinstance(found, list) and all(isinstance(x, str) for x in found)),
    ("left_out", "a list of objects", lambda found: isinstance(found, list) and all(isinstance(x, dict)
                                                                                    for x in found)),
    ("files", "an object of path → sha256", lambda found: isinstance(found, dict)),
    ("made_by", "an object", lambda found: isinstance(found, dict)),
)


def read_dataset(root: Path, *, verify: bool = True) -> Dataset:
    """Return the data set that lies in ``root``.

    Parameters
    ----------
    verify:
        Also compare the bytes of every file with the digests in ``dataset.json``.

    Raises
    ------
    UnusableDataset
        With every problem found: a missing or changed file, a value without a name, channels or label maps on
        different grids, a patient in two splits.
    """
    document = _document(root / "dataset.json")
    problems: list[str] = []
    labels = labels_from_json(document.get("labels"), problems.append)
    splits = {name: _cases(document.get(name, []), root, labels, problems) for name in SPLITS}
    dataset = Dataset(
        root=root, name=str(document.get("name", root.name)), task=str(document.get("task", "")),
        channels=tuple(document.get("channels", ())), modality=str(document.get("modality", "")), labels=labels,
        **splits, left_out=tuple(LeftOut(what=str(one.get("what")), why=str(one.get("why")))
                                 for one in document.get("left_out", ())),
        digest=str(document.get("digest", "")), made_by=document.get("made_by", {}))
    problems += _contradictions(dataset)
    if not problems:
        problems += _missing(dataset) or (_changed(dataset, document) if verify else []) or _misplaced(dataset)
    if problems:
        raise UnusableDataset(*(f"{root.name}: {problem}" for problem in problems))
    return dataset


def _document(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UnusableDataset(
            f"{path}: cannot be read: {error.strerror}; a data set is a folder with dataset.json, images/, labels/, as "
            "`dicomnode dataset build` makes it") from error
    except ValueError as error:
        raise UnusableDataset(f"{path}: no JSON: {error}") from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        found = document.get("format") if isinstance(document, dict) else type(document).__name__
        raise UnusableDataset(f"{path}: format = {found!r}: allowed is {FORMAT!r}")
    wrong = [f"{path}: {key} = {document[key]!r}: allowed is {said}" for key, said, fits in SHAPES
             if key in document and not fits(document[key])]
    if wrong:
        raise UnusableDataset(*wrong)
    return document


def _cases(written: object, root: Path, labels: tuple[DatasetLabel, ...], problems: list[str]) -> tuple[Case, ...]:
    if not isinstance(written, list):
        problems.append(f"a split is {type(written).__name__}, allowed is a list of cases")
        return ()
    found = (case_from_json(one, root, labels, problems.append) for one in written)
    return tuple(case for case in found if case is not None)


def _contradictions(dataset: Dataset) -> list[str]:
    """Return what is wrong within ``dataset.json`` itself."""
    problems = []
    if dataset.task not in TASKS:
        problems.append(f"task = {dataset.task!r}: allowed are {', '.join(TASKS)}")
    splits: dict[str, set[str]] = defaultdict(set)
    ids = Counter(case.id for _, case in dataset.cases)
    for split, case in dataset.cases:
        splits[case.patient].add(split)
        if len(case.images) != len(dataset.channels):
            problems.append(f"case {case.id}: {len(case.images)} images; the channels are {list(dataset.channels)}")
        if dataset.task == "segmentation" and case.label is None:
            problems.append(f"case {case.id}: no label map; segmentation needs one")
        if dataset.task == "classification" and case.klass is None:
            problems.append(f"case {case.id}: no class; classification needs one")
    problems += [f"case id {name} stands {count} times; each needs its own" for name, count in ids.items() if count > 1]
    problems += [f"patient {name} lies in {' and '.join(sorted(found))}: what is learned there is not tested here; "
                 "put all cases of a patient into one split" for name, found in splits.items() if len(found) > 1]
    if not ids:
        problems.append("no case: training, validation and test are empty")
    return problems


def _missing(dataset: Dataset) -> list[str]:
    return [f"{path.relative_to(dataset.root)} of case {case.id} is missing"
            for _, case in dataset.cases for path in _files(case) if not path.is_file()]


def _changed(dataset: Dataset, document: dict[str, Any]) -> list[str]:
    known = document.get("files", {})
    files = {path.relative_to(dataset.root).as_posix(): path for _, case in dataset.cases for path in _files(case)}
    found = {name: file_digest(path) for name, path in files.items()}
    changed = sorted(name for name in found if found[name] != known.get(name))
    if changed:
        return [f"{name} is not the file that the data set was made with (sha256 {found[name][:12]}..., "
                f"recorded {str(known.get(name))[:12]}...)" for name in changed]
    if digest_of(document, found) != dataset.digest:
        return ["dataset.json was changed after the data set was made (digest over cases and labels): build it again"]
    return []


def _misplaced(dataset: Dataset) -> list[str]:
    """Return the cases whose files do not share one grid, or whose header cannot be read."""
    problems = []
    for _, case in dataset.cases:
        grids = []
        for path in _files(case):
            try:
                image = nibabel.Nifti1Image.from_filename(path)
            except NIFTI_ERRORS as error:
                problems.append(f"{path.relative_to(dataset.root)}: no readable NIfTI file: {type(error).__name__}")
                continue
            grids.append((path, image.shape, image.affine))
        for path, shape, affine in grids[1:]:
            if shape != grids[0][1] or np.abs(affine - grids[0][2]).max() > SAME_PLACE_MM:
                problems.append(f"{path.relative_to(dataset.root)} ({shape}) is not on the grid of "
                                f"{grids[0][0].relative_to(dataset.root)} ({grids[0][1]})")
    return problems


def _files(case: Case) -> tuple[Path, ...]:
    return (*case.images, *([case.label] if case.label else ()))
