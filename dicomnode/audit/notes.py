"""What has come over an association that is not finished: counted once, told once, whatever crashes between.

The index learns of images in batches, an audit message speaks of a whole association. One file for each association
and study keeps a line for each image; images that are indexed a second time after a crash are the same line again.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dicomnode.audit.message import Node
from dicomnode.audit.queue import make_private, sync_folder, write_durably
from dicomnode.domain.audit import AuditedStudy

NOTE: Final = ".jsonl"
ACTIONS: Final = ("U", "C", "R")
"""Of several, the first that any image asks for: something differs, something is new, all was known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Noted:
    """One image that came.

    Parameters
    ----------
    arrival:
        Name of its file in the association's folder.
    action:
        ``C`` new, ``R`` known, ``U`` differs from what is known.
    """

    arrival: str
    sop_class_uid: str
    action: str
    sender: Node
    study: AuditedStudy


@dataclass(frozen=True, slots=True, kw_only=True)
class Came:
    """What one association brought of one study."""

    sender: Node
    study: AuditedStudy
    action: str
    note: Path


class Notes:
    """The associations that are not told of yet, below ``<data_dir>/audit/notes``.

    Every method raises OSError where the disk does.
    """

    def __init__(self, root: Path) -> None:
        self._folder = root / "notes"

    def add(self, association: str, images: Iterable[Noted]) -> None:
        """Note images of an association, durably."""
        lines: dict[str, list[str]] = {}
        for image in images:
            lines.setdefault(image.study.study_uid, []).append(_line(image))
        folder = self._folder / association
        make_private(folder)
        for study_uid, of_study in lines.items():
            # a line that a crash left half is ended, so that the next one is whole
            write_durably(folder / (study_uid + NOTE), ("\n" + "".join(of_study)).encode(), os.O_APPEND)
        sync_folder(folder)

    def any(self) -> bool:
        """Whether anything is noted."""
        return self._folder.is_dir() and any(self._folder.iterdir())

    def finished(self, going_on: Collection[str]) -> Iterator[Came]:
        """What came over the associations that are not going on."""
        if not self._folder.is_dir():
            return
        for folder in sorted(self._folder.iterdir()):
            if folder.name in going_on:
                continue
            for note in sorted(folder.glob("*" + NOTE)):
                came = _read(note)
                if came is not None:
                    yield came

    def told(self, came: Came) -> None:
        """Forget what is told."""
        came.note.unlink(missing_ok=True)
        with suppress(OSError):  # other studies came over it too
            came.note.parent.rmdir()


def _line(image: Noted) -> str:
    study = image.study
    return json.dumps({
        "arrival": image.arrival, "sop_class_uid": image.sop_class_uid, "action": image.action,
        "ae_title": image.sender.ae_title, "address": image.sender.address, "study_uid": study.study_uid,
        "patient_id": study.patient_id, "issuer": study.issuer, "patient_name": study.patient_name,
        "accession_number": study.accession_number,
    }) + "\n"


def _read(note: Path) -> Came | None:
    images: dict[str, dict[str, str]] = {}
    for line in note.read_text(encoding="utf-8").splitlines():
        try:
            image = json.loads(line)
        except ValueError:
            continue  # empty, or torn by a crash: its image was indexed again
        images.setdefault(image["arrival"], image)
    if not images:
        note.unlink(missing_ok=True)
        return None
    last = list(images.values())[-1]
    actions = {image["action"] for image in images.values()}
    return Came(
        note=note,
        sender=Node(ae_title=last["ae_title"], address=last["address"]),
        action=next(action for action in ACTIONS if action in actions),
        study=AuditedStudy(
            study_uid=last["study_uid"], patient_id=last["patient_id"], issuer=last["issuer"],
            patient_name=last["patient_name"], accession_number=last["accession_number"],
            instances=Counter(image["sop_class_uid"] for image in images.values())))
