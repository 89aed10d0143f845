"""Classifications become a report: one measurement group for each class (TID 1501), and the same in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from highdicom import sr

from dicomnode.domain.dicom import Code
from dicomnode.domain.findings import Classification, ModelFindings, Presence
from dicomnode.encode.codes import ABSENT, FINDING, PRESENCE, PRESENT, PROBABILITY, UNDETERMINED, UNITY, concept
from dicomnode.encode.groups import algorithm, comment, number
from dicomnode.encode.meanings import class_name, said
from dicomnode.encode.series import Stamp
from dicomnode.encode.words import sentence

MODIFIES: Final = sr.RelationshipTypeValues.HAS_CONCEPT_MOD
CODES: Final[dict[Presence, Code]] = {
    Presence.PRESENT: PRESENT, Presence.ABSENT: ABSENT, Presence.UNDETERMINED: UNDETERMINED,
}


def class_group(findings: ModelFindings, one: Classification, stamp: Stamp) -> sr.MeasurementsAndQualitativeEvaluations:
    """Return one class: its presence and its probability.

    Notes
    -----
    Only a class that is present stands as the group's finding. Of the others the code is a modifier of the presence:
    viewers that show values without their context would otherwise show a finding where there is none.
    """
    name = findings.provenance.model_name
    present = one.presence is Presence.PRESENT
    site = findings.finding_site
    evaluation = sr.QualitativeEvaluation(concept(PRESENCE), said(CODES[one.presence], stamp.language))
    if not present:
        evaluation[0].ContentSequence = sr.ContentSequence(
            [sr.CodeContentItem(concept(FINDING), said(one.of.code, stamp.language), MODIFIES)])
    group = sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(
            uid=stamp.derive(f"class|{name}|{one.of.value}"), identifier=f"{one.of.name}: {one.presence.value}"),
        finding_type=said(one.of.code, stamp.language) if present else None,
        algorithm_id=algorithm(findings.provenance), qualitative_evaluations=[evaluation],
        finding_sites=[sr.FindingSite(said(site, stamp.language))] if site else None,
        measurements=[number(PROBABILITY, one.probability, UNITY, stamp.language)])
    comment(group[0], findings, stamp.language)
    return group


def found_nothing(findings: ModelFindings) -> bool:
    """Whether the classes say that nothing is there: none that stands for a finding is present, and one could tell."""
    presences = {one.presence for one in findings.classifications}
    present = [one for one in findings.classifications if one.presence is Presence.PRESENT and one.of.finding]
    return not present and Presence.UNDETERMINED not in presences


def class_sentences(models: Sequence[ModelFindings], language: str) -> list[str]:
    """Say of each class in words what its group says in codes."""
    return [sentence(f"class_{one.presence.value}", language, model=findings.provenance.model_name,
                     version=findings.provenance.model_version, label=class_name(one.of, language),
                     probability=f"{one.probability:.3g}")
            for findings in models for one in findings.classifications]
