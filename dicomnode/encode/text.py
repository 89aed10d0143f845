"""Reports in words: what was looked for and not found, and why a study was not analysed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from highdicom import sr
from highdicom.sr.value_types import ContentItem
from pydicom import Dataset

from dicomnode.domain.dicom import BASIC_TEXT_SR_STORAGE, Code
from dicomnode.domain.findings import EncodedObject, ModelFindings, NotAnalysed
from dicomnode.domain.model import Label
from dicomnode.encode import sources as images
from dicomnode.encode.chinese import quoted_in, said_in
from dicomnode.encode.classes import class_sentences, found_nothing
from dicomnode.encode.codes import (
    ABSENT,
    CONCLUSION,
    CONCLUSIONS,
    DIAGNOSTIC_IMAGING_REPORT,
    FINDING,
    FINDING_SITE,
    FINDINGS,
    LANGUAGES,
    PRESENCE,
    concept,
)
from dicomnode.encode.meanings import label_name, meaning, said
from dicomnode.encode.observer import device
from dicomnode.encode.reasons import NOT_ANALYSED, STANDARD_REASON, coded, scheme_identification
from dicomnode.encode.series import Role, Stamp, encoding, finish, identity, reference_predecessors
from dicomnode.encode.words import sentence
from dicomnode.errors import EncodingError

CONTAINS = sr.RelationshipTypeValues.CONTAINS
MODIFIES = sr.RelationshipTypeValues.HAS_CONCEPT_MOD
NEGATIVE_SLOT, NOTICE_SLOT, CLASSES_SLOT = 2, 3, 3  # a notice is alone in its set


def negative_reports(findings: Sequence[ModelFindings], sources: Mapping[str, Sequence[Dataset]], stamp: Stamp
                     ) -> tuple[EncodedObject, ...]:
    """Return the report that names what was looked for and not found, as text SR and as Comprehensive SR.

    A model is named where it searches for a type of lesion of which no model found any, in the same region and on the
    same side where their labels name them, or where it marked nothing at all. Empty where everything that any model
    looks for was found.
    """
    found = [detection.label for one in findings for detection in one.detections]
    silent = [one for one in findings if _missed(one, found) or _marked_nothing(one)]
    if not silent:
        return ()
    series_uid = silent[0].stack.series_uid
    models = tuple(one.provenance.model_name for one in silent)
    with encoding("the negative report", series_uid):
        examined = [source for uid in dict.fromkeys(one.stack.series_uid for one in silent) for source in sources[uid]]
        items = [item for one in silent for item in _absences(one, found, stamp.language)]
        lines = [line for one in silent for line in _caveats(one, stamp.language)]
        lines.append(sentence("absence_is_no_proof", stamp.language))
        return tuple(_write(
            Role(kind=kind, group="negative", name=f"negative|{kind}", slot=NEGATIVE_SLOT,
                 subject="negative result", models=models), items, lines, examined, stamp)
            for kind in ("TEXT", "SR"))


def class_report(models: Sequence[ModelFindings], sources: Mapping[str, Sequence[Dataset]], stamp: Stamp
                 ) -> EncodedObject:
    """Return the classes in words, most probable first: an alternative of their measurement report."""
    with encoding("the classification report", models[0].stack.series_uid):
        examined = [source for uid in dict.fromkeys(one.stack.series_uid for one in models) for source in sources[uid]]
        items = [_text(FINDING, line) for line in class_sentences(models, stamp.language)]
        lines = [line for one in models for line in _caveats(one, stamp.language)]
        if any(found_nothing(one) for one in models):
            lines.append(sentence("absence_is_no_proof", stamp.language))
        role = Role(kind="TEXT", group="classification", name="classification|TEXT", slot=CLASSES_SLOT,
                    subject="classification", models=tuple(one.provenance.model_name for one in models))
        return _write(role, items, lines, examined, stamp)


def encode_notice(reason: NotAnalysed, sources: Sequence[Dataset], stamp: Stamp) -> EncodedObject:
    """Return the report that says that a study was not analysed, and why; a text SR for a person.

    Parameters
    ----------
    sources:
        Headers of the study's images, at least one; geometry is not needed.

    Raises
    ------
    EncodingError
        If there is no header to take patient and study from, or it is unfit.
    """
    if not sources:
        msg = f"study {reason.study_uid}: no header to write the not-analysed report for; pass at least one image"
        raise EncodingError(msg)
    language = stamp.language
    with encoding("the not-analysed report", str(sources[0].get("SeriesInstanceUID", ""))):
        named = {ref.sop_instance_uid for ref in reason.evidence}
        evidence = [source for source in sources if not named or str(source.SOPInstanceUID) in named] or list(sources)
        items = _why(reason, language)
        role = Role(kind="TEXT", group="notice", name="notice|TEXT", slot=NOTICE_SLOT, subject="NOT ANALYSED",
                    models=())
        return _write(role, items, [sentence("read_as_without", language)], evidence, stamp, own_codes=True)


def _why(reason: NotAnalysed, language: str) -> list[ContentItem]:
    """Return the sentence, the reason in words and in codes: the project's own, and the nearest standard one."""
    own, standard = coded(reason.reason)
    named = reason.reason if language.startswith("en") else f"{meaning(own, language)}（{reason.reason}）"
    return [_text(FINDING, sentence("not_analysed", language)),
            _text(FINDING, sentence("reason", language, reason=named, text=said_in(language, reason.text))),
            sr.CodeContentItem(said(NOT_ANALYSED, language), said(own, language), CONTAINS),
            sr.CodeContentItem(said(STANDARD_REASON, language), said(standard, language), CONTAINS)]


