"""Boxes, contours, maps and pages of one analysis, as other programs see them: DCMTK, highdicom and Orthanc."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from pydicom import Dataset, dcmread

from dicomnode import config
from dicomnode.cli import cli
from dicomnode.config import model_from_text
from dicomnode.domain.volume import SliceStack
from dicomnode.phantom.chest import chest_ct
from dicomnode.read.annotations_rtstruct import structures_of_rtstruct
from dicomnode.run.offline import process_folder
from tests.builders import affine_lps, ct_series, write_series
from tests.live import Orthanc, free_port, need, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
ROOT = Path(__file__).parents[2]
SHAPE_ZYX, SPACING_ZYX_MM = (80, 150, 150), (3.0, 2.3, 2.3)
SEED = 300_003
MODALITIES = {"SC": "OT", "GSPS": "PR", "RTSTRUCT": "RTSTRUCT", "PM": "OT"}


@dataclass(frozen=True, kw_only=True, eq=False)
class Analysed:
    """One study, its files by SOP Instance UID, and what came of it, by kind."""

    images: dict[str, Path]
    stack: SliceStack
    made: dict[str, list[Path]]

    def one(self, kind: str) -> tuple[Path, Dataset]:
        (path,) = self.made[kind]
        return path, dcmread(path)


@pytest.fixture(scope="module", params=["MONOCHROME2", "MONOCHROME1"])
def analysed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Analysed:
    folder = tmp_path_factory.mktemp("forms")
    hu_zyx = chest_ct(SEED, shape_zyx=SHAPE_ZYX, spacing_zyx_mm=SPACING_ZYX_MM, nodules=3,
                      nodule_diameters_mm=(12.0, 24.0)).hu_zyx
    series = ct_series(hu_zyx, affine=affine_lps(spacing_zyx_mm=SPACING_ZYX_MM), WindowWidth="1500",
                       WindowCenter=lambda k: str(-600 + k), PhotometricInterpretation=request.param)
    paths = write_series(folder / "ct", series)
    (folder / "node.toml").write_text(f'[node]\nmodels_dir = "{ROOT / "models"}"\n', encoding="utf-8")
    text = (ROOT / "config" / "models" / "demo_chest.toml").read_text(encoding="utf-8")
    analysis, written = process_folder(
        folder / "ct", [model_from_text(text, source="demo_chest.toml")], config.load(folder / "node.toml", environ={}),
        folder / "out", device="cpu", also=tuple(MODALITIES))
    made: dict[str, list[Path]] = {}
    for path in written:
        made.setdefault(path.name.partition(".")[0], []).append(path)
    return Analysed(images={str(dcmread(path, stop_before_pixels=True).SOPInstanceUID): path for path in paths},
                    stack=analysis.findings[0].stack, made=made)


def rendered(image: Path, state: Path | None, folder: Path) -> NDArray[np.uint8]:
    """The image's grey values as DCMTK shows them, under a presentation state or by itself."""
    program = need("dcmp2pgm", "dcmtk")
    subprocess.run([program, *(["-p", str(state)] if state else []), str(image), str(folder / "shown.pgm")], check=True,
                   capture_output=True, timeout=60)
    return np.asarray(Image.open(folder / "shown.pgm"))


def test_dcmtk_shows_each_key_image_under_the_state_as_it_shows_it_without(analysed: Analysed, tmp_path: Path) -> None:
    path, state = analysed.one("GSPS")
    named = [one.ReferencedSOPInstanceUID for one in state.ReferencedSeriesSequence[0].ReferencedImageSequence]
    assert len(named) >= 2
    for uid in named:
        alone = rendered(analysed.images[uid], None, tmp_path)
        np.testing.assert_array_equal(rendered(analysed.images[uid], path, tmp_path), alone)
        assert np.ptp(alone) > 200


