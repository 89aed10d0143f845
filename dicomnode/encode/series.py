"""What every result copies from its source, states about itself, and is called."""

from __future__ import annotations

import traceback
import uuid
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from io import BytesIO
from pathlib import Path
from typing import Any, Final

from pydicom import Dataset, FileMetaDataset
from pydicom.uid import UID

from dicomnode import __version__
from dicomnode.domain.dicom import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME, MANUFACTURER, MODEL_NAME, uid
from dicomnode.domain.findings import EncodedObject, Provenance
from dicomnode.domain.job import derived_uid
from dicomnode.encode.codes import LANGUAGES
from dicomnode.encode.equipment import contributors
from dicomnode.errors import EncodingError

FIRST_SERIES_NUMBER: Final = 9000
LATER_SERIES_NUMBER: Final = 100_000
SERIES_PER_REVISION: Final = 50
SERIES_NUMBER_STEP_S: Final = 20
"""Long enough that IS (PS3.5 Table 6.2-1) lasts until 2046 and for ten million sets; ``Stamp.order`` tells apart what
is made within one step."""
SERIES_NUMBER_EPOCH: Final = datetime(2026, 1, 1, tzinfo=UTC)
DESCRIPTION_MAX_CHARS: Final = 64  # VR LO
FOREIGN_ERRORS: Final = (
    ValueError, TypeError, AttributeError, KeyError, IndexError, NotImplementedError, OverflowError, OSError,
)
"""What highdicom and pydicom raise where a header or an array is not what they need."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """What identifies one set of results; equal stamps and findings give equal bytes.

    Parameters
    ----------
    language:
        'en' or 'zh', also with a region ('zh-CN'): the language of sentences; code meanings stay English.
    series_number_base:
        SeriesNumber of the first series; None: 9000, and for a superseding set a number that grows with time.
    predecessors:
        Reports that these supersede, each ``<SOP Class UID>:<SOP Instance UID>``. A bare SOP Instance UID marks the
        results as superseding too, but cannot be referenced (PS3.3 Table 10-11 requires the class).
    supersedes:
        Whether an earlier set of results of this study was sent; implied by ``predecessors``.
    order:
        A number that is higher for each later set, however soon it comes; 0 where there is none.
    local_zone:
        Zone of the source's dates and times where the source does not say; None: the machine's.
    """

    node_id: uuid.UUID
    job_key: str
    content_time: datetime
    provenance: tuple[Provenance, ...] = ()
    language: str = "en"
    series_number_base: int | None = None
    predecessors: tuple[str, ...] = ()
    supersedes: bool = False
    local_zone: tzinfo | None = None
    order: int = 0

    def __post_init__(self) -> None:
        """Refuse a naive time, an unknown language and what is no UID."""
        if self.content_time.tzinfo is None:
            msg = f"content_time = {self.content_time}: allowed are aware times only"
            raise ValueError(msg)
        if self.language[:2] not in LANGUAGES:
            msg = f"language = {self.language!r}: allowed are {', '.join(LANGUAGES)}"
            raise ValueError(msg)
        for text in self.predecessors:
            for part in text.split(":"):
                uid(part)

    @property
    def updates(self) -> bool:
        """Whether these results replace earlier ones."""
        return self.supersedes or bool(self.predecessors)

    @property
    def research(self) -> bool:
        """Whether any model of the set is not cleared for clinical use; a set without models counts as not cleared."""
        return not self.provenance or any(one.research for one in self.provenance)

    def derive(self, role: str) -> str:
        """Return the UID of one role of this set of results."""
        return derived_uid(self.node_id, self.job_key, role)

    def series_of(self, sop_instance_uid: str) -> str:
        """Return the series of one of this node's results: each has its own, named after its instance."""
        return derived_uid(self.node_id, sop_instance_uid, "series")

    def place_of(self, model_name: str) -> int:
        """Return the place of a model among those of the set, 0 for the first: what tells their series apart."""
        names = [one.model_name for one in self.provenance]
        return names.index(model_name) if model_name in names else 0

    def series_number(self, slot: int) -> int:
        """Return the SeriesNumber of a slot: higher for results that supersede earlier ones."""
        if self.series_number_base is not None:
            return self.series_number_base + slot
        if not self.updates:
            return FIRST_SERIES_NUMBER + slot
        steps = int((self.content_time - SERIES_NUMBER_EPOCH).total_seconds() // SERIES_NUMBER_STEP_S)
        return LATER_SERIES_NUMBER + SERIES_PER_REVISION * (max(0, steps) + self.order) + slot


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """One object of a set of results: its kind and group, and what its series is called."""

    kind: str
    group: str
    name: str  # unique within the set: the UIDs are derived from it
    slot: int
    subject: str  # in SeriesDescription: 'segmentation', 'findings'
    models: tuple[str, ...]

    def description(self, stamp: Stamp) -> str:
        """Return the SeriesDescription: 'AI <subject> <models> - NOT VERIFIED', at most 64 characters."""
        tail = " - NOT VERIFIED" + (" (supersedes earlier)" if stamp.updates else "")
        head = f"AI {self.subject} {', '.join(self.models)}".strip()
        return head[: DESCRIPTION_MAX_CHARS - len(tail)].rstrip(" ,") + tail


@contextmanager
def encoding(what: str, where: str) -> Iterator[None]:
    """A foreign library's exception ends here as EncodingError, naming the object and the source series.

    The library's message may hold header values, that is, patient data: it travels only as ``__cause__``, and
    the libraries' warnings, which quote values too, are silenced.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except FOREIGN_ERRORS as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        msg = (f"{what} for series {where} could not be written: {type(error).__name__} in "
               f"{Path(frame.filename).name}, {frame.name}; "
               "the input is kept, report this with the series' header")
        raise EncodingError(msg) from error


def finish(result: Dataset, head: Dataset, stamp: Stamp, role: Role, *, tail: Iterable[bytes] = ()) -> EncodedObject:
    """Give a result its identity, equipment, times and labels, and write it: the same input gives the same bytes.

    Parameters
    ----------
    result:
        What highdicom built from ``sources.unnamed(head)``: the Patient and Study modules of ``head``, no name. It is
        written in the transfer syntax that its file meta names.
    head:
        The source's header, see ``sources.head_of``.
    tail:
        Encoded elements that follow those of ``result``, in pieces.
    """
    result.SpecificCharacterSet = "ISO_IR 192"
    result.PatientName = head.PatientName
    result.SeriesDescription = role.description(stamp)
    result.ContentQualification = "RESEARCH" if stamp.research else "PRODUCT"
    if "ContentLabel" in result:
        result.setdefault("ContentCreatorName", "")  # Type 2 (PS3.3 Table 10-12); no person made it
    if head.get("InstitutionName"):
        result.InstitutionName = head.InstitutionName
    _set_times(result, head, stamp)
    result.ContributingEquipmentSequence = contributors(result, stamp.provenance, stamp.content_time)
    result.file_meta = _file_meta(result)
    buffer = BytesIO()
    result.save_as(buffer, enforce_file_format=True)
    buffer.writelines(tail)
    return EncodedObject(
        kind=role.kind, group=role.group, sop_class_uid=str(result.SOPClassUID),
        sop_instance_uid=str(result.SOPInstanceUID), series_uid=str(result.SeriesInstanceUID),
        transfer_syntax_uid=str(result.file_meta.TransferSyntaxUID), payload=buffer.getvalue())


def identity(stamp: Stamp, role: Role) -> dict[str, Any]:
    """Return the identifying arguments of a highdicom SOP class constructor, the equipment included."""
    sop_instance_uid = stamp.derive(role.name)
    return {
        "series_instance_uid": stamp.series_of(sop_instance_uid), "series_number": stamp.series_number(role.slot),
        "sop_instance_uid": sop_instance_uid, "instance_number": 1, "manufacturer": MANUFACTURER,
        "manufacturer_model_name": MODEL_NAME, "device_serial_number": str(stamp.node_id),
        "software_versions": __version__,
    }


def local_time(head: Dataset, stamp: Stamp) -> datetime:
    """Return the content time in the zone of the source's dates and times (PS3.3 C.12.1.1.8)."""
    text = str(head.get("TimezoneOffsetFromUTC") or "").strip()
    if len(text) == 5 and text[0] in "+-" and text[1:].isdigit():  # noqa: PLR2004
        minutes = (int(text[1:3]) * 60 + int(text[3:])) * (-1 if text[0] == "-" else 1)
        return stamp.content_time.astimezone(timezone(timedelta(minutes=minutes)))
    return stamp.content_time.astimezone(stamp.local_zone)


def reference_predecessors(result: Dataset, stamp: Stamp) -> None:
    """Name the reports that this one replaces (PS3.3 C.17.2, Predecessor Documents Sequence)."""
    known = [text.split(":") for text in stamp.predecessors if ":" in text]
    if not known:
        return
    study = Dataset()
    study.StudyInstanceUID = result.StudyInstanceUID
    study.ReferencedSeriesSequence = [_predecessor(stamp, *pair) for pair in known]
    result.PredecessorDocumentsSequence = [study]


def _predecessor(stamp: Stamp, sop_class_uid: str, sop_instance_uid: str) -> Dataset:
    instance, series = Dataset(), Dataset()
    instance.ReferencedSOPClassUID, instance.ReferencedSOPInstanceUID = sop_class_uid, sop_instance_uid
    series.SeriesInstanceUID = stamp.series_of(sop_instance_uid)
    series.ReferencedSOPSequence = [instance]
    return series


def _set_times(result: Dataset, head: Dataset, stamp: Stamp) -> None:
    moment = local_time(head, stamp)
    result.TimezoneOffsetFromUTC = moment.strftime("%z")[:5]
    for prefix in ("InstanceCreation", "Series", *(["Content"] if "ContentDate" in result else [])):
        setattr(result, f"{prefix}Date", moment.strftime("%Y%m%d"))
        setattr(result, f"{prefix}Time", moment.strftime("%H%M%S"))


def _file_meta(result: Dataset) -> FileMetaDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = result.SOPClassUID
    meta.MediaStorageSOPInstanceUID = result.SOPInstanceUID
    meta.TransferSyntaxUID = result.file_meta.TransferSyntaxUID
    meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    return meta