def _missed(one: ModelFindings, found: Sequence[Label]) -> tuple[Label, ...]:
    return tuple(label for label in one.looked_for if not _among(label, found))


def _among(label: Label, found: Sequence[Label]) -> bool:
    """Whether what a label stands for was found: the same type, and neither another region nor another side."""
    return any(_agree(label.type, other.type) and _agree(label.region, other.region)
               and _agree(label.modifier, other.modifier) for other in found)


def _agree(one: Code | None, other: Code | None) -> bool:
    return one is None or other is None or (one.scheme, one.value) == (other.scheme, other.value)


def _marked_nothing(one: ModelFindings) -> bool:
    """Whether a segmentation is empty; a detector says by what it looked for that it found none."""
    if one.detections or one.organs or one.classifications:
        return False
    return one.segmentation is not None or not one.looked_for


def _absences(one: ModelFindings, found: Sequence[Label], language: str) -> list[ContentItem]:
    """Return, per label not found, the sentence and the coded absence."""
    model, version = one.provenance.model_name, one.provenance.model_version
    items: list[ContentItem] = []
    for label in _missed(one, found):
        named = label_name(label, language)
        items += [_text(FINDING, sentence("not_found", language, model=model, version=version, label=named)),
                  _absent(label, language)]
    if not (one.detections or one.organs or items):
        labels = [label for label in (one.segmentation.labels if one.segmentation is not None else ())
                  if not _among(label, found)]
        items = [_text(FINDING, sentence("nothing_found", language, model=model, version=version)),
                 *(_absent(label, language) for label in labels)]
    return items


def _absent(label: Label, language: str) -> ContentItem:
    """Return presence = Absent, of which finding and where as modifiers (PS3.16 CID 240).

    Notes
    -----
    Not the finding with its absence as modifier: OHIF 3.13 shows values without modifiers, so that a bare
    "Nodule" stood where none was found.
    """
    item = sr.CodeContentItem(concept(PRESENCE), said(ABSENT, language), CONTAINS)
    parts = [sr.CodeContentItem(concept(FINDING), said(label.type, language), MODIFIES)]
    if label.region:
        parts.append(sr.CodeContentItem(concept(FINDING_SITE), said(label.region, language), MODIFIES))
    item.ContentSequence = sr.ContentSequence(parts)
    return item


def _caveats(one: ModelFindings, language: str) -> list[str]:
    planes = one.stack.planes
    lines = [sentence("examined", language, series=one.stack.series_uid, images=len(planes))]
    lines += [sentence("warning", language, text=said_in(language, warning)) for warning in one.warnings]
    if one.provenance.intended_use:
        lines.append(sentence("intended_use", language, model=one.provenance.model_name,
                              text=quoted_in(language, one.provenance.intended_use)))
    if one.provenance.research:
        lines.append(sentence("research", language))
    return lines


def _write(role: Role, items: Sequence[ContentItem], lines: Sequence[str], evidence: Sequence[Dataset], stamp: Stamp,
           *, own_codes: bool = False) -> EncodedObject:
    """Write one document; highdicom has no Basic Text SR, so that a document of its modules is renamed to it."""
    head = images.head_of(evidence[0])
    form = sr.EnhancedSR if role.kind == "TEXT" else sr.ComprehensiveSR
    document = form(
        evidence=[images.unnamed(head), *(images.reference(one) for one in evidence[1:])],
        content=_root(items, lines, stamp), is_complete=True, is_final=False, is_verified=False,
        **identity(stamp, role))
    if role.kind == "TEXT":
        document.SOPClassUID = BASIC_TEXT_SR_STORAGE
    if own_codes:
        document.CodingSchemeIdentificationSequence = [scheme_identification()]
    reference_predecessors(document, stamp)
    return finish(document, head, stamp, role)


def _root(items: Sequence[ContentItem], lines: Sequence[str], stamp: Stamp) -> Dataset:
    root = sr.ContainerContentItem(name=concept(DIAGNOSTIC_IMAGING_REPORT))
    content = sr.ContentSequence(is_root=False)
    content.extend(sr.LanguageOfContentItemAndDescendants(said(LANGUAGES[stamp.language[:2]], stamp.language)))
    content.extend(device(stamp))
    content.append(_container(FINDINGS, items))
    content.append(_container(CONCLUSIONS, [_text(CONCLUSION, line) for line in lines]))
    root.ContentSequence = content
    return root


def _container(name: Code, items: Sequence[ContentItem]) -> ContentItem:
    container = sr.ContainerContentItem(name=concept(name), relationship_type=CONTAINS)
    container.ContentSequence = sr.ContentSequence(items)
    return container


def _text(name: Code, value: str) -> ContentItem:
    return sr.TextContentItem(concept(name), value, CONTAINS)
