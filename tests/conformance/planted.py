"""Faults planted one by one into right results: what each rule of our own must catch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tests.conformance.spoils import (
    Spoil,
    blank_frames,
    coded,
    gapped_numbers,
    named,
    numeric,
    open_outline,
    outside,
    put,
    second_finding,
    shifted_contour,
    tilted_frame,
    two_references,
    untyped,
    wide_contour,
    without,
)
from tests.rules.scene import groups_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One fault: the rule that it breaks, the object that it is planted into, and how."""

    rule: str
    kind: str
    spoil: Spoil
    case: str = "axial CT"
    place: int = 0  # which object of the kind


EVIDENCE = "CurrentRequestedProcedureEvidenceSequence"
ALGORITHM = "SegmentationAlgorithmIdentificationSequence"
SOURCE = ("PerFrameFunctionalGroupsSequence", "DerivationImageSequence", "SourceImageSequence")
FAULTS = (
    # Who and what a result is.
    Fault(rule="is_a_kind_of_result", kind="SEG", spoil=put(SOPClassUID="1.2.840.10008.5.1.4.1.1.2")),
    Fault(rule="uids_are_derived", kind="SEG", spoil=put(SOPInstanceUID="1.2.3")),
    Fault(rule="uids_are_derived", kind="SR", spoil=put(SeriesInstanceUID="1.2.3")),
    Fault(rule="file_says_the_same", kind="SC", spoil=lambda one: put(ImplementationClassUID="1.2.3")(one.file_meta)),
    Fault(rule="file_says_the_same", kind="SC", spoil=put(SOPInstanceUID="2.25.5")),
    Fault(rule="equipment_is_this_node", kind="KOS", spoil=put(Manufacturer="Phantom Works")),
    Fault(rule="equipment_is_this_node", kind="PM", spoil=put(DeviceSerialNumber="")),
    Fault(rule="each_model_is_equipment", kind="SEG", spoil=put(ContributingEquipmentSequence=[])),
    Fault(rule="each_model_is_equipment", kind="RTSTRUCT",
          spoil=lambda one: put(DeviceUID=None)(one.ContributingEquipmentSequence[-1])),
    Fault(rule="patient_and_study_are_the_sources", kind="GSPS", spoil=put(IssuerOfPatientID=None)),
    Fault(rule="patient_and_study_are_the_sources", kind="SR", spoil=put(PatientAge="054Y")),
    Fault(rule="patient_and_study_are_the_sources", kind="SR", spoil=put(PatientName="Wang^?"), case="name in UTF-8"),
    Fault(rule="times_have_a_zone", kind="SR3D", spoil=put(TimezoneOffsetFromUTC="+0000")),
    Fault(rule="times_have_a_zone", kind="SEG", spoil=put(SeriesTime=None)),
    Fault(rule="labels_warn", kind="SEG", spoil=put(SeriesDescription="AI segmentation demo_chest")),
    Fault(rule="labels_warn", kind="SEG", spoil=put(ContentQualification=None)),
    Fault(rule="reports_are_unverified", kind="SR", spoil=put(VerificationFlag="VERIFIED")),
    Fault(rule="reports_are_unverified", kind="SR3D", spoil=put(PreliminaryFlag="FINAL")),
    Fault(rule="series_numbers_are_set", kind="SEG", spoil=put(SeriesNumber=3)),
    # Texts.
    Fault(rule="is_written_as_unicode", kind="SEG", spoil=put(SpecificCharacterSet="GB18030")),
    Fault(rule="no_character_is_lost", kind="SR", spoil=put(PatientName="Wang^?=?^??"), case="name in GB18030"),
    Fault(rule="no_character_is_lost", kind="SR", spoil=put(StudyDescription="\ufffd\ufffdCT"), case="name in GB18030"),
    Fault(rule="values_are_as_their_representation_allows", kind="SEG", spoil=untyped("StudyTime", "TM", "9999")),
    Fault(rule="values_are_as_their_representation_allows", kind="SEG", spoil=untyped("StudyID", "SH", "x" * 20)),
    Fault(rule="sentences_say_something", kind="TEXT", case="nothing found",
          spoil=lambda one: put(TextValue=" ")(named(one, "121071"))),
    Fault(rule="sentences_say_something", kind="TEXT", case="nothing found",
          spoil=lambda one: put(TextValue="{model} found none")(named(one, "121071"))),
    # References.
    Fault(rule="references_resolve", kind="SEG", spoil=put(*SOURCE, ReferencedSOPInstanceUID="2.25.1")),
    Fault(rule="references_resolve", kind="RTSTRUCT", spoil=put(
        "ROIContourSequence", "ContourSequence", "ContourImageSequence",
        ReferencedSOPClassUID="1.2.840.10008.5.1.4.1.1.4")),
    Fault(rule="references_resolve", kind="RTSTRUCT", spoil=put(
        "ReferencedFrameOfReferenceSequence", "RTReferencedStudySequence", ReferencedSOPInstanceUID="2.25.1")),
    Fault(rule="frames_exist", kind="SEG", case="Enhanced CT", spoil=put(*SOURCE, ReferencedFrameNumber=99)),
    Fault(rule="frames_exist", kind="SEG", spoil=put(*SOURCE, ReferencedFrameNumber=1)),
    Fault(rule="segments_exist", kind="SR3D", place=1,
          spoil=lambda one: put("ReferencedSOPSequence", ReferencedSegmentNumber=99)(named(one, "121191"))),
    Fault(rule="places_in_the_study_are_true", kind="SEG",
          spoil=put("ReferencedSeriesSequence", SeriesInstanceUID="2.25.5")),
    Fault(rule="places_in_the_study_are_true", kind="SR", spoil=put(EVIDENCE, StudyInstanceUID="2.25.5")),
    Fault(rule="evidence_lists_what_is_named", kind="SR3D", spoil=put(
        EVIDENCE, "ReferencedSeriesSequence", ReferencedSOPSequence=[])),
    Fault(rule="series_named_in_the_content_exist", kind="SR3D", place=1,
          spoil=lambda one: put(UID="2.25.5")(named(one, "121232"))),
    Fault(rule="common_instance_references_are_complete", kind="SEG",
          spoil=put("ReferencedSeriesSequence", ReferencedInstanceSequence=[])),
    # Codes.
    Fault(rule="codes_are_whole", kind="SEG", spoil=put("SegmentSequence", "SegmentedPropertyTypeCodeSequence",
                                                        CodeMeaning=None)),
    Fault(rule="codes_are_whole", kind="SR", spoil=coded("121071", CodingSchemeDesignator="99CONFIRM")),
    Fault(rule="codes_are_called_as_the_standard_calls_them", kind="SR", spoil=coded("121071", CodeMeaning="Lump")),
    Fault(rule="codes_are_called_as_the_standard_calls_them", kind="SR",
          spoil=lambda one: put("ConceptNameCodeSequence", CodeMeaning="Messgruppe")(groups_of(one)[0])),
    Fault(rule="codes_are_of_the_group_of_their_place", kind="SEG", spoil=put(
        "SegmentSequence", "SegmentedPropertyCategoryCodeSequence", CodeValue="123037004")),
    Fault(rule="codes_are_of_the_group_of_their_place", kind="LABELMAP", spoil=put(
        "SegmentSequence", "SegmentedPropertyTypeCodeSequence", CodeValue="427359005")),
    Fault(rule="answers_are_of_their_group", kind="SR3D", spoil=coded("121058", CodeValue="169069000")),
    Fault(rule="quantities_have_their_codes", kind="SR3D", spoil=lambda one: put(
        "MeasuredValueSequence", "MeasurementUnitsCodeSequence", CodeValue="millimetre")(named(one, "81827009"))),
    Fault(rule="quantities_have_their_codes", kind="SR3D",
          spoil=lambda one: put("ConceptNameCodeSequence", CodeValue="0815")(named(one, "81827009"))),
    Fault(rule="titles_are_of_their_group", kind="SR", spoil=put("ConceptNameCodeSequence", CodeValue="121181")),
    Fault(rule="findings_and_sites_are_in_the_dictionary", kind="SR3D", spoil=coded("121071", CodeValue="427359005")),
    # Segmentations.
    Fault(rule="segments_are_numbered_and_coloured", kind="SEG", spoil=gapped_numbers),
    Fault(rule="segments_are_numbered_and_coloured", kind="LABELMAP",
          spoil=put("SegmentSequence", RecommendedDisplayCIELabValue=None)),
    Fault(rule="labels_and_colours_tell_segments_apart", kind="SEG",
          spoil=lambda one: put(SegmentLabel=one.SegmentSequence[0].SegmentLabel)(one.SegmentSequence[1])),
    Fault(rule="segments_say_which_model_drew_them", kind="SEG", spoil=put("SegmentSequence", **{ALGORITHM: None})),
    Fault(rule="segments_say_which_model_drew_them", kind="SEG",
          spoil=put("SegmentSequence", ALGORITHM, AlgorithmParameters="")),
    Fault(rule="tracked_segments_have_both_identifiers", kind="SEG",
          spoil=lambda one: put(TrackingID=None)(one.SegmentSequence[-1])),
    Fault(rule="frames_lie_on_their_source", kind="SEG", spoil=tilted_frame),
    Fault(rule="frames_lie_on_their_source", kind="PM", spoil=two_references),
    Fault(rule="frames_lie_on_their_source", kind="SEG", case="Enhanced CT",
          spoil=put(*SOURCE, ReferencedFrameNumber=None)),
    Fault(rule="frames_lie_on_their_source", kind="LABELMAP", spoil=put(
        "SharedFunctionalGroupsSequence", "PixelMeasuresSequence", PixelSpacing=[1, 2])),
    Fault(rule="the_grid_is_the_sources", kind="SEG", spoil=put(FrameOfReferenceUID="2.25.5")),
    Fault(rule="no_binary_frame_is_empty", kind="SEG", spoil=blank_frames),
    Fault(rule="label_maps_hold_only_their_segments", kind="LABELMAP",
          spoil=lambda one: put(SegmentSequence=list(one.SegmentSequence)[1:])(one)),
    Fault(rule="lossy_sources_are_told", kind="SEG", case="lossy CT", spoil=put(LossyImageCompression="00")),
    # Reports.
    Fault(rule="observer_is_a_device", kind="SR", spoil=coded("121005", CodeValue="121006")),
    Fault(rule="observer_is_a_device", kind="KOS", spoil=without("121012")),
    Fault(rule="language_is_said", kind="SR", spoil=without("121049")),
    Fault(rule="template_is_named", kind="SR3D", spoil=put(ContentTemplateSequence=None)),
    Fault(rule="groups_say_what_and_by_whom", kind="SR3D", spoil=without("112040")),
    Fault(rule="groups_say_what_and_by_whom", kind="SR3D", spoil=without("121071")),
    Fault(rule="groups_are_of_one_template", kind="SR3D", spoil=lambda one: put(
        "ContentTemplateSequence", TemplateIdentifier="1501")(groups_of(one)[1])),
    Fault(rule="drawn_reports_have_coordinates_in_every_group", kind="SR3D",
          spoil=lambda one: without("111030")(groups_of(one)[1])),
    Fault(rule="drawn_reports_have_coordinates_in_every_group", kind="SR3D", place=1,
          spoil=put("ConceptNameCodeSequence", CodeValue="126000")),
    Fault(rule="coordinates_lie_inside_the_image", kind="SR", spoil=outside),
    Fault(rule="coordinates_lie_inside_the_image", kind="SR", spoil=open_outline),
    Fault(rule="numbers_are_possible", kind="SR3D", spoil=numeric("122157", 90)),
    Fault(rule="numbers_are_possible", kind="SR3D", spoil=numeric("81827009", 0)),
    Fault(rule="what_is_absent_is_no_finding", kind="SR3D", case="classification", spoil=second_finding),
    Fault(rule="what_is_absent_is_no_finding", kind="TEXT", case="nothing found",
          spoil=lambda one: put(ContentSequence=[])(named(one, "121052"))),
    Fault(rule="predecessors_have_a_class", kind="SR", case="superseding results",
          spoil=put(SeriesDescription="AI findings demo_chest - NOT VERIFIED")),
    # Pictures, presentation states, selections.
    Fault(rule="captures_are_pictures", kind="SC", spoil=put(BurnedInAnnotation="NO")),
    Fault(rule="captures_are_pictures", kind="SC", spoil=put(FrameOfReferenceUID="2.25.5")),
    Fault(rule="maps_say_what_their_numbers_mean", kind="PM", spoil=lambda one: put(
        FloatPixelData=np.full(one.pixel_array.shape, 7, "<f4").tobytes())(one)),
    Fault(rule="contents_are_identified", kind="SEG", spoil=put(ContentCreatorName=None)),
    Fault(rule="contents_are_identified", kind="PM", spoil=put(ContentLabel="")),
    Fault(rule="graphics_lie_inside_the_image", kind="GSPS", spoil=put(
        "GraphicAnnotationSequence", "GraphicObjectSequence", GraphicData=[90.0, 90.0, 95.0, 95.0])),
    Fault(rule="graphics_warn", kind="GSPS", spoil=put(
        "GraphicAnnotationSequence", "TextObjectSequence", UnformattedTextValue="Nodule 1")),
    Fault(rule="graphics_warn", kind="GSPS", spoil=put("GraphicAnnotationSequence", GraphicLayer="NONE")),
    Fault(rule="whole_images_are_shown", kind="GSPS", spoil=put(
        "DisplayedAreaSelectionSequence", DisplayedAreaBottomRightHandCorner=[10, 10])),
    Fault(rule="manifests_name_other_results", kind="KOS", spoil=lambda one: put(
        ContentSequence=[*one.ContentSequence, one.ContentSequence[-1]])(one)),
    # Structure sets.
    Fault(rule="structures_belong_together", kind="RTSTRUCT", spoil=put("ROIContourSequence", ReferencedROINumber=9)),
    Fault(rule="structures_are_not_approved", kind="RTSTRUCT", spoil=put(ApprovalStatus="APPROVED")),
    Fault(rule="contours_lie_in_their_image", kind="RTSTRUCT", spoil=shifted_contour),
    Fault(rule="contours_lie_in_their_image", kind="RTSTRUCT", spoil=wide_contour),
    # The set as a whole.
    Fault(rule="every_object_has_its_own_series", kind="SEG", spoil=lambda one: one),
    Fault(rule="one_lesion_has_one_tracking_uid", kind="SEG",
          spoil=lambda one: put(TrackingUID="2.25.5")(one.SegmentSequence[-1])),
    Fault(rule="one_segment_looks_the_same_in_every_object", kind="SEG",
          spoil=put("SegmentSequence", RecommendedDisplayCIELabValue=[1, 2, 3])),
    Fault(rule="series_numbers_tell_modalities_apart", kind="SC", spoil=put(SeriesNumber=9010)),
)
