"""Many structures become one Label Map Segmentation (PS3.3 A.92): one value per voxel, run-length encoded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from typing import Final

from pydicom import Dataset
from pydicom.uid import RLELossless

from dicomnode.domain.dicom import Code
from dicomnode.domain.findings import EncodedObject, Mask
from dicomnode.encode.codes import concept
from dicomnode.encode.drawing import Drawing
from dicomnode.encode.frames import encapsulated, per_frame_groups, planes_of, run_lengths
from dicomnode.encode.segments import numbers_of
from dicomnode.encode.series import Role, Stamp, finish
from dicomnode.encode.template import places, template

SPATIAL_CONCEPT: Final = Code(value="309825002", scheme="SCT", meaning="Spatial and Relational Concept")
"""Category of the background: of CID 7150, as highdicom's (125040, DCM) is not; that is its type (CID 7151)."""
BACKGROUND_CIELAB: Final = (0, 32896, 32896)
"""Black (PS3.3 C.10.7.1.1)."""


def encode_labelmap(drawing: Drawing, numbers_zyx: Mask, sources: Sequence[Dataset], stamp: Stamp, *, slot: int
                    ) -> EncodedObject:
    """Return all segments of a drawing as one object, one frame per slice that has voxels.

    Value 0 is the background, a segment of its own as the standard wants (C.8.20.2), and the padding value.

    Parameters
    ----------
    drawing:
        Of segments that share no voxel.
    numbers_zyx:
        Its label map.

    Notes
    -----
    The background is the last item of the Segment Sequence: OHIF 3.13 gives colours by the place of an item, so that
    with the background first each structure had the colour of its neighbour. Not a palette: OHIF turns its pixels
    into colours and takes these for the segment numbers; what it then draws is not the mask.
    """
    findings = drawing.findings
    name = findings.provenance.model_name
    role = Role(kind="LABELMAP", group=f"seg:{name}", name=f"labelmap|{name}", slot=slot, subject="segmentation",
                models=(name,))
    made, head = template(findings, drawing.segments, drawing.slices(drawing.segments), sources, stamp, role,
                          labelmap=True)
    _put_background_last(made)
    planes = planes_of(made, places(findings))
    for keyword in ("PerFrameFunctionalGroupsSequence", "PixelData"):
        delattr(made, keyword)
    tail = chain(per_frame_groups([plane.item(0) for plane in planes]),
                 encapsulated(run_lengths(numbers_zyx[plane.k]) for plane in planes))
    made.file_meta.TransferSyntaxUID = RLELossless
    return replace(finish(made, head, stamp, role, tail=tail), segments=numbers_of(name, drawing.segments))


def _put_background_last(made: Dataset) -> None:
    background, *structures = made.SegmentSequence
    background.SegmentedPropertyCategoryCodeSequence = [concept(SPATIAL_CONCEPT)]
    background.RecommendedDisplayCIELabValue = list(BACKGROUND_CIELAB)
    made.SegmentSequence = [*structures, background]
