"""A folder of DICOM and annotations becomes a data set: find, match, load, lay the marks on, write, report."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from dicomnode.domain.model import ModelFile
from dicomnode.domain.volume import SliceStack
from dicomnode.errors import UnusableAnnotation, UnusableDataset, UnusableInput
from dicomnode.read.annotations import Box
from dicomnode.train.dataset.cases import Dataset, named
from dicomnode.train.dataset.gather_case import Truth, boxes, label_map
from dicomnode.train.dataset.gather_channels import Channel, Channels, channels_of, group_of
from dicomnode.train.dataset.gather_labels import LabelRule, Labels, rules_of
from dicomnode.train.dataset.gather_match import Mark, boxes_of_tables, matched
from dicomnode.train.dataset.gather_notes import Leavings, image_digest, odd_patients, same_images
from dicomnode.train.dataset.gather_walk import Found, class_rows, walk
from dicomnode.train.dataset.pseudonyms import Pseudonyms
from dicomnode.train.dataset.split import patients_to_splits
from dicomnode.train.dataset.writer import DEFAULT_SHARES, DatasetWriter, refuse_full

MOST_NAMED: Final = 5
"""Files that a refusal names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What a person asked for.

    Parameters
    ----------
    labels:
        Empty: everything that is found, numbered as it appears.
    channels:
        Empty: each annotated series is a case of one channel.
    model:
        Its inputs choose the series and its labels the structures, as the node would.
    unmarked:
        Series without any mark are cases too, with nothing to find.
    splits:
        Pseudonym → split of patients that are assigned already.
    """

    source: Path
    out: Path
    name: str
    task: str = "segmentation"
    labels: Sequence[LabelRule] = ()
    channels: Sequence[Channel] = ()
    model: ModelFile | None = None
    pairs: Path | None = None
    unmarked: bool = False
    splits: Mapping[str, str] = field(default_factory=dict)
    key: bytes = b""
    seed: int = 0
    shares: tuple[float, float, float] = DEFAULT_SHARES


@dataclass(slots=True, kw_only=True)
class Gathered:
    """What came of it: the data set, and for the person at the terminal the files by their own names.

    Parameters
    ----------
    left_out:
        File or series as it lies in the source folder, and why it was not taken.
    notes:
        Case id → what to look at.
    passed_over:
        Names of structures that were marked and that nobody asked for.
    warnings:
        What is odd about the whole.
    """

    dataset: Dataset
    left_out: list[tuple[str, str]] = field(default_factory=list)
    notes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    passed_over: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def gather(wishes: Wishes, tell: Callable[[str], None] = lambda _text: None) -> Gathered:
    """Build a data set.

    Raises
    ------
    UnusableDataset
        If nothing can be taken, or the wishes contradict each other or the folder.
    """
    refuse_full(wishes.out)
    named(wishes.name)
    patients_to_splits((), wishes.seed, wishes.shares)
    found = walk(wishes.source, tell)
    if not found.series:
        raise UnusableDataset(f"{wishes.source}: no CT or MR image series in it ({found.other_files} other files, "
                              f"{len(found.left_out)} that cannot be read)",
                              *(f"{path.relative_to(wishes.source)}: {why}"
                                for path, why in found.left_out[:MOST_NAMED]))
    tell(f"{len(found.series)} series, {len(found.annotations)} annotation objects, {len(found.masks)} masks, "
         f"{len(found.tables) + len(found.class_tables)} tables, {found.other_files} other files")
    return _Gathering(wishes, found).run(tell)


class _Gathering:
    """One run: what is written, what is left out, and what is known meanwhile."""

    def __init__(self, wishes: Wishes, found: Found) -> None:
        rules = wishes.labels or rules_of(wishes.model, wishes.task)
        self._wishes, self._found = wishes, found
        self._labels = Labels(rules=rules, lesions_only=wishes.task == "detection")
        self._names = Pseudonyms(wishes.key)
        self._writer: DatasetWriter | None = None
        self._leavings = Leavings(found, wishes.source, self._names)
        self._notes: dict[str, tuple[str, ...]] = {}
        self._pixels: dict[str, str] = {}
        self._used: set[str] = set()
        self._tried: set[str] = set()  # series, and studies whose series are channels of one case

    def run(self, tell: Callable[[str], None]) -> Gathered:
        wishes, found = self._wishes, self._found
        marks, lost = matched(found, wishes.source, wishes.pairs)
        tabled = boxes_of_tables(found) if wishes.task == "detection" else {}
        classes = class_rows(found.class_tables) if wishes.task == "classification" else {}
        self._refuse(lost)
        self._absent((*tabled, *classes))
        for path, why in (*found.left_out, *lost):
            self._leavings.add(path, why)
        marked = {*marks, *tabled} if wishes.task != "classification" else set(classes)
        order = sorted(found.series, key=lambda uid: (found.series[uid].instances[0].text("PatientID"), uid))
        for number, uid in enumerate(order, start=1):
            if uid in self._used:
                continue
            if uid in marked or wishes.unmarked:
                tell(f"series {number} of {len(order)}")
                self._take(uid, marks, tabled, classes.get(uid))
        for uid in order:
            if not {uid, self._study(uid)} & self._tried and uid not in self._used:
                self._leavings.add(uid, "no annotation refers to it (--unmarked takes it all the same)")
        return self._close()

    def _refuse(self, lost: Sequence[tuple[Path, str]]) -> None:
        """Refuse wishes that would put a patient into another split, or a marked series among the unmarked."""
        wishes, known = self._wishes, {self._patient(uid) for uid in self._found.series}
        if wishes.splits and not known & wishes.splits.keys():
            raise UnusableDataset("none of the patients of --splits-of is among these: --keep-key must be the key that "
                                  "it was built with, or patients would move to another split")
        unclear = [path.relative_to(wishes.source).as_posix() for path, _ in lost if path in self._found.masks]
        if wishes.unmarked and unclear:
            raise UnusableDataset(f"--unmarked: it is not clear to which series {len(unclear)} masks belong, and what "
                                  "they mark would be learned as background; say it with --pairs, or move them away: "
                                  + ", ".join(unclear[:MOST_NAMED]))

    def _take(self, uid: str, marks: Mapping[str, Sequence[Mark]], tabled: Mapping[str, Sequence[Box]],
              klass: str | None) -> None:
        self._tried.add(self._study(uid) if self._wishes.channels or self._wishes.model else uid)
        try:
            channels = channels_of(uid, self._found, self._wishes.channels, self._wishes.model)
            series = channels.series_uids
            truth = self._truth(tuple(dict.fromkeys(mark for one in series for mark in marks.get(one, ()))),
                                [box for one in series for box in tabled.get(one, ())], klass, channels.reference.stack)
        except UnusableInput as error:
            self._leavings.add(uid, error.reason)
            return
        if truth.refused:
            for mark, why in truth.refused:
                self._leavings.add(mark.path, why)
            self._leavings.add(uid, "one of its annotations cannot be used: its marks would be learned as background")
            return
        empty = truth.label_zyx is not None and not truth.label_zyx.any()
        if not self._wishes.unmarked and (empty or (self._wishes.task == "detection" and not truth.boxes)):
            self._leavings.add(uid, "nothing that was asked for is marked on it (--unmarked takes it all the same)")
            return
        if self._writer is not None and self._writer.kind != (channels.names, channels.reference.modality):
            self._leavings.add(uid, f"its images are {channels.reference.modality}, those of the cases before are "
                                    f"{self._writer.kind[1]}: choose with --channel or --like, or build two data sets")
            return
        self._used.update(channels.series_uids)
        self._write(uid, channels, truth, klass)

    def _truth(self, marks: Sequence[Mark], tabled: Sequence[Box], klass: str | None, stack: SliceStack) -> Truth:
        if self._wishes.task == "segmentation":
            return label_map(marks, stack, self._labels)
        if self._wishes.task == "detection":
            return boxes(marks, tabled, stack, self._labels)
        if klass is None:
            raise UnusableAnnotation("no table names its class (columns seriesuid, class)")
        return Truth()

    def _write(self, uid: str, channels: Channels, truth: Truth, klass: str | None) -> None:
        writer = self._opened(channels)
        class_label = None
        if klass is not None and self._wishes.task == "classification":
            class_label = self._labels.of(Box(centre_lps_mm=np.zeros(3), size_lps_mm=np.ones(3), name=klass))
            if class_label is None:
                self._leavings.add(uid, f"class {klass!r} is not among --label")
                return
        for label in self._labels.found[writer.label_count:]:
            writer.add_label(label)
        patient = self._patient(uid)
        case = writer.add(
            id=self._names.of("case", uid), patient=patient, split=self._wishes.splits.get(patient),
            images_zyx=channels.volumes, label_zyx=truth.label_zyx,
            affine_lps_mm=channels.reference.stack.affine_lps_mm,
            boxes_lps_mm=np.array([[*box.centre_lps_mm, *box.size_lps_mm] for box, _ in truth.boxes]).reshape(-1, 6),
            box_labels=[place for _, place in truth.boxes],
            klass=None if class_label is None else self._labels.index(class_label),
            group=group_of(self._found.series[uid], channels.reference.stack))
        self._pixels[case.id] = image_digest(channels.volumes)
        self._notes[case.id] = tuple(self._names.without_uids(note) for note in truth.notes)

    def _opened(self, channels: Channels) -> DatasetWriter:
        if self._writer is None:
            wishes = self._wishes
            modality = channels.reference.modality
            self._writer = DatasetWriter(wishes.out, name=wishes.name, task=wishes.task, channels=channels.names,
                                         modality=modality, labels=self._labels.found)
        return self._writer

    def _close(self) -> Gathered:
        if self._writer is None:
            listed = "\n".join(f"{what}: {why}" for what, why in self._leavings.shown[:20]) or "nothing is annotated"
            others = ", ".join(sorted(self._labels.passed_over))
            raise UnusableDataset(f"{self._wishes.source}: no case could be taken"
                                  + (f"; marked and not asked for: {others}" if others else "") + f"\n{listed}")
        for what, why in self._leavings.hidden:
            self._writer.leave_out(what, why)
        for label in self._labels.coded():
            self._writer.describe_label(label)
        dataset = self._writer.close(self._wishes.seed, self._wishes.shares)
        return Gathered(dataset=dataset, left_out=self._leavings.shown, notes=self._notes,
                        passed_over=tuple(sorted(self._labels.passed_over)),
                        warnings=(*odd_patients(self._found.series[uid].instances[0] for uid in self._used),
                                  *same_images(dataset, self._pixels)))

    def _absent(self, uids: Iterable[str]) -> None:
        for uid in sorted(set(uids) - self._found.series.keys()):
            self._leavings.add(uid, "its images are not here: a table names it")

    def _study(self, uid: str) -> str:
        return self._found.series[uid].instances[0].study_uid

    def _patient(self, uid: str) -> str:
        """Return the pseudonym of a PatientID, whoever issued it: to take two for one costs less than the reverse."""
        one = self._found.series[uid].instances[0]
        return self._names.of("patient", *((one.text("PatientID"),) if one.text("PatientID")
                                           else ("study", one.study_uid)))
