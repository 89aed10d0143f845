"""Tilted, uneven and gapped series through real bundles: masks on the images as they are, sizes from true gaps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
import torch
from pydicom import Dataset, dcmread

from dicomnode.config import model_from_text
from dicomnode.domain.model import InputRole, ModelFile, SpacingLimits
from dicomnode.domain.node import TAKES
from dicomnode.domain.volume import SliceStack
from dicomnode.errors import GantryTilt, MissingSlices
from dicomnode.infer.digest import bundle_digest
from dicomnode.infer.pool import Pool
from dicomnode.read.series import load
from dicomnode.run.analyse import Analysis, Identity, Task, analyse
from dicomnode.run.loop import utc_now
from tests.builders import ct_series, write_series
from tests.bundles import save_weights, spleen_form
from tests.conformance.false_alarms import faults
from tests.conformance.judges import dciodvfy, dsrdump
from tests.detection_bundles import bright_spots, detection_model
from tests.findings import NODE_ID
from tests.shared import dicom_files, unpacked
from tests.threshold_bundles import PREPROCESSING, threshold_model

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
ROWS, COLUMNS, PIXEL_MM = 64, 56, 1.5
EVEN, UNEVEN = [2.5] * 24, [2.0] * 12 + [4.0] * 10
GAP = [2.5] * 10 + [7.5] + [2.5] * 10
ALLOWED = SpacingLimits(uneven=0.8, tilt_deg=25.0, max_gap=8.0)
CENTRE = np.array([2.0, -4.0, 30.0])
HALF_MM = np.array([24.0, 28.0, 20.0])  # of the ellipsoid, along L, P, S
CASES = {"tilted": (EVEN, 18.5), "uneven": (UNEVEN, 0.0), "uneven and tilted": (UNEVEN, -12.0), "gap": (GAP, 0.0)}


def places(gaps_mm, tilt_deg) -> list[list[float]]:
    """Position of each image: at these depths along the patient, shifted to the back as the gantry leans."""
    depths = np.concatenate([[0.0], np.cumsum(gaps_mm)])
    depths -= depths.mean() + 0.37  # no slice mirrors another
    shift = np.tan(np.radians(tilt_deg)) * depths
    return [[CENTRE[0] - COLUMNS / 2 * PIXEL_MM, round(CENTRE[1] - ROWS / 2 * PIXEL_MM + y, 4), CENTRE[2] + z]
            for y, z in zip(shift, depths, strict=True)]


def field(gaps_mm, tilt_deg) -> np.ndarray:
    """An ellipsoid of the patient as these slices show it: 250 HU at its surface, 750 in its middle."""
    index = np.indices((ROWS, COLUMNS)) * PIXEL_MM
    slices = []
    for x, y, z in places(gaps_mm, tilt_deg):
        points = np.stack([x + index[1], y + index[0], np.full((ROWS, COLUMNS), z)], axis=-1)
        slices.append(np.linalg.norm((points - CENTRE) / HALF_MM, axis=-1))
    return np.round(np.clip(750 - 500 * np.stack(slices), -1000, 2000))


@pytest.fixture(scope="module")
def bundles(tmp_path_factory) -> Path:
    """Thresholds at 250 and 500 HU: one bundle that looks at the grid it is given, one that resamples to 2 mm."""
    folder = tmp_path_factory.mktemp("models")
    threshold_model(folder, "levels", nodule_hu=500)
    spacing = {"_target_": "Spacingd", "keys": "image", "pixdim": [2.0, 2.0, 2.0], "mode": "bilinear"}
    resampling = spleen_form(
        folder / "resampling_bundle", preprocessing=(PREPROCESSING[0], spacing, *PREPROCESSING[1:]),
        network={"_target_": "torch.nn.Conv3d", "in_channels": 1, "out_channels": 3, "kernel_size": 1})
    save_weights(resampling, {"weight": torch.tensor([0.0, 100.0, 300.0]).reshape(3, 1, 1, 1, 1),
                              "bias": torch.tensor([0.0, -25.0, -125.0])})
    bright_spots(folder / "spots_bundle")
    return folder


def allowing(model: ModelFile, limits: SpacingLimits = ALLOWED) -> ModelFile:
    return replace(model, inputs=(InputRole(role=model.inputs[0].role, spacing_mm=limits),))


def thresholds(bundles: Path, name: str = "levels", *, fast: bool = False) -> ModelFile:
    model = allowing(model_from_text((bundles / "levels.toml").read_text(encoding="utf-8"), source="levels"))
    if name == "levels":
        return model
    return replace(model, name=name, bundle=f"{name}_bundle", digest=bundle_digest(bundles / f"{name}_bundle"),
                   runtime=replace(model.runtime, fast_resample=fast))


@pytest.fixture(scope="module")
def pool(bundles):
    with Pool(bundles, device="cpu", threads=1, warm=3) as pool:
        yield pool


def analysed(pool: Pool, model: ModelFile, paths: list[Path], kinds: tuple[str, ...] = ("SEG",)) -> Analysis:
    task = Task(model=model, paths={model.inputs[0].role: paths})
    return analyse([task], pool, Identity(node_id=NODE_ID, job_key="leaning"), clock=utc_now, audiences=(kinds,))


@pytest.fixture(scope="module")
def found_in(bundles, pool, tmp_path_factory) -> dict[str, Analysis]:
    """Each case through the bundle that looks at the grid it is given."""
    return {case: analysed(pool, thresholds(bundles), written(tmp_path_factory.mktemp("series"), case), TAKES)
            for case in CASES}


def written(folder: Path, case: str) -> list[Path]:
    where = places(*CASES[case])
    return write_series(folder, ct_series(field(*CASES[case]), PixelSpacing=[PIXEL_MM, PIXEL_MM],
                                          ImagePositionPatient=lambda k: where[k]))


def on_source_images(analysis: Analysis, stack: SliceStack) -> np.ndarray:
    """Segments by highdicom's reader, one array per source image: (slice, row, column, segment)."""
    seg = hd.seg.segread(BytesIO(next(one.payload for one in analysis.objects if one.kind == "SEG")))
    return seg.get_pixels_by_source_instance([plane.instance.sop_instance_uid for plane in stack.planes],
                                             assert_missing_frames_are_empty=True) > 0