def test_each_box_as_dcmtk_reads_it_lies_round_the_finding_pixel_by_pixel(analysed: Analysed, tmp_path: Path) -> None:
    (path, _), saved = analysed.one("GSPS"), tmp_path / "saved.dcm"
    image = next(iter(analysed.images.values()))
    subprocess.run([need("dcmp2pgm", "dcmtk"), "-p", str(path), "+S", str(saved), str(image),
                    str(tmp_path / "shown.pgm")], check=True, capture_output=True, timeout=60)
    lesions, boxes = lesion_masks(analysed), {}
    for one in dcmread(saved).GraphicAnnotationSequence:
        uid = one.ReferencedImageSequence[0].ReferencedSOPInstanceUID
        name = one.TextObjectSequence[0].UnformattedTextValue.splitlines()[0].rpartition(" ")[0]
        boxes[name, uid] = np.array(one.GraphicObjectSequence[0].GraphicData).reshape(-1, 2)
    assert {name for name, _ in boxes} == set(lesions)
    for (name, uid), corners in boxes.items():
        mask = lesions[name][uid]
        inside = Image.new("1", mask.shape[::-1])
        (left, top), (right, bottom) = corners.min(axis=0), corners.max(axis=0)
        ImageDraw.Draw(inside).rectangle((left, top, right - 1, bottom - 1), fill=1)
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        expected = np.zeros(mask.shape, bool)
        expected[rows[0]:rows[-1] + 1, columns[0]:columns[-1] + 1] = True
        np.testing.assert_array_equal(np.asarray(inside), expected)


def lesion_masks(analysed: Analysed) -> dict[str, dict[str, NDArray[np.bool_]]]:
    """Name → image → voxels, of each lesion that highdicom reads from the SEG."""
    seg = hd.seg.segread(analysed.one("SEG")[0])
    names = {int(one.SegmentNumber): str(one.SegmentLabel) for one in seg.SegmentSequence}
    planes = list(analysed.images)
    pixels = seg.get_pixels_by_source_instance(planes, ignore_spatial_locations=True)
    return {names[number]: dict(zip(planes, pixels[..., number - 1] > 0, strict=True))
            for number in names if names[number].startswith("Nodule")}


def test_contours_filled_again_are_the_segments_as_highdicom_reads_them(analysed: Analysed) -> None:
    need("drtdump", "dcmtk")
    path, structure_set = analysed.one("RTSTRUCT")
    subprocess.run(["/usr/bin/drtdump", str(path)], check=True, capture_output=True, timeout=60)
    seg = hd.seg.segread(analysed.one("SEG")[0])
    planes = [plane.instance.sop_instance_uid for plane in analysed.stack.planes]
    pixels = seg.get_pixels_by_source_instance(planes, ignore_spatial_locations=True)
    structures = list(structures_of_rtstruct(structure_set, analysed.stack))
    assert [one.name for one in structures] == [str(one.SegmentLabel) for one in seg.SegmentSequence]
    for structure in structures:
        np.testing.assert_array_equal(structure.mask_zyx, pixels[..., structure.number - 1] > 0)


def test_the_map_is_probable_where_the_mask_is_and_improbable_where_it_is_not(analysed: Analysed) -> None:
    image = hd.imread(analysed.one("PM")[0])
    found = image.get_volume(apply_real_world_transform=True, apply_voi_transform=False)
    values = found.array if found.affine[2, 0] > 0 else found.array[::-1]
    seg = hd.seg.segread(analysed.one("SEG")[0])
    planes = [plane.instance.sop_instance_uid for plane in analysed.stack.planes]
    mask = (seg.get_pixels_by_source_instance(planes, ignore_spatial_locations=True) > 0).any(axis=-1)
    assert values.shape == mask.shape
    assert ((values > 0.5) == mask).mean() > 0.995
    assert values[mask].mean() > 0.9
    assert values[~mask].mean() < 0.1


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    with Orthanc(tmp_path_factory.mktemp("orthanc"), node_port=free_port()) as running:
        yield running


def test_orthanc_stores_every_form_beside_its_study(analysed: Analysed, orthanc: Orthanc, tmp_path: Path) -> None:
    (tmp_path / "node.toml").write_text(
        '[node]\nae_title = "DICOMNODE"\n[peers.pacs]\nae_title = "ORTHANC"\nhost = "127.0.0.1"\n'
        f"port = {orthanc.dicom_port}\n", encoding="utf-8")
    for kind in MODALITIES:
        path, made = analysed.one(kind)
        done = CliRunner().invoke(
            cli, ["--config", str(tmp_path / "node.toml"), "send", str(path), "--to", "pacs"], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        query = {"Level": "Instance", "Query": {"SOPInstanceUID": str(made.SOPInstanceUID)}}
        (stored,) = until(lambda wanted=query: orthanc.find(wanted), f"{kind} is in Orthanc", 60)
        back = dcmread(orthanc.download(stored, tmp_path / f"{kind}.dcm"))
        assert back.StudyInstanceUID == made.StudyInstanceUID
        assert Dataset(dict(back.items())) == Dataset(dict(made.items()))
