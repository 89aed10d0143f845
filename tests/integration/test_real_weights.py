"""Published brain networks in bundles: the node gives what the same network gives outside of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dicomnode.domain.model import InputRole, ModelFile
from dicomnode.domain.volume import Volume
from dicomnode.infer.measure import model_findings
from dicomnode.infer.output import RawOutput
from dicomnode.infer.pool import Pool
from dicomnode.read.series import load
from tests.brain_bundles import MESHNET_DILATIONS, hippodeep_head, meshnet
from tests.builders import uid_of
from tests.bundles import volume
from tests.findings import provenance
from tests.shared import dicom_files, shared_data, unpacked

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
LPS_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
REFERENCE_ML = {
    "model5_gw_ae": {"Cerebral white matter": 526, "Cerebral cortex": 712},
    "subcortical": {
        "Cerebral white matter": 479, "Cerebral cortex": 585, "Lateral ventricle": 17.8, "Thalamus": 17.3,
        "Brain stem": 22.9, "Hippocampus": 8.87, "Caudate": 7.94, "Putamen": 11.3},
}


@pytest.mark.parametrize("name", REFERENCE_ML)
def test_meshnet_in_the_node_equals_meshnet_outside_and_is_near_the_reference_volumes(name, tmp_path):
    data = shared_data("w_brainchop_meshnet")
    image = from_nifti(data / "brainchop-models" / "t1_crop.nii.gz")
    model = meshnet(tmp_path / name, data, name)
    output = run(model, image, tmp_path)
    outside = meshnet_outside(data, name, image)
    assert int((output.labels_zyx != outside).sum()) == 0
    volumes = volumes_ml(model, image, output)
    for structure, expected in REFERENCE_ML[name].items():
        assert volumes[structure] == pytest.approx(expected, rel=0.05), structure


def test_hippodeep_in_the_node_equals_the_network_outside_and_is_near_the_reference_volumes(tmp_path):
    data = shared_data("w_hippodeep")
    image = from_nifti(data / "example_brain_t1.nii.gz")
    model = hippodeep_head(tmp_path / "head", data)
    output = run(model, image, tmp_path)
    outside = hippodeep_outside(data, image)
    assert (output.labels_zyx != outside).mean() < 1e-5
    volumes = volumes_ml(model, image, output)
    assert volumes["Cerebrum"] == pytest.approx(1221, rel=0.03)
    assert sum(volumes.values()) == pytest.approx(1412, rel=0.03)


def test_an_oblique_sagittal_scan_gets_its_structures_where_they_are(tmp_path):
    files = dicom_files(unpacked("mr_brain_sag_anon", tmp_path / "scan"))
    image = load(files, InputRole(role="image", modality="MR")).volume
    model = hippodeep_head(tmp_path / "head", shared_data("w_hippodeep"))
    output = run(model, image, tmp_path)
    volumes = volumes_ml(model, image, output)
    assert 1200 < sum(volumes.values()) < 1500
    assert 1000 < volumes["Cerebrum"] < 1300
    hindbrain, cerebrum = (centre_lps_mm(image, output.labels_zyx == value) for value in (1, 2))
    assert hindbrain[2] < cerebrum[2] - 20, "below"
    assert hindbrain[1] > cerebrum[1] + 10, "behind"
    assert abs(hindbrain[0] - cerebrum[0]) < 10, "in the middle"


def centre_lps_mm(image: Volume, mask: np.ndarray) -> np.ndarray:
    return image.stack.to_lps_mm(np.argwhere(mask).mean(axis=0))


def run(model: ModelFile, image: Volume, models_dir: Path) -> RawOutput:
    with Pool(models_dir, device="cpu", threads=2) as pool:
        return pool.run(model, {"image": image})


def volumes_ml(model: ModelFile, image: Volume, output: RawOutput) -> dict[str, float]:
    findings = model_findings(model, image, output, provenance=provenance(), tracking_uid=uid_of)
    return {organ.label.name: organ.measurements[0].value for organ in findings.organs}


def from_nifti(path: Path) -> Volume:
    """Read a NIfTI image as a volume; slices along its third axis, turned so that they follow the normal."""
    import nibabel

    image = nibabel.load(path)
    values = np.asarray(image.dataobj).transpose(2, 1, 0).astype(np.int16)
    affine = (LPS_RAS @ image.affine)[:, [2, 1, 0, 3]]
    normal = np.cross(affine[:3, 2], affine[:3, 1])
    if normal @ affine[:3, 0] < 0:
        affine[:3, 3] += (values.shape[0] - 1) * affine[:3, 0]
        affine[:3, 0] *= -1
        values = values[::-1].copy()
    return volume(values, affine, modality="MR")


def meshnet_outside(data: Path, name: str, image: Volume) -> np.ndarray:
    """Run MeshNet with torch alone on a volume that is conformed already: left, inferior, anterior, 256³, 1 mm."""
    import torch
    from safetensors.torch import load_file

    state = load_file(data / "brainchop-models" / "meshnet" / name / "model.pth")
    activation = torch.nn.functional.relu if name == "model5_gw_ae" else torch.nn.functional.elu
    values = np.ascontiguousarray(image.values_zyx[::-1].transpose(2, 1, 0), dtype=np.float32)
    x = torch.from_numpy((values - values.min()) / (values.max() - values.min()))[None, None]
    with torch.no_grad():
        for number, dilation in enumerate(MESHNET_DILATIONS):
            key = f"model.{2 * number}"
            x = activation(torch.nn.functional.conv3d(
                x, state[f"{key}.weight"], state[f"{key}.bias"], padding=dilation, dilation=dilation))
        x = torch.nn.functional.conv3d(x, state["model.18.weight"], state["model.18.bias"])
    return x[0].max(dim=0)[1].numpy().transpose(2, 1, 0)[::-1]


def hippodeep_outside(data: Path, image: Volume) -> np.ndarray:
    """Run the head network with torch alone on a volume in left, anterior, superior order."""
    import torch
    import torch.nn.functional as f

    weights = torch.load(data / "torchparams" / "params_head_00075_00000.pt", map_location="cpu", weights_only=True)

    def conv(x: torch.Tensor, name: str) -> torch.Tensor:
        weight = weights[f"{name}.weight"]
        return f.conv3d(x, weight, weights[f"{name}.bias"], padding=weight.shape[-1] // 2)

    def pair(x: torch.Tensor, first: str, second: str, norm: str, skip: torch.Tensor | None = None) -> torch.Tensor:
        x = f.elu(conv(x, first))
        x = conv(x if skip is None else torch.cat([x, skip], 1), second)
        statistics = (weights[f"{norm}.{key}"] for key in ("running_mean", "running_var", "weight", "bias"))
        return f.elu(f.batch_norm(x, *statistics))

    values = np.ascontiguousarray(las(image.values_zyx).transpose(2, 1, 0), dtype=np.float32)
    x = torch.from_numpy((values - values.mean()) / values.std())[None, None]
    with torch.no_grad():
        x = f.interpolate(x, size=(64, 64, 64), mode="trilinear", align_corners=True)
        top = pair(x, "conv0a", "conv0b", "bn0a")
        middle = pair(f.max_pool3d(top, 2), "conv1a", "conv1b", "bn1a")
        low = pair(f.max_pool3d(middle, 2), "conv2a", "conv2b", "bn2a")
        x = pair(f.max_pool3d(low, 2), "conv3a", "conv3b", "bn3a")
        for names, skip in ((("conv2u", "conv2v", "bn2u"), low), (("conv1u", "conv1v", "bn1u"), middle),
                            (("conv0u", "conv0v", "bn0u"), top)):
            x = pair(f.interpolate(x, scale_factor=2, mode="nearest"), *names, skip=skip)
        scores = torch.sigmoid(conv(x, "conv1x"))
        native = f.interpolate(scores, size=values.shape, mode="trilinear", align_corners=True)[0].numpy()
    labels = np.where(native[2] > 0.5, 2, np.where(native[0] > 0.5, 1, 0))
    return las(labels.transpose(2, 1, 0))


def las(values_zyx: np.ndarray) -> np.ndarray:
    """Turn slices that follow the normal of a left-handed image back into the image's own order, and vice versa."""
    return values_zyx[::-1]