def contents(item: Dataset) -> Iterator[Dataset]:
    yield item
    for inner in item.get("ContentSequence", []):
        yield from contents(inner)


def dice(one: np.ndarray, other: np.ndarray) -> float:
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


@pytest.mark.parametrize("case", CASES)
def test_the_mask_lies_on_the_images_where_each_image_shows_the_organ(found_in, case):
    analysis = found_in[case]
    (findings,) = analysis.findings
    hu = field(*CASES[case])
    seen = on_source_images(analysis, findings.stack)
    lung, nodule = seen[..., 0], seen[..., 1:].any(axis=-1)
    assert dice(lung | nodule, hu >= 250) > 0.985
    assert dice(nodule, hu >= 500) > 0.97
    beyond = np.abs(hu - 250)[(lung | nodule) != (hu >= 250)]
    assert beyond.max(initial=0) < 500 / HALF_MM.min() * 2.5, "only voxels that the surface cuts may differ"


@pytest.mark.parametrize("case", CASES)
def test_volume_and_place_are_those_of_the_patient(found_in, case):
    analysis = found_in[case]
    (findings,) = analysis.findings
    whole_ml = 4 / 3 * np.pi * HALF_MM.prod() / 1000
    (organ,), (found,) = findings.organs, findings.detections
    lung_ml = next(one.value for one in organ.measurements if one.name.meaning == "Volume")
    assert lung_ml + found.volume_ml == pytest.approx(whole_ml, rel=0.03)
    assert found.volume_ml == pytest.approx(whole_ml / 8, rel=0.06)
    assert found.centre_lps_mm == pytest.approx(tuple(CENTRE), abs=1.2)
    assert found.diameter_mm == pytest.approx(HALF_MM[1], abs=2 * PIXEL_MM)


@pytest.mark.parametrize(("case", "says"), [
    ("tilted", "leans 18.5° (gantry tilt): the model saw it resampled by the true positions of its slices"),
    ("uneven", "has slices 2 to 4 mm apart, usually 2 mm, the widest gap after slice 13"),
    ("uneven and tilted", "leans 12.0° (gantry tilt) and has slices 2 to 4 mm apart"),
    ("gap", "has slices 2.5 to 7.5 mm apart, usually 2.5 mm, the widest gap after slice 11"),
])
def test_the_report_says_what_was_resampled(found_in, case, says):
    reports = [dcmread(BytesIO(one.payload)) for one in found_in[case].objects if one.kind.startswith("SR")]
    texts = [item.TextValue for report in reports for item in contents(report) if "TextValue" in item]
    assert any(says in text for text in texts), texts


@pytest.mark.parametrize("case", CASES)
def test_every_object_of_such_a_series_is_valid(found_in, case, tmp_path):
    objects = found_in[case].objects
    assert {"SEG", "LABELMAP", "SR3D", "RTSTRUCT", "GSPS", "SC", "PM", "KOS"} <= {one.kind for one in objects}
    paths = [tmp_path / f"result{number}.{one.kind}.dcm" for number, one in enumerate(objects)]
    for path, one in zip(paths, objects, strict=True):
        path.write_bytes(one.payload)
    assert faults([*dciodvfy(case, paths), *dsrdump(case, paths)]) == []


