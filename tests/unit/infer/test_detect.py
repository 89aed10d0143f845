"""A detection bundle by its pieces, in this process: where its boxes land, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from dicomnode.errors import GpuOutOfMemory, ModelFailed, ModelRefused
from dicomnode.infer import detect
from dicomnode.infer.job import Job, Loading
from tests.detection_bundles import CONFIG, bright_spots

SETTINGS = {"precision": "float32", "sw_batch_size": None}


class OneVoxel(nn.Module):
    """Answers with a box round each voxel that is bright: the network of a perfect detector."""

    spatial_dims, num_classes, num_anchors, size_divisible = 3, 1, 1, (4, 4, 4)
    cls_key, box_reg_key = "cls", "reg"

    def __init__(self, fails: int = 0) -> None:
        super().__init__()
        self.windows: list[tuple[int, ...]] = []
        self.fails = fails

    def forward(self, images):
        self.windows.append(tuple(images.shape))
        if self.fails:
            self.fails -= 1
            raise torch.OutOfMemoryError("out of memory")
        shift = torch.full((images.shape[0], 6, *images.shape[2:]), 0.0)
        shift[:, :3] = 0.25
        return {"cls": [images * 40 - 20], "reg": [shift]}


def runner(network=None, *, roi=(16, 16, 16), overlap=0.25, preprocessing=()):
    from monai.apps.detection.networks.retinanet_detector import RetinaNetDetector
    from monai.apps.detection.utils.anchor_utils import AnchorGeneratorWithAnchorShape
    from monai.transforms import Compose

    detector = RetinaNetDetector(network or OneVoxel(), AnchorGeneratorWithAnchorShape((1,), ((2, 2, 2),)))
    detector.set_target_keys("box", "label")
    detector.set_box_selector_parameters(score_thresh=0.5, nms_thresh=0.5)
    return detect.DetectionRunner(
        detector=detector.eval(), preprocessing=Compose(list(preprocessing)), image_key="image",
        table=detect.Table(roi_size=roi, overlap=overlap), labels=(7,), device=torch.device("cpu"))


def job(values_zyx, affine=None, **settings: object):
    told = []
    made = Job(channels_zyx=[values_zyx], affine_ras_mm=np.eye(4) if affine is None else affine,
               settings={**SETTINGS, **settings}, out_zyx=np.zeros(0), progress=told.append)
    return made, told


def centres(answer):
    return [[(box["box_zyx"][axis] + box["box_zyx"][axis + 3]) / 2 for axis in range(3)]
            for box in answer.found["boxes"]]


def spot(shape, *places: tuple, value=1.0):
    values = np.zeros(shape, dtype=np.float32)
    for place in places:
        values[place] = value
    return values


def test_a_box_comes_back_round_the_voxel_that_it_was_found_at():
    made, _ = job(spot((10, 12, 14), (3, 8, 5)))
    answer = runner().run(made)
    (found,) = answer.found["boxes"]
    assert found["box_zyx"] == pytest.approx([2, 7, 4, 4, 9, 6], abs=1e-4)
    assert found["label"] == 7
    assert found["score"] == pytest.approx(1.0, abs=1e-4)
    assert set(answer.seconds) == {"preprocess", "inference", "postprocess"}


def test_a_finding_on_a_turned_and_resampled_grid_lies_within_a_twentieth_of_a_millimetre():
    from monai.transforms import Orientationd, Spacingd

    source = np.array([[0, 0, 1.0, -30], [-1.0, 0, 0, 50], [0, -1.0, 0, 12], [0, 0, 0, 1]])
    values = spot((25, 31, 21), (slice(9, 12), slice(15, 18), slice(5, 8)))
    steps = [Orientationd(keys="image", axcodes="RAS", labels=None),
             Spacingd(keys="image", pixdim=(2.0, 2.0, 2.0), mode="nearest")]
    made, _ = job(values, source)
    world = [source @ [x, y, z, 1] for z, y, x in centres(runner(preprocessing=steps).run(made))]
    truth = source @ [6, 16, 10, 1]
    nearest = min(float(np.linalg.norm(one - truth)) for one in world)
    assert nearest < 0.05


@pytest.mark.parametrize("place", [(1, 1, 1), (17, 21, 26), (37, 30, 33), (20, 15, 16)])
@pytest.mark.parametrize("roi", [(16, 16, 16), (20, 12, 24), (10, 90, 16)])
def test_windows_move_no_box_wherever_they_start(place, roi):
    made, told = job(spot((39, 34, 37), place))
    answer = runner(roi=roi).run(made)
    assert centres(answer) == [pytest.approx(place, abs=1e-4)]
    assert told[-1] == 1.0


def test_every_window_starts_on_the_coarsest_grid_and_none_is_larger_than_the_image():
    roi, overlap = detect.aligned_windows((80, 80, 80), 0.25, (200, 64, 88), (8, 8, 8))
    assert roi == (80, 64, 80)
    assert [int(window * (1 - share)) for window, share in zip(roi, overlap, strict=True)] == [56, 48, 56]


def test_boxes_keep_their_precision_in_bfloat16():
    place = (30, 31, 33)
    made, _ = job(spot((40, 40, 40), place), precision="bfloat16")
    assert centres(runner().run(made)) == [pytest.approx(place, abs=0.01)]


def test_out_of_memory_runs_smaller_windows_and_says_so():
    network = OneVoxel(fails=1)
    made, _ = job(spot((20, 20, 20), (5, 5, 5)), sw_batch_size=4)
    answer = runner(network).run(made)
    assert answer.notes == ("memory ran out: one window at a time",)
    assert [shape[0] for shape in network.windows[:2]] == [4, 1]
    assert len(answer.found["boxes"]) == 1


def test_nothing_of_a_volume_is_kept_for_the_next_which_may_run_on_another_device():
    kept = runner()
    made, _ = job(spot((20, 20, 20), (5, 5, 5)))
    assert len(kept.run(made).found["boxes"]) == 1
    assert kept.detector.anchors is None
    assert len(kept.run(made).found["boxes"]) == 1


def test_memory_that_never_suffices_is_said_as_such():
    made, _ = job(spot((20, 20, 20), (5, 5, 5)))
    with pytest.raises(GpuOutOfMemory, match="after 1 smaller attempts"):
        runner(OneVoxel(fails=99)).run(made)


def loading(folder, **model: object):
    files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return Loading(files=files, overrides={}, device=torch.device("cpu"),
                   model={"task": "detection", "labels": [1], **model})


def dark_chest():
    """Two spheres of 0 HU on -1000 HU, 2.5 x 1.5 x 1.5 mm; their centres (slice, row, column)."""
    grid = np.indices((40, 70, 80)).transpose(1, 2, 3, 0) * [2.5, 1.5, 1.5]
    values = np.full((40, 70, 80), -1000, dtype=np.int16)
    places = [(12, 20, 30), (28, 50, 55)]
    for place in places:
        values[np.linalg.norm(grid - np.array(place) * [2.5, 1.5, 1.5], axis=-1) < 6] = 0
    return values, places


AFFINE = np.array([[-1.5, 0, 0, 60], [0, -1.5, 0, 50], [0, 0, 2.5, -40], [0, 0, 0, 1.0]])


def test_a_bundle_from_its_config_finds_both_spots_on_the_source_grid(tmp_path):
    values, places = dark_chest()
    made, _ = job(values, AFFINE)
    found = centres(detect.load(loading(bright_spots(tmp_path))).run(made))
    assert len(found) == 2
    for place, centre in zip(places, sorted(found), strict=True):
        assert np.abs((np.array(centre) - place) * [2.5, 1.5, 1.5]).max() < 4


def test_a_lower_score_in_the_model_file_lowers_the_bundles_own_threshold(tmp_path):
    folder = bright_spots(tmp_path)
    assert detect.load(loading(folder)).detector.box_selector.score_thresh == 0.3
    assert detect.load(loading(folder, score_at_least=0.1)).detector.box_selector.score_thresh == 0.1
    assert detect.load(loading(folder, score_at_least=0.9)).detector.box_selector.score_thresh == 0.3


@pytest.mark.parametrize(("changes", "said"), [
    ({"detection": {"roi_size": [64, 64, 64], "score_treshold": 0.3}}, "score_treshold"),
    ({"detection": [1, 2]}, "table"),
    ({"detector": {"_target_": "torch.nn.Identity"}}, "RetinaNetDetector"),
    ({"network_def": {**CONFIG["network_def"], "num_anchors": 3}}, "num_anchors|anchors")])
def test_a_config_that_is_no_detector_is_refused_with_what_is_wrong(tmp_path, changes, said):
    with pytest.raises(ModelFailed, match=said):
        detect.load(loading(bright_spots(tmp_path, **changes)))


def test_a_detector_that_names_a_foreign_class_is_refused(tmp_path):
    hostile = {**CONFIG["detector"], "box_overlap_metric": "$__import__('os').system"}
    with pytest.raises(ModelRefused, match="__import__"):
        detect.load(loading(bright_spots(tmp_path, detector=hostile)))


def test_a_class_without_a_label_is_an_error_of_the_model_file():
    made, _ = job(spot((8, 8, 8), (3, 3, 3)))
    without = detect.DetectionRunner(
        detector=runner().detector, preprocessing=runner().preprocessing, image_key="image", table=detect.Table(),
        labels=(), device=torch.device("cpu"))
    with pytest.raises(ModelFailed, match="class 0"):
        without.run(made)


def monais_own_boxes(folder, values_zyx, affine_ras_mm, where):
    """Return centre and size (RAS mm) as MONAI alone gives them: the volume as NIfTI, its loader, its detector."""
    import json

    import nibabel
    from monai.bundle import ConfigParser

    from dicomnode.infer import borrowed

    nibabel.save(nibabel.Nifti1Image(values_zyx.transpose(2, 1, 0), affine_ras_mm.astype(np.float32)), where)
    borrowed.lend()
    parser = ConfigParser({**json.loads((folder / "configs" / "inference.json").read_text()), "device": "cpu"})
    detector, table = parser.get_parsed_content("detector"), parser.get_parsed_content("detection")
    detector.network.load_state_dict(torch.load(folder / "models" / "model.pt", weights_only=True))
    image = parser.get_parsed_content("preprocessing")({"image": str(where)})["image"]
    detector.eval().set_box_selector_parameters(score_thresh=table["score_thresh"], nms_thresh=table["nms_thresh"])
    detector.set_sliding_window_inferer(table["roi_size"], overlap=table["overlap"])
    with torch.no_grad():
        (found,) = detector([image.as_tensor()], use_inferer=any(
            have > want for have, want in zip(image.shape[1:], table["roi_size"], strict=True)))
    edges = found["boxes"].double().numpy() - 0.5
    corners = np.concatenate([edges[:, :3], edges[:, 3:]]) @ np.asarray(image.affine)[:3, :3].T \
        + np.asarray(image.affine)[:3, 3]
    low, high = corners[: len(edges)], corners[len(edges):]
    return np.concatenate([(low + high) / 2, np.abs(high - low)], axis=1), found["labels_scores"].numpy()


def test_the_boxes_are_those_of_monais_own_detector_on_the_same_volume_as_nifti(tmp_path):
    values, _ = dark_chest()
    folder = bright_spots(tmp_path / "spots")
    expected, scores = monais_own_boxes(folder, values, AFFINE, tmp_path / "volume.nii.gz")
    assert len(expected) == 2
    made, _ = job(values, AFFINE)
    found = detect.load(loading(folder)).run(made).found["boxes"]
    assert [box["score"] for box in found] == pytest.approx(scores.tolist(), abs=1e-6)
    edges = np.array([box["box_zyx"] for box in found])[:, [2, 1, 0, 5, 4, 3]]
    middles = (edges[:, :3] + edges[:, 3:]) / 2 @ AFFINE[:3, :3].T + AFFINE[:3, 3]
    assert np.abs(middles - expected[:, :3]).max() < 1e-3
    assert np.abs((edges[:, 3:] - edges[:, :3]) @ np.abs(AFFINE[:3, :3]).T - expected[:, 3:]).max() < 1e-3
