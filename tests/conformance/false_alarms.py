"""What validators say of objects that are right, each with the reason; nothing else is let through, and nowhere else.

An entry that no object raises any more fails a test: it goes out of the table.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from tests.conformance.judges import Remark


@dataclass(frozen=True, slots=True, kw_only=True)
class FalseAlarm:
    """A remark that is no fault: which program makes it, in which words, and why it is wrong."""

    judge: str
    pattern: str
    reason: str
    cases: str = ".*"  # regular expression of the cases' names
    kinds: str = ".*"

    def covers(self, remark: Remark) -> bool:
        """Whether this is the remark."""
        return (remark.judge == self.judge and re.search(self.pattern, remark.line) is not None
                and re.fullmatch(self.cases, remark.case) is not None
                and re.fullmatch(self.kinds, remark.kind) is not None)


FALSE_ALARMS = (
    FalseAlarm(
        judge="dcentvfy", pattern=r"Different information entities .* Element=<AccessionNumber>",
        reason="Accession Number is of the Study (PS3.3 C.7.2.1); dcentvfy finds it in the Series of images, where "
               "the Request Attributes Sequence may hold another of that name"),
    FalseAlarm(
        judge="dcentvfy", cases=r".*name in (GB18030|Japanese|Korean)|.*in Chinese",
        pattern=r"String attribute has different value - Element=<(PatientName|StudyDescription)>",
        reason="dcentvfy compares bytes: the source's character set is its own, results are written as ISO_IR 192. "
               "That the characters are the same is a rule of our own"),
    FalseAlarm(
        judge="dcentvfy", cases=".*(without patient|over-anonymised).*",
        pattern=r"Attribute present in one instance but not the other - Element=<(PatientID|PatientBirthDate|"
                r"PatientSex|AccessionNumber|StudyID|ReferringPhysicianName)>",
        reason="Type 2: results hold empty what the source should hold empty and lacks"),
    FalseAlarm(
        judge="dcentvfy", cases="over-anonymised MR",
        pattern=r"Attribute present in one instance but not the other - Element=<DeidentificationMethod>",
        reason="Type 1C with PatientIdentityRemoved YES (PS3.3 C.7.1.1): results state that the source does not say "
               "how, where the source says nothing"),
    FalseAlarm(
        judge="dciodvfy", kinds="LABELMAP", pattern="Information Object Not found",
        reason="Label Map Segmentation Storage is of DICOM 2024c, dicom3tools of 2022: it does not know the class"),
    FalseAlarm(
        judge="dciodvfy", kinds="LABELMAP", pattern="SegmentNumber not monotonically increasing .* SegmentNumber of 0",
        reason="dicom3tools of 2022 counts as for BINARY; a label map describes its background too, as segment 0 "
               "(PS3.3 C.8.20.2.3.3, 2024c)"),
    FalseAlarm(
        judge="dciodvfy", kinds="SR3D|SR", pattern="not segmentation - attribute <ReferencedSegmentNumber>",
        reason="The segment is one of a label map, a class that dicom3tools of 2022 does not know as a segmentation"),
    FalseAlarm(
        judge="dcentvfy",
        pattern=r"Unrecognized SOP Class - 1\.2\.840\.10008\.5\.1\.4\.1\.1\.66\.7 |Different .* IE <Unknown> versus",
        reason="dicom3tools of 2022 does not know to which entities the attributes of a label map belong; a rule of "
               "our own compares patient and study"),
    FalseAlarm(
        judge="dsrdump", kinds="SR3D|SR|KOS", pattern="unknown image SOP class referenced from IMAGE content item",
        reason="dcmtk 3.6.7 of 2022 reads no report that refers to a label map, a class of 2024; the variant that "
               "refers to binary segmentations, otherwise the same, it reads"),
)


def faults(remarks: Iterable[Remark]) -> list[Remark]:
    """Return what no entry of the table explains."""
    return [remark for remark in remarks if not any(alarm.covers(remark) for alarm in FALSE_ALARMS)]
