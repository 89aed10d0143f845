"""A label map becomes a DICOM Segmentation on its source's own slices (PS3.3 A.51)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import highdicom as hd
from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from dicomnode.domain.findings import EncodedObject, ModelFindings
from dicomnode.encode import sources as images
from dicomnode.encode.segments import describe, numbers_of, pixels_of, segments_of
from dicomnode.encode.series import Role, Stamp, encoding, finish, identity

SEG_SLOT = 10
"""SeriesNumber of the first model's SEG, counted from the set's first; one more for each further model."""

UPRIGHT_DEG = 0.01
"""Below this angle a stack counts as not tilted: one spacing describes it."""


def encode_segs(findings: Sequence[ModelFindings], sources: Mapping[str, Sequence[Dataset]], stamp: Stamp,
                wanted: frozenset[str] = frozenset({"SEG"})) -> tuple[EncodedObject, ...]:
    """Return the segmentations of one set of results, in the forms that somebody will get."""
    if "SEG" not in wanted:
        return ()
    made = (encode_seg(one, sources[one.stack.series_uid], stamp) for one in findings)
    return tuple(one for one in made if one is not None)


def encode_seg(findings: ModelFindings, sources: Sequence[Dataset], stamp: Stamp) -> EncodedObject | None:
    """Return the findings' masks as a BINARY SEG on the source grid, or None where no voxel is marked.

    One frame per segment and slice that has voxels, each naming its source image (and frame). One segment per
    structure, one per lesion; labels that overlap stay whole, and SegmentsOverlap says so.

    Parameters
    ----------
    sources:
        Headers of the stack's images in any order; one for an Enhanced multi-frame image. Pixels are not needed.

    Raises
    ------
    EncodingError
        If a header is missing or unfit; our fault, never the reader's.
    """
    segments = segments_of(findings)
    if not segments:
        return None
    name = findings.provenance.model_name
    role = Role(kind="SEG", group=f"seg:{name}", name=f"seg|{name}", slot=SEG_SLOT + stamp.place_of(name),
                subject="segmentation", models=(name,))
    with encoding("the segmentation", findings.stack.series_uid):
        found = images.by_instance(sources, findings.stack)
        first = found[findings.stack.planes[0].instance.sop_instance_uid]
        head = images.head_of(first)
        frames = int(first.NumberOfFrames) if images.is_multiframe(first) else None
        pixels = pixels_of(findings, segments, frames)
        light = images.single_frame(images.unnamed(head), findings.stack, found) if frames is None \
            else images.multi_frame(images.unnamed(head), findings.stack, first)
        result = hd.seg.Segmentation(
            source_images=light, pixel_array=pixels, segmentation_type="BINARY",
            segment_descriptions=[describe(segment, findings.provenance) for segment in segments],
            omit_empty_frames=True, transfer_syntax_uid=ExplicitVRLittleEndian, content_label="AI_SEGMENTATION",
            content_description=f"{name} {findings.provenance.model_version}"[:64], **identity(stamp, role))
        _complete(result, head, findings, sources, stamp)
        return replace(finish(result, head, stamp, role), segments=numbers_of(name, segments))


def _complete(result: Dataset, head: Dataset, findings: ModelFindings, sources: Sequence[Dataset], stamp: Stamp
              ) -> None:
    """Set what highdicom leaves out, and what it draws from a clock or by chance."""
    if head.get("BodyPartExamined"):
        result.BodyPartExamined = head.BodyPartExamined
    organization = stamp.derive(f"dimensions|{findings.provenance.model_name}")
    for item in (*result.DimensionOrganizationSequence, *result.DimensionIndexSequence):
        item.DimensionOrganizationUID = organization
    measures = result.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    stack = findings.stack
    if len(stack.planes) == 1:
        measures.SpacingBetweenSlices = measures.SliceThickness
    elif "SpacingBetweenSlices" not in measures and stack.is_regular and stack.tilt_deg < UPRIGHT_DEG:
        measures.SpacingBetweenSlices = f"{stack.slice_spacing_mm:.10g}"
    lossy = next((one for one in sources if one.get("LossyImageCompression") == "01"), None)
    if lossy is not None:
        for keyword in ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod"):
            if lossy.get(keyword):
                setattr(result, keyword, lossy.get(keyword))
