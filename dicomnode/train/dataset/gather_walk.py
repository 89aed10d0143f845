"""What lies in a folder: image series, annotation objects, masks and tables, and what nobody can read."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from dicomnode.domain.study import InstanceRecord, SeriesRecord
from dicomnode.errors import CannotUnderstand, DicomNodeError, SpoolUnavailable, UnusableAnnotation, UnusableDataset
from dicomnode.read.annotations import References, kind_of, references
from dicomnode.read.annotations_csv import is_box_table
from dicomnode.read.annotations_mask import is_mask_file
from dicomnode.read.header import record
from dicomnode.route.facts import IMAGE_CLASSES
from dicomnode.train.dataset.cases import FORMAT

CLASS_COLUMNS: Final = frozenset({"seriesuid", "class"})
DICOM_MARK: Final = b"DICM"
PREAMBLE_BYTES: Final = 128


@dataclass(slots=True, kw_only=True)
class Found:
    """The contents of a folder.

    Parameters
    ----------
    series:
        Image series by SeriesInstanceUID.
    paths:
        File of each image by SOP Instance UID.
    conflicts:
        SOP Instance UIDs that two files claim with different content.
    left_out:
        File and reason.
    """

    series: dict[str, SeriesRecord] = field(default_factory=dict)
    paths: dict[str, Path] = field(default_factory=dict)
    annotations: list[References] = field(default_factory=list)
    masks: list[Path] = field(default_factory=list)
    tables: list[Path] = field(default_factory=list)
    class_tables: list[Path] = field(default_factory=list)
    conflicts: set[str] = field(default_factory=set)
    left_out: list[tuple[Path, str]] = field(default_factory=list)
    other_files: int = 0

    def folder_of(self, series_uid: str) -> Path:
        """Return the folder that holds a series' first image."""
        return self.paths[self.series[series_uid].instances[0].sop_instance_uid].parent


def walk(source: Path, tell: Callable[[str], None]) -> Found:
    """Index everything below ``source``, in the order of its names; nothing is decoded.

    Annotations whose file cannot be read are listed with the reason; files that are neither are counted. Data sets that
    were made before are passed over.
    """
    found, images = Found(), dict[str, InstanceRecord]()
    made = {path.parent for path in source.rglob("dataset.json") if _is_ours(path)}
    files = sorted(path for path in source.rglob("*") if path.is_file() and not made & set(path.parents))
    for number, path in enumerate(files, start=1):
        if number % 500 == 0:
            tell(f"{number} of {len(files)} files looked at")
        if is_mask_file(path):
            found.masks.append(path)
        elif path.suffix.lower() == ".csv":
            _table(path, found)
        elif _is_dicom(path):
            _dicom(path, found, images)
        else:
            found.other_files += 1
    by_series: dict[str, list[InstanceRecord]] = {}
    for one in images.values():
        by_series.setdefault(one.series_uid, []).append(one)
    found.series = {uid: SeriesRecord(series_uid=uid, instances=tuple(several)) for uid, several in by_series.items()}
    return found


def class_rows(paths: Sequence[Path]) -> dict[str, str]:
    """Return SeriesInstanceUID → class from tables with the columns ``seriesuid`` and ``class``.

    Raises
    ------
    UnusableDataset
        If a row names no class, or two rows another class for one series.
    """
    rows: dict[str, str] = {}
    for path in paths:
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            for line, row in enumerate(csv.DictReader(file), start=2):
                values = {str(key).strip().lower(): str(value or "").strip() for key, value in row.items()}
                uid, klass = values["seriesuid"], values["class"]
                if not klass or rows.setdefault(uid, klass) != klass:
                    raise UnusableDataset(f"{path.name} line {line}: series {uid} has the class {klass!r}"
                                          + (f", and {rows[uid]!r} before" if uid in rows else "")
                                          + ": one class for each series is needed")
    return rows


def _is_ours(path: Path) -> bool:
    """Whether a ``dataset.json`` is one that was made here; other programs call theirs the same."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(document, dict) and document.get("format") == FORMAT


def _table(path: Path, found: Found) -> None:
    if is_box_table(path):
        found.tables.append(path)
        return
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        header = {name.strip().lower() for name in file.readline().split(",")}
    if header >= CLASS_COLUMNS:
        found.class_tables.append(path)
    else:
        found.other_files += 1


def _is_dicom(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(PREAMBLE_BYTES + len(DICOM_MARK))[PREAMBLE_BYTES:] == DICOM_MARK
    except OSError:
        return False


def _dicom(path: Path, found: Found, images: dict[str, InstanceRecord]) -> None:
    try:
        one = record(path)
        refers = references(path) if kind_of(one.sop_class_uid) else None
    except (CannotUnderstand, SpoolUnavailable, UnusableAnnotation) as error:
        _annotation_or_not(path, found, error)
        return
    if refers is not None:
        found.annotations.append(refers)
        return
    if one.sop_class_uid not in IMAGE_CLASSES:
        found.other_files += 1
        return
    known = images.setdefault(one.sop_instance_uid, one)
    if known is one:
        found.paths[one.sop_instance_uid] = path
    elif known.content_digest != one.content_digest:
        found.conflicts.add(one.sop_instance_uid)


def _annotation_or_not(path: Path, found: Found, error: DicomNodeError) -> None:
    """Take what the index refuses and can still be an annotation: a SEG in a transfer syntax for segments alone."""
    try:
        refers = references(path)
    except UnusableAnnotation:
        refers = None
    if refers is not None:
        found.annotations.append(refers)
    else:
        found.left_out.append((path, error.reason))
