"""Which annotation belongs to which image series: by what it refers to, else by where its file lies and its name."""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dicomnode.errors import UnusableAnnotation, UnusableDataset
from dicomnode.read.annotations import Box, References
from dicomnode.read.annotations_csv import boxes_of_csv
from dicomnode.read.annotations_mask import MASK_SUFFIXES
from dicomnode.train.dataset.gather_walk import Found

MASK_WORDS: Final = ("seg", "segmentation", "mask", "label", "labels", "labelmap", "gt", "truth")
PAIR_COLUMNS: Final = frozenset({"mask", "series"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """One file that marks something on a series: SEG, RTSTRUCT, SR or MASK.

    ``names`` is what a mask's file is called.
    """

    path: Path
    kind: str
    names: tuple[str, ...] = ()


def matched(found: Found, source: Path, pairs: Path | None) -> tuple[dict[str, list[Mark]], list[tuple[Path, str]]]:
    """Return the marks of each series, and each file that belongs to none, with the reason.

    Parameters
    ----------
    pairs:
        A CSV with the columns ``mask`` (a path below ``source``) and ``series`` (a SeriesInstanceUID, or the folder
        of the series below ``source``): it alone decides for the masks that it names.

    Raises
    ------
    UnusableDataset
        If ``pairs`` cannot be read, or names what is not there.
    """
    marks: dict[str, list[Mark]] = defaultdict(list)
    lost: list[tuple[Path, str]] = []
    for one in found.annotations:
        series = _referred(one, found)
        for uid in series:
            marks[uid].append(Mark(path=one.path, kind=one.kind))
        if not series:
            named = ", ".join(sorted(one.series_uids)[:2]) or "none that it names"
            lost.append((one.path, f"its images are not here: it refers to series {named}"))
    stated = _stated(pairs, source, found) if pairs else {}
    for mask in found.masks:
        series = (stated[mask],) if mask in stated else _by_name(mask, found, source)
        if len(series) == 1:
            marks[series[0]].append(Mark(path=mask, kind="MASK", names=tuple(sorted(_stems(mask)))))
        else:
            why = (f"which series it belongs to is not clear: {len(series)} could be meant by its name and folder; "
                   "say which with --pairs")
            lost.append((mask, why))
    return marks, lost


def boxes_of_tables(found: Found) -> dict[str, tuple[Box, ...]]:
    """Return SeriesInstanceUID → the boxes that tables of findings list for it.

    Raises
    ------
    UnusableDataset
        If a table cannot be read: without its rows, each series that it names would have nothing to find.
    """
    tabled: dict[str, tuple[Box, ...]] = {}
    for path in found.tables:
        try:
            for uid, listed in boxes_of_csv(path).items():
                tabled[uid] = (*tabled.get(uid, ()), *listed)
        except UnusableAnnotation as error:
            raise UnusableDataset(f"{path.name}: {error}; mend the table, or move it away") from error
    return tabled


def _referred(one: References, found: Found) -> tuple[str, ...]:
    named = tuple(uid for uid in found.series if uid in one.series_uids)
    if named:
        return named
    holding = tuple(uid for uid, series in found.series.items()
                    if any(image.sop_instance_uid in one.instance_uids for image in series.instances))
    if holding or one.series_uids:
        return holding
    same = tuple(uid for uid, series in found.series.items() if series.instances[0].study_uid == one.study_uid
                 and series.instances[0].text("FrameOfReferenceUID") in one.frame_of_reference_uids)
    return same if len(same) == 1 else ()


def _by_name(mask: Path, found: Found, source: Path) -> tuple[str, ...]:
    """Return the series that a mask's name means: a UID in it, a folder or patient of that name, its own folder."""
    uids = tuple(uid for uid in found.series if re.search(rf"(?<![\d.]){re.escape(uid)}(?!\.?\d)", mask.name))
    stems = _stems(mask)
    folders = tuple(uid for uid in found.series if stems & _folder_names(found.folder_of(uid), source))
    patients = tuple(uid for uid, series in found.series.items()
                     if series.instances[0].text("PatientID").lower() in stems - {""})
    beside = tuple(uid for uid in found.series if found.folder_of(uid) == mask.parent)
    below = tuple(uid for uid in found.series if found.folder_of(uid).parent == mask.parent)
    candidates = next((some for some in (uids, folders, patients, beside, below) if some), ())
    return _nearest(mask, candidates, found)


def _stems(mask: Path) -> set[str]:
    """Return a file's name without its suffix, and without words that say that it is a mask."""
    stem = mask.name.lower()
    for suffix in sorted(MASK_SUFFIXES, key=len, reverse=True):
        stem = stem.removesuffix(suffix)
    return {stem, *(stem.removesuffix(f"{joint}{word}") for word in MASK_WORDS for joint in "_-. ")}


def _folder_names(folder: Path, source: Path) -> set[str]:
    return {part.lower() for part in folder.relative_to(source).parts}


def _nearest(mask: Path, candidates: tuple[str, ...], found: Found) -> tuple[str, ...]:
    """Return those whose folder shares most of its path with the mask's: each patient has a folder ``ct``."""
    shared = {uid: len(set(found.folder_of(uid).parents) & {mask, *mask.parents}) for uid in candidates}
    return tuple(uid for uid in candidates if shared[uid] == max(shared.values()))


def _stated(pairs: Path, source: Path, found: Found) -> Mapping[Path, str]:
    stated, problems = {}, []
    try:
        with pairs.open(encoding="utf-8-sig", newline="") as file:
            rows = [{str(key).strip().lower(): str(value or "").strip() for key, value in row.items()}
                    for row in csv.DictReader(file)]
    except (OSError, UnicodeError, csv.Error) as error:
        raise UnusableDataset(f"{pairs}: cannot be read ({type(error).__name__})") from error
    for line, row in enumerate(rows, start=2):
        if not row.keys() >= PAIR_COLUMNS:
            raise UnusableDataset(f"{pairs}: columns are {sorted(row)}: mask and series are needed")
        mask, series = source / row["mask"], row["series"]
        uids = [uid for uid in found.series if uid == series or found.folder_of(uid) == source / series]
        if mask not in found.masks:
            problems.append(f"{pairs.name} line {line}: mask {row['mask']!r} is not below the source folder")
        elif len(uids) != 1:
            problems.append(f"{pairs.name} line {line}: {len(uids)} series are meant by {series!r}; give its "
                            "SeriesInstanceUID, or a folder that holds one series")
        else:
            stated[mask] = uids[0]
    if problems:
        raise UnusableDataset(*problems)
    return stated
