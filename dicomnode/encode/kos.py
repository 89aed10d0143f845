"""Key Object Selections (PS3.3 A.35.4, PS3.16 TID 2010): the manifest of an analysis, and the note that takes one back.

Notes
-----
IHE AI Results wants the results of one analysis to hang together below one root. The manifest is a Key Object
Selection titled (113030, DCM, Manifest), as XDS-I uses it: every archive stores it, a consumer reads one flat list, and
no viewer takes it for a finding, which an SR without measurements would be taken for.

A rejection note is titled (113001, DCM, Rejected for Quality Reasons), of the four titles of IHE IOCM the one that
says that the objects must not be used because of what they contain. Incorrect Modality Worklist Entry and Data
Retention Policy Expired name other causes, and the latter lets the same objects come back; Rejected for Patient Safety
Reasons claims a danger that results on fewer images are not. No modifier of CID 7011 is given: none of these failures
happened; the description says what did.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from highdicom import ko, sr
from pydicom import Dataset

from dicomnode.domain.dicom import SECONDARY_CAPTURE_STORAGE, SEGMENTATION_STORAGE, Code, InstanceRef
from dicomnode.domain.findings import EncodedObject
from dicomnode.encode import sources as images
from dicomnode.encode.codes import LANGUAGES, MANIFEST, REJECTED_FOR_QUALITY, concept
from dicomnode.encode.meanings import said
from dicomnode.encode.observer import device
from dicomnode.encode.series import Role, Stamp, encoding, finish, identity
from dicomnode.encode.words import sentence

IMAGES: Final = frozenset({
    SEGMENTATION_STORAGE, SECONDARY_CAPTURE_STORAGE,
    "1.2.840.10008.5.1.4.1.1.66.7",  # Label Map Segmentation
    "1.2.840.10008.5.1.4.1.1.30",  # Parametric Map
})
"""Results that a selection names as IMAGE; all others are COMPOSITE (PS3.3 C.18.3, C.18.4)."""
MANIFEST_SLOT: Final = 38
REJECTION_SLOT: Final = 39
DIGEST_CHARS: Final = 16


def encode_manifest(named: Sequence[EncodedObject], source: Dataset, stamp: Stamp) -> EncodedObject:
    """Return the selection that names every object of one analysis that a peer gets, in the order of sending.

    Parameters
    ----------
    named:
        At least one; which form of each object is meant makes one manifest differ from another.
    source:
        Header of an analysed image: patient and study are taken from it.

    Raises
    ------
    EncodingError
        If nothing is named, or the header is unfit.
    """
    uids = tuple(one.sop_instance_uid for one in named)
    models = tuple(dict.fromkeys(one.model_name for one in stamp.provenance))
    role = Role(kind="KOS", group="manifest", name=f"manifest|{_told_apart(uids)}", slot=MANIFEST_SLOT,
                subject="manifest", models=models)
    text = sentence("manifest", stamp.language, count=len(named), models=", ".join(models))
    references = [_reference(one.sop_class_uid, one.sop_instance_uid, one.series_uid) for one in named]
    return replace(_write(role, MANIFEST, text, references, source, stamp), refers_to=uids)


def encode_rejection(sent: Sequence[InstanceRef], source: Dataset, stamp: Stamp, peer: str) -> EncodedObject:
    """Return the note that takes back what a peer was sent of earlier analyses of a study (IHE IOCM).

    Parameters
    ----------
    sent:
        Exactly what that peer was sent and has not been told to reject, at least one; results of this node, whose
        series follow from their instances.

    Raises
    ------
    EncodingError
        If nothing is named, or the header is unfit.
    """
    uids = tuple(one.sop_instance_uid for one in sent)
    role = Role(kind="KOS", group=f"rejection|{peer}", name=f"rejection|{peer}|{_told_apart(uids)}",
                slot=REJECTION_SLOT, subject="rejection note", models=())
    text = sentence("rejection", stamp.language, count=len(sent))
    references = [_reference(one.sop_class_uid, one.sop_instance_uid, stamp.series_of(one.sop_instance_uid))
                  for one in sent]
    return _write(role, REJECTED_FOR_QUALITY, text, references, source, stamp)


def _write(role: Role, title: Code, text: str, references: Sequence[Dataset], source: Dataset, stamp: Stamp
           ) -> EncodedObject:
    with encoding(f"the {role.subject}", str(source.get("SeriesInstanceUID", ""))):
        head = images.head_of(source)
        for reference in references:
            reference.StudyInstanceUID = head.StudyInstanceUID
        content = ko.KeyObjectSelection(
            document_title=concept(title), referenced_objects=references, observer_device_context=device(stamp),
            description=text)
        document = ko.KeyObjectSelectionDocument(
            evidence=[_named_after(head, references[0]), *references[1:]], content=content, **identity(stamp, role))
        document.copy_patient_and_study_information(images.unnamed(head))
        document.ContentSequence = [*sr.LanguageOfContentItemAndDescendants(
            said(LANGUAGES[stamp.language[:2]], stamp.language)), *map(_unnamed, document.ContentSequence)]
        return finish(document, head, stamp, role)


def _unnamed(item: Dataset) -> Dataset:
    """Return a content item; one that refers to an object without a concept name, which TID 2010 has none for."""
    if item.ValueType in {"IMAGE", "COMPOSITE"}:
        del item.ConceptNameCodeSequence
    return item


def _named_after(head: Dataset, reference: Dataset) -> Dataset:
    """Return the source's patient and study with the identity of the first object: highdicom copies from evidence."""
    first = images.unnamed(head)
    for element in reference:
        first[element.tag] = element
    return first


def _reference(sop_class_uid: str, sop_instance_uid: str, series_uid: str) -> Dataset:
    light = Dataset()
    light.SOPClassUID, light.SOPInstanceUID, light.SeriesInstanceUID = sop_class_uid, sop_instance_uid, series_uid
    if sop_class_uid in IMAGES:
        light.Rows, light.Columns = 1, 1  # highdicom's mark of an image: IMAGE, not COMPOSITE
    return light


def _told_apart(uids: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(uids).encode()).hexdigest()[:DIGEST_CHARS]