@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize("case", ["tilted", "uneven"])
def test_a_bundle_that_resamples_itself_sees_right_angles_on_both_paths(bundles, pool, tmp_path, case, fast):
    analysis = analysed(pool, thresholds(bundles, "resampling", fast=fast), written(tmp_path, case))
    (findings,) = analysis.findings
    hu = field(*CASES[case])
    assert not any("fast_resample not used" in note for note in analysis.notes)
    assert dice(on_source_images(analysis, findings.stack).any(axis=-1), hu >= 250) > 0.97


def test_a_regular_series_is_not_resampled_not_by_one_voxel(bundles, pool, tmp_path):
    where = places(EVEN, 0.0)
    hu = field(EVEN, 0.0)
    paths = write_series(tmp_path, ct_series(hu, PixelSpacing=[PIXEL_MM, PIXEL_MM],
                                             ImagePositionPatient=lambda k: where[k]))
    analysis = analysed(pool, thresholds(bundles), paths)
    (findings,) = analysis.findings
    seen = on_source_images(analysis, findings.stack)
    np.testing.assert_array_equal(seen[..., 0], (hu > 250) & (hu <= 500))
    np.testing.assert_array_equal(seen[..., 1:].any(axis=-1), hu > 500)
    assert findings.warnings == ()


@pytest.mark.parametrize(("case", "limits", "error"), [
    ("tilted", SpacingLimits(tilt_deg=18.0), GantryTilt), ("gap", SpacingLimits(max_gap=7.0), MissingSlices),
    ("uneven", SpacingLimits(uneven=0.5, tilt_deg=30.0), MissingSlices),
])
def test_beyond_the_declared_limits_nothing_is_resampled(bundles, pool, tmp_path, case, limits, error):
    with pytest.raises(error):
        analysed(pool, allowing(thresholds(bundles), limits), written(tmp_path, case))


@pytest.mark.parametrize("case", ["tilted", "uneven and tilted"])
def test_a_detectors_box_lies_around_the_spot_on_the_images_as_they_are(bundles, pool, tmp_path, case):
    gaps, tilt = CASES[case]
    where = places(gaps, tilt)
    spot = CENTRE + np.array([10.0, -12.0, 8.0])
    index = np.indices((ROWS, COLUMNS)) * PIXEL_MM
    hu = np.stack([np.where(np.linalg.norm(np.stack(
        [x + index[1], y + index[0], np.full((ROWS, COLUMNS), z)], axis=-1) - spot, axis=-1) < 6, 300, -1000)
        for x, y, z in where])
    paths = write_series(tmp_path, ct_series(hu, PixelSpacing=[PIXEL_MM, PIXEL_MM],
                                             ImagePositionPatient=lambda k: where[k]))
    analysis = analysed(pool, allowing(detection_model(bundles / "spots_bundle")), paths)
    (found,) = analysis.findings[0].detections
    assert found.centre_lps_mm == pytest.approx(tuple(spot), abs=3.0)
    assert abs(where[found.key_slice][2] - spot[2]) <= max(gaps) / 2 + 2.0, "half a slice, and a voxel of the bundle's"
    rows, columns = np.nonzero(hu[found.key_slice] > 0)
    first_row, first_column, last_row, last_column = found.box_yx
    assert abs((first_row + last_row) / 2 - rows.mean()) <= 1.5
    assert abs((first_column + last_column) / 2 - columns.mean()) <= 1.5


def test_a_real_head_ct_with_tilt_and_gaps_is_segmented_on_its_own_slices(bundles, pool, tmp_path):
    paths = dicom_files(unpacked("ct_head_ge_tilt_gaps", tmp_path))
    limits = SpacingLimits(uneven=1.0, tilt_deg=20.0)
    model = allowing(thresholds(bundles), limits)
    model = replace(model, labels=tuple(replace(label, lesion=False) for label in model.labels))
    analysis = analysed(pool, model, paths)
    (findings,) = analysis.findings
    hu = load(paths, InputRole(role="ct", spacing_mm=limits)).volume.values_zyx
    seen = on_source_images(analysis, findings.stack)
    assert dice(seen.any(axis=-1), hu > 250) > 0.97
    gaps = findings.stack.gaps_mm
    assert (round(gaps.min(), 2), round(gaps.max(), 2)) == (1.08, 7.0)
    assert any("leans 18.5°" in warning for warning in findings.warnings)
