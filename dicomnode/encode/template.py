"""A segmentation without its pixels: what highdicom makes of the source's headers, one frame for each slice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import highdicom as hd
import numpy as np
from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from dicomnode.domain.findings import ModelFindings
from dicomnode.encode import sources as images
from dicomnode.encode.segments import Segment, describe
from dicomnode.encode.series import Role, Stamp, identity

UPRIGHT_DEG: Final = 0.01
"""Below this angle a stack counts as not tilted: one spacing describes it."""
STAMP_SHAPE: Final = (1, 8)
"""Rows and columns of the frames that stand for those of the object: as few as can be packed into bytes."""


def template(findings: ModelFindings, segments: Sequence[Segment], slices: Sequence[int],
             sources: Sequence[Dataset], stamp: Stamp, role: Role, *,
             labelmap: bool = False) -> tuple[Dataset, Dataset]:
    """Return a highdicom Segmentation with one frame for each of the slices, and the source's header.

    Its pixel data are a stamp, to be replaced with the functional groups of the frames; all else is that of the object.

    Parameters
    ----------
    slices:
        Indices into the stack.
    labelmap:
        Whether the object is a LABELMAP; else it is a BINARY segmentation.
    """
    stack = findings.stack
    found = images.by_instance(sources, stack)
    first = found[stack.planes[0].instance.sop_instance_uid]
    head = images.head_of(first)
    several = images.is_multiframe(first)
    light = images.multi_frame(images.unnamed(head), stack, first) if several \
        else images.single_frame(images.unnamed(head), stack, found)
    for image in light:
        image.add_new("Rows", "US", STAMP_SHAPE[0])
        image.add_new("Columns", "US", STAMP_SHAPE[1])
    pixels = np.zeros((int(first.NumberOfFrames) if several else len(stack.planes), *STAMP_SHAPE), np.uint8)
    pixels[[stack.planes[k].frame - 1 if several else k for k in slices], 0, 0] = 1
    made = hd.seg.Segmentation(
        source_images=light, pixel_array=pixels, omit_empty_frames=True, transfer_syntax_uid=ExplicitVRLittleEndian,
        segment_descriptions=[describe(one, findings) for one in segments],
        content_label="AI_SEGMENTATION",
        content_description=f"{findings.provenance.model_name} {findings.provenance.model_version}"[:64],
        segmentation_type="LABELMAP" if labelmap else "BINARY",
        **identity(stamp, role))
    made.Rows, made.Columns = stack.rows, stack.columns
    complete(made, head, findings, stamp, role)
    state_loss(made, sources)
    return made, head


def places(findings: ModelFindings) -> Mapping[tuple[str, int], int]:
    """Return the slice that an image, or a frame of it, shows."""
    return {(plane.instance.sop_instance_uid, plane.frame): k for k, plane in enumerate(findings.stack.planes)}


def complete(made: Dataset, head: Dataset, findings: ModelFindings, stamp: Stamp, role: Role) -> None:
    """Set what highdicom leaves out, and what it draws by chance."""
    if head.get("BodyPartExamined"):
        made.BodyPartExamined = head.BodyPartExamined
    organization = stamp.derive(f"dimensions|{role.name}")
    for item in (*made.DimensionOrganizationSequence, *made.DimensionIndexSequence):
        item.DimensionOrganizationUID = organization
    measures = made.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    stack = findings.stack
    if len(stack.planes) == 1:
        measures.SpacingBetweenSlices = measures.SliceThickness
    elif "SpacingBetweenSlices" not in measures and stack.is_regular and stack.tilt_deg < UPRIGHT_DEG:
        measures.SpacingBetweenSlices = f"{stack.slice_spacing_mm:.10g}"


def state_loss(made: Dataset, sources: Sequence[Dataset]) -> None:
    """Say that pixels were lost where those of any source were (PS3.3 C.7.6.1.1.5); highdicom asks the first only."""
    lossy = next((one for one in sources if one.get("LossyImageCompression") == "01"), None)
    if lossy is not None:
        for keyword in ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod"):
            if lossy.get(keyword):
                setattr(made, keyword, lossy.get(keyword))
